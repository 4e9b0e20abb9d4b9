"""5,000 vectors of 512 dimensions: FAISS against numpy, and both against what the memory and the cores can give."""

from __future__ import annotations

import time
from collections.abc import Callable

import faiss
import numpy as np

from serve_app.retrieval.attributes import Entries
from serve_app.retrieval.hits import Ids
from serve_app.retrieval.index import VectorIndex
from tests.benchmarks.catalogs import DIM, Floats, pages
from tests.benchmarks.processes import alone
from tests.benchmarks.report import Result, progress, table

COUNT = 5_000
K = 10


def run(quick: bool) -> Result:
    figures = alone(_measure, 0.3 if quick else 3.0)
    progress(f"nearest: {figures}")
    size = COUNT * DIM * 4
    rows: list[list[object]] = [[name, ms, ms / figures["one, floor"]] for name, ms in figures.items() if "one" in name]
    rows += [[name, ms, ms / figures["all, floor"]] for name, ms in figures.items() if "all" in name]
    measured = (
        f"One query reads {size / 1e6:.1f} MB; the fastest read of as many bytes ran at "
        f"{size / figures['one, floor'] / 1e6:.1f} GB/s and the fastest of 1 GB, which no cache holds, at "
        f"{figures['GB/s of memory']:.1f} GB/s. 5,000 queries multiply {2 * COUNT * COUNT * DIM / 1e9:.1f} GFLOP; "
        f"the fastest matrix product ran at {figures['GFLOP/s']:.0f} GFLOP/s."
    )
    return Result(f"{table(['', 'ms', 'times the floor'], rows)}\n\n{measured}", figures)


def _measure(seconds: float) -> dict[str, float]:
    vectors = next(pages(2 * COUNT))
    base, asked = np.ascontiguousarray(vectors[:COUNT]), np.ascontiguousarray(vectors[COUNT:])
    flat = faiss.IndexFlatIP(DIM)
    flat.add(base)
    ours = VectorIndex(DIM)
    ours.put(numbers := np.arange(COUNT), numbers, ["anna"] * COUNT, base, _one_asset_each(numbers))

    def best(work: Callable[[], object]) -> float:
        return _median_ms(work, seconds)

    one, gflops = asked[:1], _gflops(seconds)
    return {
        "one, floor": min(best(read) for read in _reads(base)),
        "one, FAISS": best(lambda: flat.search(one, K)),
        "one, our index": best(lambda: ours.search(one, K)),
        "one, numpy, unit vectors": best(lambda: _top(one @ base.T)),
        "one, numpy, plain cosine": best(lambda: _top(_cosine(one, base))),
        "all, floor": 2 * COUNT * COUNT * DIM / gflops / 1e6,
        "all, FAISS": best(lambda: flat.search(asked, K)),
        "all, our index": best(lambda: ours.search(asked, K)),
        "all, numpy, unit vectors": best(lambda: _top(asked @ base.T)),
        "all, numpy, plain cosine": best(lambda: _top(_cosine(asked, base))),
        "GFLOP/s": gflops,
        "GB/s of memory": _gb_per_s(),
    }


def _reads(block: Floats) -> list[Callable[[], object]]:
    """Ways to read every byte once; the fastest counts as what the memory can give."""
    flat = block.reshape(-1)
    half = len(flat) // 2
    ones = np.ones(block.shape[1], np.float32)
    return [lambda: flat.max(), lambda: flat[:half] @ flat[half:], lambda: block @ ones]


def _gb_per_s() -> float:
    block = np.ones((1 << 19, DIM), np.float32)
    target = np.empty_like(block)
    reading = min(_median_ms(read, 1.0) for read in _reads(block))
    copying = _median_ms(lambda: np.copyto(target, block), 1.0) / 2  # a copy reads and writes
    return block.nbytes / min(reading, copying) / 1e6


def _gflops(seconds: float) -> float:
    side = 2048
    left = np.random.default_rng(0).standard_normal((side, side), np.float32)
    return 2 * side**3 / _median_ms(lambda: left @ left, seconds) / 1e6


def _cosine(asked: Floats, base: Floats) -> Floats:
    """As it is written in textbooks: every norm is computed again for every query set."""
    norms = np.linalg.norm(asked, axis=1)[:, None] * np.linalg.norm(base, axis=1)[None]
    scores: Floats = (asked @ base.T) / norms
    return scores


def _top(scores: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    best = np.argpartition(-scores, K, axis=1)[:, :K]
    order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1)
    return np.take_along_axis(best, order, 1)


def _one_asset_each(numbers: Ids) -> Entries:
    nothing = np.empty(0, np.int32)
    kinds, created = ["image"] * len(numbers), np.zeros(len(numbers))
    return Entries(
        numbers.astype(np.int32), numbers, kinds, created, nothing, [], [], np.empty(0, np.float32)
    )  # fmt: skip


def _median_ms(work: Callable[[], object], seconds: float) -> float:
    work()
    times: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times) < 3:
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return 1000 * float(np.median(times))
