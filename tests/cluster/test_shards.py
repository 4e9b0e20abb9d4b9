"""Shards that die, stop and change their number under queries: an answer is whole, or says that it is not."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
import uuid
from contextlib import contextmanager

import httpx
import pytest

from tests.cluster import pictures

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

PICTURES = 16
DEADLINE_S = 5.0
"""That of a shard; the rest of a request has as long again on a busy machine."""


@pytest.fixture(scope="module")
def owner(service):
    """Somebody with pictures in every shard."""
    name = uuid.uuid4().hex
    with httpx.Client(base_url=service.url, timeout=60) as http:
        for number in range(PICTURES):
            params = {"id": f"{name}-{number}", "type": "image", "user": name}
            added = http.post("/mv_retrieval/v0.1/add_content", params=params, content=pictures.noise(5000 + number))
            assert added.status_code == 200, added.text
    return name


def everything(owner):
    return {f"{owner}-{number}" for number in range(PICTURES)}


def of_shard(service, owner, shard, shards):
    """What the catalog's rows say lies in a shard."""
    query = """
        SELECT c.asset_id FROM contents c JOIN vectors v
        ON v.owner = c.owner AND v.modality = c.modality AND v.sha256 = c.sha256
        WHERE c.owner = ? AND v.shard_key % ? = ?
    """
    with sqlite3.connect(f"file:{service.home / 'catalog.db'}?mode=ro", uri=True) as catalog:
        return {id for (id,) in catalog.execute(query, (owner, shards, shard))}


def ask(http, owner):
    body = {"text": "noise", "k": 1000, "modalities": ["image"], "filter": f"owner:{owner}"}
    return http.post("/v1/search", json=body)


def until_whole(http, owner, within_s=90):
    """Until nothing is missing; every answer before it says that something is."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        answer = ask(http, owner)
        if answer.status_code == 200 and not answer.json()["partial"]:
            assert set(answer.json()["image"]["contents"]) == everything(owner)
            return
        assert answer.status_code in (200, 503, 504), answer.text
        time.sleep(0.2)
    raise AssertionError("the shard does not come back")


def the_replica(service, name):
    (pid,) = service.replicas(name)
    return pid


@contextmanager
def stopped(*pids):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_every_shard_holds_something(service, owner):
    for shard in range(2):
        assert 0 < len(of_shard(service, owner, shard, 2)) < PICTURES


def test_a_stopped_shard_is_left_out_within_the_deadline_and_the_answer_says_so(service, http, owner):
    until_whole(http, owner)
    with stopped(the_replica(service, "FaissShard0of2")):
        started = time.monotonic()
        answer = ask(http, owner)
        seconds = time.monotonic() - started
    assert answer.status_code == 200, answer.text
    assert answer.json()["partial"]
    assert set(answer.json()["image"]["contents"]) == of_shard(service, owner, 1, 2)
    assert seconds < 2 * DEADLINE_S
    until_whole(http, owner)


def test_where_no_shard_answers_nothing_is_said_to_be_found(service, http, owner):
    until_whole(http, owner)
    with stopped(*service.replicas("FaissShard")):
        answer = ask(http, owner)
    assert answer.status_code in (503, 504), answer.text
    assert answer.json()["code"] in ("overloaded", "deadline")
    until_whole(http, owner)


def test_while_a_killed_shard_is_away_the_others_answer(service, http, owner):
    until_whole(http, owner)
    survivors = of_shard(service, owner, 0, 2)
    os.kill(the_replica(service, "FaissShard1of2"), signal.SIGKILL)
    seen, until = [], time.monotonic() + 90
    while time.monotonic() < until:
        answer = ask(http, owner)
        assert answer.status_code == 200, answer.text
        seen.append((answer.json()["partial"], set(answer.json()["image"]["contents"])))
        if seen[-1] == (False, everything(owner)) and service.replicas("FaissShard1of2"):
            break
    assert seen[-1] == (False, everything(owner))
    assert all(found == (survivors if partial else everything(owner)) for partial, found in seen)


def test_another_number_of_shards_is_taken_up_without_losing_a_query(service, http, owner):
    until_whole(http, owner)
    wrong, answered, done = [], [], threading.Event()

    def keep_asking():
        with httpx.Client(base_url=service.url, timeout=120) as client:
            while not done.is_set():
                answer = ask(client, owner)
                whole = answer.status_code == 200 and set(answer.json()["image"]["contents"]) == everything(owner)
                answered.append(whole)
                if not whole and not (answer.status_code == 200 and answer.json()["partial"]):
                    wrong.append(answer.text)

    askers = [threading.Thread(target=keep_asking) for _ in range(2)]
    for asker in askers:
        asker.start()
    try:
        service.deploy({"shards": 3})
    finally:
        done.set()
        for asker in askers:
            asker.join()
    assert not wrong
    assert sum(answered) > 0.9 * len(answered)
    tasks = {task["task"] for task in http.get("/health/ready").json()["tasks"]}
    assert {"search_0", "search_1", "search_2"} <= tasks
    until_whole(http, owner)
    with stopped(the_replica(service, "FaissShard2of3")):
        answer = ask(http, owner)
    assert answer.json()["partial"]
    assert set(answer.json()["image"]["contents"]) == everything(owner) - of_shard(service, owner, 2, 3)
