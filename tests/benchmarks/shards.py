"""A shard in a process of its own: how long it loads, what it weighs, how fast and how truly it answers."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from serve_app.catalog import Catalog
from serve_app.retrieval.shard import Query, Shard
from tests.benchmarks import catalogs

K = 10
TOGETHER = 32
"""Queries in one scan, as the batcher brings them under load."""


@dataclass(frozen=True)
class Measured:
    """One index; times in ms, memory in bytes, and the ids found for recall."""

    load_s: float
    bytes_a_vector: float
    peak_bytes_a_vector: float
    alone_ms: tuple[float, float]
    without_owner_ms: tuple[float, float]
    together_per_s: float
    found: NDArray[np.int64]


def measure(
    path: Path, count: int, revision: str, factory: str, nprobe: int, threads: int, asked: catalogs.Floats
) -> Measured:
    """Load the catalog at ``path``; ask every query of ``asked`` alone, with an owner left out, and in batches."""
    faiss.omp_set_num_threads(threads)
    catalog = Catalog.open(f"sqlite:///{path}")
    catalog.vectors.head()
    before = _resident_bytes()
    begun = time.perf_counter()
    shard = Shard(catalog.vectors, revision, catalogs.DIM, factory=factory, nprobe=nprobe)
    shard.catch_up()
    load_s = time.perf_counter() - begun
    weight, peak = _resident_bytes() - before, _peak_bytes() - before
    if len(shard.indexes["image"]) != count:
        raise RuntimeError(f"{len(shard.indexes['image'])} vectors in the shard, not {count}")
    plain = [Query(vector, K, ("image",), shard.seq) for vector in asked]
    others = [Query(vector, K, ("image",), shard.seq, "owner1") for vector in asked]
    alone_ms, found = _timed(shard, [[query] for query in plain])
    without_ms, _ = _timed(shard, [[query] for query in others])
    batches = [plain[start : start + TOGETHER] for start in range(0, len(plain) - TOGETHER + 1, TOGETHER)]
    together_ms, _ = _timed(shard, batches)
    per_s = 1000 * TOGETHER * len(batches) / float(np.sum(together_ms))
    return Measured(
        load_s, weight / count, peak / count, _percentiles(alone_ms), _percentiles(without_ms), per_s, np.stack(found)
    )


def _timed(shard: Shard, batches: list[list[Query]]) -> tuple[catalogs.Floats, list[NDArray[np.int64]]]:
    """Milliseconds [N] of each batch, after a warm-up, and the ids found for its first query."""
    shard.search(batches[0])
    times, found = [], []
    for batch in batches:
        begun = time.perf_counter()
        hits = shard.search(batch)
        times.append(1000 * (time.perf_counter() - begun))
        found.append(hits[0]["image"].vids)
    return np.asarray(times, np.float32), found


def _percentiles(times: catalogs.Floats) -> tuple[float, float]:
    p50, p99 = np.percentile(times, [50, 99])
    return float(p50), float(p99)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _peak_bytes() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
