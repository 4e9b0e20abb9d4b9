"""Another model takes over on a real service, under continuous searches and the death of who makes its vectors."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.catalog import Catalog
from tests import encoders
from tests.cluster.conftest import MEDIAVERSE, Service

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

COUNT = 2000
UNEXPLAINED = "mediaverse_unexplained"


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    place = Path(tempfile.mkdtemp(prefix="mv"))
    running = Service(place, {"shards": 2, "models": {"text_embedding": None}})
    try:
        encoders.install(running.home)
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(place, ignore_errors=True)


def fill(url: str) -> None:
    """Many texts in one request, and all of them indexed."""
    lines = [json.dumps({"id": f"t{n}", "owner": "anna", "text": f"the text number {n}"}) for n in range(COUNT)]
    named = {"Content-Type": "application/x-ndjson"}
    answer = httpx.post(f"{url}/v1/assets:batch", content="\n".join(lines), headers=named, timeout=400)
    assert [json.loads(line)["status"] for line in answer.text.splitlines()] == [202] * COUNT
    until = time.monotonic() + 400
    while httpx.get(f"{url}/v1/index", timeout=60).json()["tasks"][0]["served"]["missing"]:
        assert time.monotonic() < until, "the texts are not indexed"
        time.sleep(0.2)


class Asking(threading.Thread):
    """Searches until it is stopped, and keeps what was wrong."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url, self.stopped, self.asked = url, threading.Event(), 0
        self.wrong: list[Any] = []

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as http:
            while not self.stopped.is_set():
                number = self.asked * 7 % COUNT
                query = {"text": f"the text number {number}", "k": COUNT, "modalities": ["text"]}
                answer = http.post("/v1/search", json=query)
                found = answer.json().get("text", {}).get("contents", [])
                if answer.status_code != 200 or answer.json()["partial"] or len(set(found)) != COUNT:
                    self.wrong.append((answer.status_code, len(found), answer.text[:300]))
                self.asked += 1


def test_a_model_takes_over_while_searches_go_on_and_its_maker_dies(service: Service) -> None:
    fill(service.url)
    asking = Asking(service.url)
    asking.start()
    try:
        command = [str(MEDIAVERSE), "reindex", "--model", encoders.OTHER, "--no-wait", "--json"]
        environment = service.environment | {"MEDIAVERSE_URL": service.url}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        job = json.loads(done.stdout)["id"]
        until = time.monotonic() + 120
        # Straight from the database: an answer by HTTP may come when the job is over.
        with closing(Catalog.open(f"sqlite:///{service.home / 'catalog.db'}")) as catalog:
            while (state := catalog.jobs.state(job)) == "queued":
                assert time.monotonic() < until, "nobody takes the job"
                time.sleep(0.005)
        assert state == "running", "it was over before anybody could be killed; more texts are needed"
        for pid in service.replicas("JobRunner"):
            os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + 200
        while httpx.get(f"{service.url}/v1/jobs/{job}").json()["state"] != "succeeded":
            assert time.monotonic() < until, httpx.get(f"{service.url}/v1/jobs/{job}").text
            time.sleep(0.2)
        asked = asking.asked
        while asking.asked < asked + 3:
            time.sleep(0.1)
    finally:
        asking.stopped.set()
        asking.join(60)
    assert asking.wrong == []
    assert asking.asked > 10
    assert httpx.get(f"{service.url}/v1/jobs/{job}").json()["attempts"] == 2
    now = status(service.url)
    assert (now["served"]["model"], now["served"]["missing"]) == (encoders.OTHER, 0)
    assert now["previous"]["model"] == encoders.OWN
    assert now.get("wanted") is None
    doctor = subprocess.run(
        [str(MEDIAVERSE), "doctor", "--url", service.url], env=service.environment, capture_output=True, text=True
    )
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr


def test_the_figures_appear_among_rays_metrics(service: Service) -> None:
    until = time.monotonic() + 150
    found: dict[str, float] = {}
    # A runner that was killed is among them until Ray has forgotten it.
    while time.monotonic() < until and (found.get("mediaverse_vectors"), found.get(UNEXPLAINED)) != (COUNT, 0):
        found = {}
        for port in metric_ports(service):
            text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
            for name, tags, value in re.findall(r"^ray_(mediaverse_\w+)\{(.*)\} ([\d.e+]+)$", text, re.MULTILINE):
                if 'modality="text"' in tags:
                    found[name] = max(found.get(name, 0.0), float(value))
        time.sleep(1)
    assert found["mediaverse_contents"] == found["mediaverse_vectors"] == COUNT
    assert found[UNEXPLAINED] == 0


def metric_ports(service: Service) -> set[str]:
    """Where Ray exports the metrics of each node, as its processes were told."""
    commands = " ".join(service.processes().values())
    return set(re.findall(r"--metrics-export-port=(\d+)", commands)) - {"0"} or _listed(service)


def _listed(service: Service) -> set[str]:
    files = service.place.rglob("prom_metrics_service_discovery.json")
    return {port for file in files for port in re.findall(r":(\d+)\"", file.read_text())}


def status(url: str) -> dict[str, Any]:
    task: dict[str, Any] = httpx.get(f"{url}/v1/index", timeout=60).json()["tasks"][0]
    return {"wanted": None} | task
