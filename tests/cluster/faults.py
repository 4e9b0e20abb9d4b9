"""Adds under fire: clients that add texts while a process is killed again and again, and what is left in the end."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx

from tests.cluster.conftest import Service

REPLICAS = (
    "Ingress", "FaissShard", "ClipEncoder", "SentenceEncoder", "JobRunner", "Recommender", "ObjectDetector",
    "FaceDetector",
)  # fmt: skip
OTHERS = {"proxy": r"ray::(ProxyActor|HAProxyManager)", "controller": r"ray::ServeController"}
CLIENTS = 2
MOST_HITS = 10_000
"""What a search gives at most."""


@dataclass
class Fire:
    """Kills a process of each of ``kinds`` in turn, as soon as there is one, at most so many ``rounds``."""

    service: Service
    kinds: Sequence[str]
    pause_s: float
    rounds: int = 1
    killed: list[str] = field(default_factory=list)

    def victims(self, kind: str) -> list[int]:
        if kind not in OTHERS:
            return self.service.replicas(kind)
        return [pid for pid, command in self.service.processes().items() if re.match(OTHERS[kind], command)]

    def until(self, done: Callable[[], bool]) -> None:
        """Each kind once at least; further rounds until ``done``."""
        for number in range(self.rounds):
            for kind in self.kinds:
                if (number and done()) or not (pids := self._there(kind)):
                    continue
                os.kill(pids[number % len(pids)], signal.SIGKILL)
                self.killed.append(kind)
                time.sleep(self.pause_s)

    def _there(self, kind: str) -> list[int]:
        until = time.monotonic() + 60
        while not (pids := self.victims(kind)) and time.monotonic() < until:
            time.sleep(0.2)
        return pids


@dataclass(frozen=True)
class Added:
    """What was acknowledged: the owner's assets, how many requests failed meanwhile, and how long it took."""

    owner: str
    acknowledged: set[str]
    refused: int
    seconds: float
    killed: list[str]


def add_under_fire(service: Service, fire: Fire, count: int, batch: int) -> Added:
    """Add ``count`` texts of one owner, ``batch`` a request, each until it is acknowledged, while ``fire`` kills."""
    owner, started = f"fire-{uuid.uuid4().hex[:8]}", time.monotonic()
    batches = [range(start, min(start + batch, count)) for start in range(0, count, batch)]
    acknowledged, refused, done = set[str](), [0], threading.Event()
    killer = threading.Thread(target=fire.until, args=(done.is_set,))
    killer.start()
    try:
        with ThreadPoolExecutor(CLIENTS) as pool:
            for ids, failures in pool.map(lambda numbers: _add(service.url, owner, numbers), batches):
                acknowledged |= ids
                refused[0] += failures
    finally:
        done.set()
        killer.join()
    return Added(owner, acknowledged, refused[0], time.monotonic() - started, fire.killed)


def _add(url: str, owner: str, numbers: range, within_s: float = 240) -> tuple[set[str], int]:
    """The ids of a batch once every line of it is acknowledged, and how many requests were lost before."""
    left, failures = dict(_lines(owner, numbers)), 0
    wanted, until = set(left), time.monotonic() + within_s
    while left:
        assert time.monotonic() < until, f"{len(left)} of {len(wanted)} are refused for ever"
        try:
            answer = httpx.post(
                f"{url}/v1/assets:batch", content="\n".join(left.values()), timeout=30,
                headers={"Content-Type": "application/x-ndjson"},
            )  # fmt: skip
            told = [json.loads(line) for line in answer.text.splitlines()] if answer.status_code == 200 else []
        except (httpx.HTTPError, ValueError):
            told = []
        for line in told:
            if line["status"] in (200, 202):
                left.pop(line["asset"]["id"], None)
        if left:
            failures += 1
            time.sleep(0.3)
    return wanted, failures


def _lines(owner: str, numbers: range) -> Iterator[tuple[str, str]]:
    for number in numbers:
        id = f"{owner}-{number}"
        yield id, json.dumps({"id": id, "owner": owner, "text": f"text number {number} of {owner}"})


def texts_of(service: Service, owner: str, most: int) -> set[str] | None:
    """Every text of an owner that a search shows; None where the service fails or says that it is partial."""
    body = {"text": "text number", "k": most, "modalities": ["text"], "filter": f"owner:{owner}"}
    try:
        answer = httpx.post(f"{service.url}/v1/search", json=body, timeout=60)
    except httpx.HTTPError:
        return None
    if answer.is_client_error:
        raise AssertionError(f"the search is refused: {answer.text[:500]}")
    found = answer.json() if answer.status_code == 200 else {"partial": True}
    return None if found["partial"] else set(found["text"]["contents"])


def assert_all_found(service: Service, added: Added, within_s: float) -> float:
    """Everything acknowledged is found in the end, and nothing else; gives the seconds until then."""
    started, found = time.monotonic(), None
    while time.monotonic() < started + within_s:
        found = texts_of(service, added.owner, min(len(added.acknowledged) + 10, MOST_HITS))
        if found == added.acknowledged:
            return time.monotonic() - started
        time.sleep(0.5)
    missing = sorted(added.acknowledged - (found or set()))
    some = ", ".join(missing[:5])
    raise AssertionError(f"{len(missing)} of {len(added.acknowledged)} acknowledged texts are not found, as {some}")


def assert_whole(service: Service, within_s: float = 60) -> None:
    """The doctor finds nothing wrong once what is under way is done: no orphan, nothing unexplained."""
    until, told = time.monotonic() + within_s, {}
    while time.monotonic() < until:
        told = httpx.get(f"{service.url}/v1/index/doctor", timeout=60).json()
        if told.get("healthy") and not any(line["processing"] for line in told["findings"]):
            assert not any(line["orphans"] or line["unexplained"] for line in told["findings"]), told
            return
        time.sleep(0.5)
    raise AssertionError(f"the doctor complains: {told}")
