"""An acknowledged add is found after SIGKILL of any replica, of all of them, and of the whole of Ray."""

from __future__ import annotations

import os
import signal
import time
import uuid

import httpx
import pytest

from tests.cluster import pictures

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

DEPLOYMENTS = [
    "ClipEncoder", "ObjectDetector", "FaceDetector", "FaissShard0of", "Recommender", "JobRunner", "Ingress",
]  # fmt: skip
seeds = iter(range(10_000, 20_000))


def acknowledged(service):
    """Add one picture on each way in; gives (bytes, id) pairs that must be found from now on."""
    pairs = []
    with httpx.Client(base_url=service.url, timeout=60) as http:
        data, owner = pictures.noise(next(seeds)), uuid.uuid4().hex
        answer = http.post("/v1/assets", files={"file": data}, data={"owner": owner})
        assert answer.status_code == 202, answer.text
        pairs.append((data, answer.json()["id"]))
        data, id = pictures.noise(next(seeds)), uuid.uuid4().hex
        answer = http.post(f"/mv_retrieval/v0.1/add_content?id={id}&type=image&user={owner}", content=data)
        assert answer.status_code == 200, answer.text
        pairs.append((data, id))
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


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_after_the_death_of_a_replica(service, deployment):
    victims = service.replicas(deployment)
    assert victims, service.processes().values()
    pairs = acknowledged(service)
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    assert_found(service, pairs)
    service.wait_ready(60)
    until = time.monotonic() + 60
    while not service.replicas(deployment) and time.monotonic() < until:
        time.sleep(0.2)
    assert set(service.replicas(deployment)).isdisjoint(victims)
    assert_found(service, acknowledged(service))


def test_after_the_death_of_all_replicas(service):
    pairs = acknowledged(service)
    victims = service.replicas()
    assert len(victims) >= len(DEPLOYMENTS)
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    assert_found(service, pairs)


def test_after_the_death_of_the_whole_of_ray(service):
    pairs = acknowledged(service)
    service.kill_everything()
    service.start()
    assert_found(service, pairs)
    for _, id in pairs:
        assert httpx.get(f"{service.url}/v1/assets/{id}").json()["state"] == "ready"
