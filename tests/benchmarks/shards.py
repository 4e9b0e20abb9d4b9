"""A shard in a process of its own: how long it loads, what it weighs, how fast and how truly it answers."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from serve_app.catalog import Catalog
from serve_app.catalog.filters import Filter, Term
from serve_app.catalog.rows import ChangePage
from serve_app.retrieval.hits import Query
from serve_app.retrieval.kinds import load_table
from serve_app.retrieval.shard import ChangeLog, Shard
from serve_app.retrieval.snapshot import Snapshot
from tests.benchmarks import catalogs

K = 10
TOGETHER = 32
"""Queries in one scan, as the batcher brings them under load."""
SHARES = (0.5, 0.1, 0.01, 0.001)
"""Of the rows, so many match a filter."""


@dataclass(frozen=True)
class Measured:
    """One index; times in ms, memory in bytes, and the ids found for recall."""

    load_s: float
    train_s: float
    bytes_a_vector: float
    peak_bytes_a_vector: float
    alone_ms: tuple[float, float, float]
    without_owner_ms: tuple[float, float, float]
    together_per_s: float
    found: NDArray[np.int64]
    kind: str
    efforts: str


@dataclass(frozen=True)
class Filtered:
    """One selectivity; p50, p95 and p99 in ms, and recall@10 against the exact answers."""

    share: float
    alone_ms: tuple[float, float, float]
    mask_ms: float
    together_per_s: float
    recall: float


def measure(path: Path, count: int, revision: str, setting: str, threads: int, asked: catalogs.Floats) -> Measured:
    """Load the catalog at ``path``; ask every query of ``asked`` alone, with an owner left out, and in batches."""
    faiss.omp_set_num_threads(threads)
    catalog = Catalog.open(f"sqlite:///{path}")
    catalog.vectors.head()
    before = resident_bytes()
    shard, load_s, train_s = loaded(catalog.vectors, revision, setting)
    weight, peak = resident_bytes() - before, _peak_bytes() - before
    if len(shard.indexes["image"]) != count:
        raise RuntimeError(f"{len(shard.indexes['image'])} vectors in the shard, not {count}")
    plain = [Query(vector, K, revision, ("image",), shard.seq) for vector in asked]
    others = [Query(vector, K, revision, ("image",), shard.seq, "owner1") for vector in asked]
    alone_ms, found = _timed(shard, [[query] for query in plain])
    without_ms, _ = _timed(shard, [[query] for query in others])
    ann = shard.indexes["image"].ann
    return Measured(
        load_s, train_s, weight / count, peak / count, _percentiles(alone_ms), _percentiles(without_ms),
        _per_s(shard, plain), np.stack(found), shard.indexes["image"].factory, str(ann.efforts) if ann else "",
    )  # fmt: skip


def loaded(log: ChangeLog, revision: str, setting: str) -> tuple[Shard, float, float]:
    """A shard that has read the log and trained what is due, and the seconds of both.

    ``setting`` is an index factory, or ``auto`` for what the table says.
    """
    begun = time.perf_counter()
    shard = Shard(log, revision, catalogs.DIM, kinds=load_table().kinds(setting))
    shard.catch_up()
    read = time.perf_counter()
    while (work := shard.plan()) is not None:
        index, rebuild = work
        rebuild.run()
        index.adopt(rebuild)
        while shard.feed():
            pass
    return shard, read - begun, time.perf_counter() - read


def filtered(shard: Shard, asked: catalogs.Floats) -> list[Filtered]:
    """Filters of ``Labelled``: the share of the exact ten best, and times."""
    rows = []
    for share in SHARES:
        filter = Filter((Term("object", f"in{share}"), Term("kind", "image")))
        queries = [Query(vector, K, shard.revision, ("image",), shard.seq, filter=filter) for vector in asked]
        exact = [Query(vector, K, shard.revision, ("image",), shard.seq, None, filter, (), True) for vector in asked]
        alone_ms, found = _timed(shard, [[query] for query in queries])
        truth = [hits["image"].vids for hits in shard.search(exact)]
        hits = sum(len(np.intersect1d(mine, true)) for mine, true in zip(found, truth, strict=True))
        begun = time.perf_counter()
        for _ in range(10):
            shard.indexes["image"].mask(filter)
        mask_ms = 100 * (time.perf_counter() - begun)
        recall = hits / sum(map(len, truth))
        rows.append(Filtered(share, _percentiles(alone_ms), mask_ms, _per_s(shard, queries), recall))
    return rows


def restarted(shard: Shard) -> tuple[float, float]:
    """Seconds to write a snapshot of ``shard``, and to read it into another."""
    with tempfile.TemporaryDirectory() as home:
        begun = time.perf_counter()
        log = Labelled(0)
        made = Snapshot(Path(home), shard, "", log)
        made.write(*made.freeze())
        made.thaw()
        written = time.perf_counter()
        fresh = Shard(log, shard.revision, shard.dim)
        if not Snapshot(Path(home), fresh, "", log).read(shard.seq):
            raise RuntimeError("the snapshot was not read")
        return written - begun, time.perf_counter() - written


def under_labels(
    path: Path, revision: str, asked: catalogs.Floats, labels: Sequence[str | None]
) -> tuple[str, dict[str | None, tuple[tuple[float, float, float], list[NDArray[np.int64]]]]]:
    """The kind that the table says for the labelled catalog at ``path``, and times and ids by label."""
    shard, _, _ = loaded(Catalog.open(f"sqlite:///{path}").vectors, revision, "auto")
    found = {label: under_label(shard, asked, label) for label in labels}
    return shard.indexes["image"].factory, found


def under_label(
    shard: Shard, asked: catalogs.Floats, label: str | None
) -> tuple[tuple[float, float, float], list[NDArray[np.int64]]]:
    """p50, p95 and p99 in ms of queries that filter for an object of the labelled catalog, and the ids found."""
    filter = _object(label) if label else None
    queries = [Query(vector, K, shard.revision, ("image",), shard.seq, filter=filter) for vector in asked]
    times, ids = _timed(shard, [[query] for query in queries])
    return _percentiles(times), ids


def mask_ms(shard: Shard, label: str) -> float:
    """Milliseconds to find the rows that show ``label``."""
    begun = time.perf_counter()
    for _ in range(10):
        shard.indexes["image"].mask(_object(label))
    return 100 * (time.perf_counter() - begun)


def _object(label: str) -> Filter:
    return Filter((Term("object", label),))


class Labelled:
    """The log of ``count`` pictures, each with two labels or more, without a database."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pages = catalogs.pages(count)
        self._marks: set[str] = set()

    def mark(self, name: str) -> None:
        self._marks.add(name)

    def unmark(self, name: str) -> None:
        self._marks.discard(name)

    def is_marked(self, name: str) -> bool:
        return name in self._marks

    def changes(self, revision: str, shard: int, shards: int, after: int, limit: int) -> ChangePage:
        """The page after ``after``, whatever the limit; pages are asked for in order."""
        vectors = next(self._pages)
        vids = np.arange(after + 1, after + 1 + len(vectors))
        dice = np.random.default_rng(after)
        tags = [(entry, f"in{share}") for share in SHARES for entry in np.flatnonzero(dice.random(len(vids)) < share)]
        tags += [(entry, f"thing{dice.integers(80)}") for entry in range(len(vids)) for _ in range(2)]
        tags.sort(key=lambda tag: int(tag[0]))
        last = int(vids[-1])
        return ChangePage(
            last_seq=last, complete=last >= self.count, vids=vids,
            owners=[f"owner{vid // catalogs.RUN % catalogs.OWNERS}" for vid in vids.tolist()],
            modalities=["image"] * len(vids), vectors=[vector.tobytes() for vector in vectors], seqs=vids,
            entry_rows=np.arange(len(vids), dtype=np.int32), assets=vids, kinds=["image"] * len(vids),
            created=np.zeros(len(vids)), tag_entries=np.asarray([tag[0] for tag in tags], np.int32),
            tag_names=["object"] * len(tags), tag_values=[tag[1] for tag in tags],
            confidences=np.ones(len(tags), np.float32),
        )  # fmt: skip


def _per_s(shard: Shard, queries: list[Query]) -> float:
    batches = [queries[start : start + TOGETHER] for start in range(0, len(queries) - TOGETHER + 1, TOGETHER)]
    together_ms, _ = _timed(shard, batches)
    return 1000 * TOGETHER * len(batches) / float(np.sum(together_ms))


def _timed(shard: Shard, batches: Iterable[list[Query]]) -> tuple[catalogs.Floats, list[NDArray[np.int64]]]:
    """Milliseconds [N] of each batch, after a warm-up, and the ids found for its first query."""
    batches = list(batches)
    shard.search(batches[0])
    times, found = [], []
    for batch in batches:
        begun = time.perf_counter()
        hits = shard.search(batch)
        times.append(1000 * (time.perf_counter() - begun))
        found.append(hits[0]["image"].vids)
    return np.asarray(times, np.float32), found


def _percentiles(times: catalogs.Floats) -> tuple[float, float, float]:
    p50, p95, p99 = np.percentile(times, [50, 95, 99]).tolist()
    return p50, p95, p99


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _peak_bytes() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
