"""An acknowledged add is found after SIGKILL of each kind of replica, of all of them, and of the whole of Ray."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import uuid
from contextlib import suppress

import httpx
import pytest

from tests.cluster import faults, pictures

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

TEXTS = 120
MANY = 2000
seeds = iter(range(10_000, 20_000))


def acknowledged(service):
    """Add one picture on each way in; gives (bytes, id) pairs that must be found from now on."""
    owner, pairs = uuid.uuid4().hex, []
    with httpx.Client(base_url=service.url, timeout=60) as http:
        data = pictures.noise(next(seeds))
        answer = http.post("/v1/assets", files={"file": data}, data={"owner": owner})
        pairs += [(data, answer.json()["id"])] if answer.status_code == 202 else []
        data, id = pictures.noise(next(seeds)), uuid.uuid4().hex
        answer = http.post(f"/mv_retrieval/v0.1/add_content?id={id}&type=image&user={owner}", content=data)
        pairs += [(data, id)] if answer.status_code == 200 else []
    return pairs


def assert_found(service, pairs, within_s=120):
    """Every pair is found in the end; a request may be refused while things restart."""
    until, missing = time.monotonic() + within_s, list(pairs)
    while missing and time.monotonic() < until:
        data, id = missing[0]
        try:
            answer = httpx.post(f"{service.url}/v1/search", files={"file": data}, data={"k": 1}, timeout=60)
            if answer.status_code == 200 and answer.json()["image"]["contents"] == [id]:
                missing.pop(0)
                continue
        except httpx.HTTPError:
            pass
        time.sleep(0.3)
    assert not missing, f"{len(missing)} of {len(pairs)} acknowledged assets are not found"


def test_during_adds_while_each_kind_of_process_dies(service):
    fire = faults.Fire(service, faults.REPLICAS, pause_s=1.0)
    pairs, done = acknowledged(service), threading.Event()
    assert len(pairs) == 2

    def add_pictures():
        while not done.is_set():
            with suppress(httpx.HTTPError):
                pairs.extend(acknowledged(service))

    adder = threading.Thread(target=add_pictures)
    adder.start()
    try:
        added = faults.add_under_fire(service, fire, TEXTS, batch=4)
    finally:
        done.set()
        adder.join()
    assert set(fire.killed) == set(faults.REPLICAS)
    assert len(added.acknowledged) == TEXTS
    faults.assert_all_found(service, added, within_s=120)
    assert_found(service, pairs)
    faults.assert_whole(service)
    service.wait_ready(60)


def test_a_runner_with_much_to_do_outlives_the_controller(service):
    """The next controller asks every replica what it is made of, also one that is at work by now."""
    owner = uuid.uuid4().hex
    lines = [json.dumps({"id": f"{owner}-{n}", "owner": owner, "text": f"text number {n}"}) for n in range(MANY)]
    answer = httpx.post(
        f"{service.url}/v1/assets:batch", content="\n".join(lines), timeout=60,
        headers={"Content-Type": "application/x-ndjson"},
    )  # fmt: skip
    assert [json.loads(line)["status"] for line in answer.text.splitlines()] == [202] * MANY
    runners = service.replicas("JobRunner")
    for pid in faults.Fire(service, (), 0).victims("controller"):
        os.kill(pid, signal.SIGKILL)
    added = faults.Added(owner, {f"{owner}-{n}" for n in range(MANY)}, 0, 0.0, ["controller"])
    faults.assert_all_found(service, added, within_s=120)
    assert service.replicas("JobRunner") == runners


def test_after_the_death_of_all_replicas(service):
    pairs = acknowledged(service)
    assert len(pairs) == 2
    victims = service.replicas()
    assert len(victims) >= len(faults.REPLICAS)
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    assert_found(service, pairs)


def test_after_the_death_of_the_whole_of_ray(service):
    pairs = acknowledged(service)
    assert len(pairs) == 2
    service.kill_everything()
    service.start()
    assert_found(service, pairs)
    for _, id in pairs:
        assert httpx.get(f"{service.url}/v1/assets/{id}").json()["state"] == "ready"
