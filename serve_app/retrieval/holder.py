"""All that a replica holds of one slice: a shard for each revision, their upkeep, and how true their answers are."""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from serve_app.catalog.rows import State
from serve_app.errors import Problem
from serve_app.retrieval.hits import Hits, Query
from serve_app.retrieval.index import Kinds, VectorIndex
from serve_app.retrieval.rebuild import Rebuild
from serve_app.retrieval.shard import ChangeLog, Shard
from serve_app.retrieval.snapshot import Marks, Snapshot, tidy

log = logging.getLogger("mediaverse")

MOST_REVISIONS = 8
EVERY = 20
"""One query in so many is also answered exactly, when there is time."""
REST = 100
"""Once enough is known of an index, a judgement is followed by a rest of so many times what it took: a scan of a
million vectors holds up a search for a tenth of a second."""
_WINDOW = 500
"""Answers over which recall is told."""
_SNAPSHOT_S = 600.0
_SNAPSHOT_FROM = 1000
"""Vectors from which on a snapshot is worth its files."""


class VectorLog(ChangeLog, Marks, Protocol):
    """The catalog's vectors, as far as shards know them."""

    def head(self) -> int: ...
    def state(self) -> State: ...


@dataclass(frozen=True)
class Slice:
    """Which part of the vectors, how it is searched, where snapshots go (None: nowhere) and of which catalog."""

    shard: int = 0
    shards: int = 1
    kinds: Mapping[str, Kinds] | None = None
    home: str | None = None
    origin: str = ""
    gpu: bool = False


class Holder:
    """The shards of one slice by revision. One thread owns it; ``open`` and what ``chore`` gives run in others."""

    def __init__(self, vectors: VectorLog, slice: Slice) -> None:
        self.shards: dict[str, Shard] = {}
        self._vectors = vectors
        self._slice = slice
        self._snapshots: dict[str, Snapshot] = {}
        self._written = time.monotonic()
        self._done: Callable[[], None] | None = None
        self._asked = 0
        self._samples: deque[tuple[Query, dict[str, Hits], int]] = deque(maxlen=32)
        self._rested = 0.0
        self._shares: dict[tuple[str, str], deque[float]] = defaultdict(lambda: deque(maxlen=_WINDOW))

    def open_served(self, revision: str, dim: int) -> None:
        """Load what the catalog serves; ``revision`` where it does not say."""
        served = {each.revision: each.dim for each in self._vectors.state().served.values()} or {revision: dim}
        for each, size in served.items():
            self.open(each, size)

    def open(self, revision: str, dim: int) -> None:
        """Load a revision, from its snapshot and the catalog; takes seconds a million vectors."""
        if revision in self.shards:
            return
        if len(self.shards) >= MOST_REVISIONS:
            raise Problem("unavailable", f"a shard holds {MOST_REVISIONS} revisions of vectors at most")
        place = self._slice
        shard = Shard(
            self._vectors, revision, dim, shard=place.shard, shards=place.shards, kinds=place.kinds, gpu=place.gpu
        )  # fmt: skip
        if place.home is not None:
            snapshot = Snapshot(Path(place.home), shard, place.origin, self._vectors)
            snapshot.read(self._vectors.head())
            self._snapshots[revision] = snapshot
        shard.catch_up()
        self.shards[revision] = shard

    def release(self, revision: str) -> None:
        """Forget a revision, also on disk."""
        self.shards.pop(revision, None)
        if (snapshot := self._snapshots.pop(revision, None)) is not None:
            snapshot.remove()

    def search(self, queries: Sequence[Query]) -> list[dict[str, Hits]]:
        """Answer a batch; raises KeyError for a revision that is not loaded."""
        answers: list[dict[str, Hits]] = [{} for _ in queries]
        for revision in {query.revision for query in queries}:
            numbers = [number for number, query in enumerate(queries) if query.revision == revision]
            shard = self.shards[revision]
            found = shard.search([queries[number] for number in numbers])
            for number, hits in zip(numbers, found, strict=True):
                answers[number] = hits
                self._asked += 1
                if self._asked % EVERY == 0 and not queries[number].exact:
                    self._samples.append((queries[number], hits, shard.seq))
        return answers

    def chore(self, idle: bool) -> Callable[[], None] | None:
        """Some upkeep that does not take long, and what is then to be run in the background, if anything."""
        if self._done is not None:
            self._done()
            self._done = None
        fed = any([shard.feed() for shard in self.shards.values()])
        if idle and not fed and self._samples and time.monotonic() >= self._rested:
            self._judge(*self._samples.pop())
        for shard in self.shards.values():
            if (work := shard.plan()) is not None:
                return self._rebuild(*work)
        return self._snapshot() if time.monotonic() - self._written > _SNAPSHOT_S else None

    def close(self) -> None:
        """Write what changed since the last snapshot; nothing else may use the holder now."""
        for revision, snapshot in self._snapshots.items():
            shard = self.shards.get(revision)
            if shard is not None and len(shard) >= _SNAPSHOT_FROM and shard.seq > snapshot.seq:
                try:
                    snapshot.write(*snapshot.freeze())
                except Exception as error:
                    log.warning("no snapshot was written at the end: %s", error)

    def recall(self) -> dict[tuple[str, str], float]:
        """For each modality and revision, the share of the exact ten best that searches gave."""
        return {key: float(np.mean(shares)) for key, shares in list(self._shares.items())}

    def status(self) -> dict[str, Any]:
        """Vectors, kinds of indexes and recall by revision and modality."""
        recall = self.recall()
        revisions = {
            revision: {"seq": shard.seq} | {
                name: {"vectors": len(index), "index": index.factory, "recall_at_10": recall.get((name, revision))}
                for name, index in shard.indexes.items()
            }
            for revision, shard in list(self.shards.items())
        }  # fmt: skip
        worst = min(recall.values(), default=None)
        return {"state": "ready", "seq": _seq(self.shards), "recall_at_10": worst, "revisions": revisions}

    def _rebuild(self, index: VectorIndex, work: Rebuild) -> Callable[[], None]:
        self._done = lambda: index.adopt(work)
        return work.run

    def _snapshot(self) -> Callable[[], None] | None:
        self._written = time.monotonic()
        due = [
            snapshot for revision, snapshot in self._snapshots.items()
            if (shard := self.shards.get(revision)) and len(shard) >= _SNAPSHOT_FROM and shard.seq > snapshot.seq
        ]  # fmt: skip
        frozen = [(snapshot, snapshot.freeze()) for snapshot in due]

        def write() -> None:
            try:
                for snapshot, pictures in frozen:
                    snapshot.write(*pictures)
                if self._slice.home is not None:
                    tidy(Path(self._slice.home), {snapshot.folder for snapshot in self._snapshots.values()})
            except Exception as error:
                # A full disk is no fault of a search.
                log.warning("no snapshot was written: %s", error)

        def thaw() -> None:
            for snapshot in due:
                snapshot.thaw()

        self._done = thaw
        return write if frozen else None

    def _judge(self, query: Query, given: dict[str, Hits], seq: int) -> None:
        """Compare an answer with the exact one, unless the vectors have changed since."""
        shard = self.shards.get(query.revision)
        if shard is None or shard.seq != seq:
            return
        begun = time.monotonic()
        for modality, hits in given.items():
            if (share := shard.indexes[modality].judge(query, hits)) is not None:
                self._shares[modality, query.revision].append(share)
        if all(shard.indexes[modality].known for modality in given):
            ended = time.monotonic()
            self._rested = ended + REST * (ended - begun)


def _seq(shards: Mapping[str, Shard]) -> int:
    return min((shard.seq for shard in list(shards.values())), default=0)
