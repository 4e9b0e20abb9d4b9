"""The same service as an operator may set it up: Postgres, two shards, public weights from a folder."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.cluster import pictures
from tests.cluster.conftest import MEDIAVERSE, READY_WITHIN_S, Service
from tests.postgres import Server

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

LIGHT = {"profile": "light", "models": {"nsfw": None}}
"""The part of the profile whose weights the shared folder has."""


def pull(service: Service, weights: Path) -> None:
    command = [str(MEDIAVERSE), "models", "pull", "fastestdet", "--from", str(weights), "--yes"]
    subprocess.run(command, env=service.environment, check=True, capture_output=True, timeout=60)


def until_settled(service: Service) -> dict[str, dict[str, str]]:
    """The tasks once none of them is starting any more; the service must not call itself ready."""
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until:
        with suppress(httpx.HTTPError, ValueError):
            answer = httpx.get(f"{service.url}/health/ready", timeout=5)
            assert answer.status_code != 200
            tasks = {task["task"]: task for task in answer.json()["tasks"]}
            if all(task["state"] != "starting" for task in tasks.values()):
                return tasks
        time.sleep(0.3)
    raise AssertionError("the service does not settle")


@pytest.fixture(scope="module")
def light(postgres: Server) -> Iterator[Service]:
    """Started without its weights."""
    place = Path(tempfile.mkdtemp(prefix="mv"))
    postgres.run("postgres", "CREATE DATABASE service")
    running = Service(place, LIGHT | {"shards": 2, "catalog": postgres.url("service")})
    try:
        running.spawn()
        yield running
    finally:
        running.stop()
        shutil.rmtree(place, ignore_errors=True)


def test_a_profile_without_its_weights_serves_the_rest_and_says_what_is_missing(light: Service) -> None:
    tasks = until_settled(light)
    assert tasks["object_detection"]["state"] == "unavailable"
    assert "mediaverse models pull" in tasks["object_detection"]["remedy"]
    answer = httpx.post(f"{light.url}/v1/annotate/image", files={"file": pictures.noise(1)}, timeout=60).json()
    assert answer["results"]["object_detection"]["status"] == "unavailable"
    assert "mediaverse models pull" in answer["results"]["object_detection"]["remedy"]
    assert answer["results"]["cross_modal_embedding"]["status"] == "ok"


@pytest.fixture(scope="module")
def complete(light: Service, shared: Path) -> Service:
    """The same once its weights are there: they are taken up without a new start."""
    until_settled(light)
    pull(light, shared / "weights" / "fastestdet")
    light.wait_ready(60)
    return light


def test_weights_that_are_pulled_are_taken_up(complete: Service) -> None:
    answer = httpx.post(f"{complete.url}/v1/annotate/image", files={"file": pictures.noise(1)}, timeout=60).json()
    assert answer["results"]["object_detection"]["status"] == "ok"


def test_light_models_on_postgres_and_two_shards(complete: Service, shared: Path) -> None:
    with httpx.Client(base_url=complete.url, timeout=120) as http:
        tasks = {task["task"]: task for task in http.get("/health/ready").json()["tasks"]}
        assert tasks["object_detection"]["model"] == "fastestdet"
        assert {"search_0", "search_1"} <= set(tasks)

        # The picture's COCO labels, by the manifest of the shared media: stop sign x1.
        photograph = (shared / "media" / "images" / "coco_000000525891.jpg").read_bytes()
        answer = http.post("/v1/annotate/image?annotators=objects", files={"file": photograph}).json()
        seen = [label["label"] for label in answer["results"]["object_detection"]["labels"]]
        assert "stop sign" in seen

        params = {"type": "image", "user": "anna"}
        for i in range(40):
            id, data = f"n{i}", pictures.noise(300 + i)
            added = http.post("/mv_retrieval/v0.1/add_content", params=params | {"id": id}, content=data)
            assert added.status_code == 200, added.text
            found = http.post("/v1/search", files={"file": data}, data={"k": 1}).json()
            assert found["image"]["contents"] == [id], "an acknowledged add is found by the next search"
        everything = http.post("/v1/search", files={"file": pictures.noise(300)}, data={"k": 1000}).json()
        assert sorted(everything["image"]["contents"]) == sorted(f"n{i}" for i in range(40))
        assert http.delete("/v1/assets/n7").status_code == 204
        without = http.post("/v1/search", files={"file": pictures.noise(307)}, data={"k": 1000}).json()
        assert "n7" not in without["image"]["contents"]
        assert len(without["image"]["contents"]) == 39
