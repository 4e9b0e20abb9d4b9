"""Adds, deletes, searches and recommendations side by side on a real service."""

from __future__ import annotations

import random
import threading
import time
import uuid

import httpx
import pytest

from tests.cluster import faults

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

OWNERS = 3
SECONDS = 8.0


class Traffic:
    """Owners who add and delete; readers whose answers must fit what was acknowledged before they asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.mark = uuid.uuid4().hex[:8]
        self.owners = [f"{self.mark}-{number}" for number in range(OWNERS)]
        self.lock = threading.Lock()
        self.words: dict[str, str] = {}
        self.there: set[str] = set()
        self.leaving: set[str] = set()
        self.gone: set[str] = set()
        self.wrong: list[str] = []
        self.counts = dict.fromkeys(("add", "delete", "search", "recommend"), 0)
        self.done = threading.Event()

    def write(self, seed: int) -> None:
        dice, number = random.Random(seed), 0
        with httpx.Client(base_url=self.url, timeout=60) as http:
            while not self.done.is_set():
                with self.lock:
                    mine = sorted(id for id in self.there - self.leaving if id.endswith(f"-{seed}"))
                if len(mine) > 5 and dice.random() < 0.5:
                    self._delete(http, dice.choice(mine))
                else:
                    # One text in three is an earlier one again: a vector that several assets share.
                    words = f"about {dice.randrange(number + 1) if dice.random() < 0.3 else number}"
                    self._add(http, f"{self.mark}-{number}-{seed}", self.owners[seed], words)
                    number += 1

    def _add(self, http: httpx.Client, id: str, owner: str, words: str) -> None:
        params = {"id": id, "type": "text", "user": owner}
        answer = http.post("/mv_retrieval/v0.1/add_content", params=params, content=words.encode())
        if answer.status_code == 200:
            with self.lock:
                self.words[id] = words
                self.there.add(id)
                self.counts["add"] += 1

    def _delete(self, http: httpx.Client, id: str) -> None:
        with self.lock:
            self.leaving.add(id)
        if http.delete(f"/v1/assets/{id}").status_code == 204:
            with self.lock:
                self.gone.add(id)
                self.counts["delete"] += 1

    def search(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as http:
            while not self.done.is_set():
                with self.lock:
                    gone = set(self.gone)
                answer = http.post("/v1/search", json={"text": "about 1", "k": 10_000, "modalities": ["text"]})
                if answer.status_code == 200:
                    self._judge("search", self._contents(answer.json()["text"]), gone)

    def recommend(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as http:
            while not self.done.is_set():
                with self.lock:
                    gone, owner = set(self.gone), random.choice(self.owners)
                answer = http.post("/mv_retrieval/v0.1/recommend_contents", params={"user": owner, "k": 1000})
                if answer.status_code != 200:
                    continue
                found = self._contents(answer.json()["text"]["text"])
                if own := {id for id in found if self.owner(id) == owner}:
                    self.wrong.append(f"{owner} is recommended what is their own: {own}")
                self._judge("recommend", found, gone)

    def owner(self, id: str) -> str:
        return self.owners[int(id.rpartition("-")[2])]

    def shown(self, owner: str) -> set[str]:
        """The latest asset of each text of an owner that is left; ``words`` is in the order of adding."""
        latest = {text: id for id, text in self.words.items() if self.owner(id) == owner and id not in self.gone}
        return set(latest.values())

    def _contents(self, ranking: dict[str, list[str]] | str) -> list[str]:
        contents = [] if isinstance(ranking, str) else ranking["contents"]
        if len(contents) != len(set(contents)):
            self.wrong.append("an asset twice in one answer")
        return [id for id in contents if id.startswith(self.mark)]

    def _judge(self, kind: str, found: list[str], gone: set[str]) -> None:
        self.counts[kind] += 1
        if found_again := gone & set(found):
            self.wrong.append(f"{kind}: deleted before, and shown: {found_again}")


def test_what_was_deleted_is_never_shown_again_while_everybody_writes_and_reads(service):
    traffic = Traffic(service.url)
    writers = [threading.Thread(target=traffic.write, args=(seed,)) for seed in range(OWNERS)]
    readers = [threading.Thread(target=work) for work in (traffic.search, traffic.search, traffic.recommend)]
    for thread in (*writers, *readers):
        thread.start()
    time.sleep(SECONDS)
    traffic.done.set()
    for thread in (*writers, *readers):
        thread.join()
    assert not traffic.wrong
    assert all(count > 3 for count in traffic.counts.values()), traffic.counts
    for owner in traffic.owners:
        assert faults.texts_of(service, owner, 10_000) == traffic.shown(owner)
