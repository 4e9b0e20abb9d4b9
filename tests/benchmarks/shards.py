"""A shard in a process of its own: how long it loads, what it weighs, how fast and how truly it answers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from serve_app.catalog import Catalog
from serve_app.config import load_resources
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


def measure(path: Path, count: int, revision: str, factory: str, nprobe: int, asked: catalogs.Floats) -> Measured:
    """Load the catalog at ``path``; ask every query of ``asked`` alone, with an owner left out, and in batches."""
    faiss.omp_set_num_threads(load_resources().cpu.deployments["faiss_shard"].threads)
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
    found = np.stack([shard.search([query])[0]["image"].vids for query in plain])
    return Measured(
        load_s, weight / count, peak / count, _each_ms(shard, plain), _each_ms(shard, others),
        _together_per_s(shard, plain), found,
    )  # fmt: skip


def _each_ms(shard: Shard, asked: list[Query]) -> tuple[float, float]:
    times = [_timed(lambda query=query: shard.search([query])) for query in asked]  # type: ignore[misc]
    p50, p99 = np.percentile(np.asarray(times) * 1000, [50, 99])
    return float(p50), float(p99)


def _together_per_s(shard: Shard, asked: list[Query]) -> float:
    batches = [asked[start : start + TOGETHER] for start in range(0, len(asked) - TOGETHER + 1, TOGETHER)]
    return len(batches) * TOGETHER / sum(_timed(lambda batch=batch: shard.search(batch)) for batch in batches)  # type: ignore[misc]


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _peak_bytes() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
