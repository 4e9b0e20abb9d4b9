"""One FAISS index of any kind, as a generator of candidates: trained, filled and tuned, then asked.

Rows are added in order from 0, so that FAISS's numbers are row numbers. What it gives are candidates that the raw
vectors rank anew; so a compressing kind needs more candidates and loses little.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import faiss
import numpy as np

from serve_app.retrieval.exact import Blocks, Mask, best, scan
from serve_app.retrieval.hits import Floats, Ids

log = logging.getLogger("mediaverse")

GOAL = 0.995
"""Recall@10 to which the effort is tuned."""
SHARES = (1.0, 0.3, 0.1, 0.03, 0.01)
"""Shares of matching rows for which it is tuned: the fewer match, the farther off they lie."""
_SAMPLE = 100
_TUNED_K = 10
_MOST_CANDIDATES = 4096
_CHUNK = 8192
"""Rows that a background thread multiplies or adds at a time: BLAS serves one thread after the other."""
_POINTS_A_LIST = 64
"""Training points of a list; FAISS's own 256 train four times as long for the same recall."""


@dataclass(frozen=True)
class Effort:
    """How hard FAISS looks where at least ``share`` of the rows match: lists or links, candidates a hit."""

    share: float
    depth: int
    widen: int
    recall: float = 0.0


def check_factory(factory: str, dim: int) -> None:
    """Raise ValueError where FAISS makes no index of ``factory`` for vectors of ``dim`` dimensions."""
    if factory == "Flat":
        return
    try:
        index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    except Exception as error:
        why = str(error).rpartition("Error: ")[2].strip() or type(error).__name__
        raise ValueError(f"FAISS makes no index {factory!r} for {dim} dimensions: {why}") from None
    if isinstance(index, faiss.IndexIDMap | faiss.IndexIDMap2 | faiss.IndexRefine | faiss.IndexNSG):
        raise ValueError(
            f"index {factory!r}: this service numbers, adds and ranks itself, without IDMap, NSG and Refine"
        )


def least_rows(factory: str, dim: int) -> int:
    """Vectors that are needed to train ``factory``."""
    inner = _inner(faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT))
    return max(1000, 39 * inner.nlist) if isinstance(inner, faiss.IndexIVF) else 1000


class Ann:
    """A FAISS index over the first ``count`` rows. Not thread-safe: searching and adding exclude each other."""

    def __init__(self, factory: str, index: faiss.Index, efforts: tuple[Effort, ...] = (), gpu: bool = False) -> None:
        self.factory = factory
        self.index = index
        self.efforts = efforts
        self._core = _inner(index)
        self._device = on_gpu(index) if gpu else None
        self._selects = self._probe()

    @property
    def count(self) -> int:
        return int(self.index.ntotal)

    @classmethod
    def train(cls, factory: str, blocks: Blocks, count: int, gpu: bool = False) -> Ann:
        """An index trained on, and filled with, the first ``count`` rows; blocks for seconds to minutes."""
        index = faiss.index_factory(blocks.dim, factory, faiss.METRIC_INNER_PRODUCT)
        inner = _inner(index)
        wanted = 65_536
        if isinstance(inner, faiss.IndexIVF):
            inner.cp.max_points_per_centroid = _POINTS_A_LIST
            inner.cp.min_points_per_centroid = 1
            wanted = max(wanted, _POINTS_A_LIST * inner.nlist)
        rows = np.sort(np.random.default_rng(count).choice(count, min(count, wanted), replace=False))
        device = on_gpu(index) if gpu else None
        filled = index if device is None else device
        filled.train(blocks.gather(rows))
        for _, piece in blocks.pieces(0, count, _CHUNK):
            filled.add(piece)
        return cls(factory, index if device is None else faiss.index_gpu_to_cpu(device), gpu=gpu)

    def extend(self, blocks: Blocks, stop: int, size: int = _CHUNK) -> None:
        """Add the rows up to ``stop``."""
        for _, piece in blocks.pieces(self.count, stop, size):
            self.index.add(piece)
            if self._device is not None:
                self._device.add(piece)

    def effort(self, share: float) -> Effort | None:
        """How hard to look where this share of the rows matches; None where so few do that a scan is due."""
        return next((effort for effort in self.efforts if effort.share <= share), None)

    def candidates(
        self, queries: Floats, k: int, mask: Mask | None, matches: int, effort: Effort
    ) -> list[Ids | None]:  # fmt: skip
        """Rows for each query, ascending, of the ``matches`` ones in ``mask``; None where FAISS finds too few."""
        wanted = min(max(k * effort.widen, k + 8), matches)
        # Of a kind that does not select more are asked for without a mask too, as when the effort was measured.
        selects = self._selects
        asked = wanted if selects else int(1.5 * wanted * self.count / matches) + 8
        if asked > _MOST_CANDIDATES:
            return [None] * len(queries)
        found = self._search(queries, min(asked, self.count), mask if selects else None, effort)
        answers: list[Ids | None] = []
        for rows in found:
            rows = np.unique(rows[rows >= 0])
            rows = rows if mask is None else rows[mask[rows]]
            # Too few mean that what matches lies elsewhere, so that better ones may have been missed as well.
            answers.append(rows if len(rows) >= (wanted if selects else min(k, matches)) else None)
        return answers

    def _search(self, queries: Floats, count: int, mask: Mask | None, effort: Effort) -> Ids:
        chosen = None if mask is None else faiss.IDSelectorBitmap(np.packbits(mask[: self.count], bitorder="little"))  # type: ignore[call-arg, arg-type]
        index = self.index if self._device is None or mask is not None else self._device
        rows: Ids = index.search(queries, count, params=self._parameters(count, chosen, effort.depth))[1]
        return rows

    def _parameters(self, count: int, selector: object, depth: int) -> faiss.SearchParameters | None:
        given: dict[str, Any] = {} if selector is None else {"sel": selector}
        core, kinds = self._core, cast(Any, faiss)  # whose stubs know few of the parameters
        if isinstance(core, faiss.IndexIVF):
            made = kinds.SearchParametersIVF(nprobe=depth, **given)
        elif isinstance(core, faiss.IndexHNSW):
            made = kinds.SearchParametersHNSW(efSearch=max(depth, count), **given)
        elif not given:
            return None
        else:
            made = kinds.SearchParameters(**given)
        if core is not self.index:
            made = kinds.SearchParametersPreTransform(index_params=made)
        return cast(faiss.SearchParameters, made)

    def _probe(self) -> bool:
        """Whether this kind honours a selector; those that do not refuse it."""
        mask = np.zeros(self.count, np.bool_)
        mask[: len(mask) // 2] = True
        try:
            rows = self._search(np.ones((1, self.index.d), np.float32), min(16, self.count) or 1, mask, Effort(0, 1, 1))
        except RuntimeError:
            return False
        return bool(mask[rows[rows >= 0]].all())

    def tune(self, blocks: Blocks, alive: Mask, asked: Floats | None = None) -> None:
        """Find the least effort that reaches the goal for each share: on stored rows that look for the others, and on
        what was ``asked`` [Q, D], as far as there is any. Texts lie apart from pictures, so that what they look for is
        spread over more lists than what a picture looks for.
        """
        count = self.count
        random = np.random.default_rng(count)
        living = np.flatnonzero(alive[:count])
        asking = np.sort(random.choice(living, min(_SAMPLE, len(living)), replace=False))
        queries = blocks.gather(asking)
        efforts: list[Effort] = []
        for share in SHARES:
            # None may find itself: that is no task.
            mask = alive[:count] & (random.random(count) < share)
            mask[asking] = False
            if np.count_nonzero(mask) < 20 * _TUNED_K:
                break
            tasks = [_Task(blocks, queries, mask, share)]
            if asked is not None and len(asked):
                tasks.append(_Task(blocks, asked, mask, share))
            efforts.append(self._least(tasks, efforts[-1] if efforts else Effort(share, 0, 0)))
            if efforts[-1].recall < GOAL:
                log.warning(
                    "index %s: recall@10 is %.3f at best where %g match", self.factory, efforts[-1].recall, share
                )
        self.efforts = tuple(efforts)
        log.info("index %s of %d vectors is tuned: %s", self.factory, count, efforts)

    def _least(self, tasks: Sequence[_Task], least: Effort) -> Effort:
        """The smallest depth that reaches the goal, then the fewest candidates that do; neither below ``least``."""

        def measure(depth: int, widen: int) -> Effort:
            return min((task.measure(self, depth, widen) for task in tasks), key=lambda effort: effort.recall)

        widths = [widen for widen in self._widths() if widen >= least.widen]
        tried: list[Effort] = []
        for depth in (depth for depth in self._depths() if depth >= least.depth):
            tried.append(measure(depth, widths[-1]))
            if tried[-1].recall >= GOAL:
                break
        top = max(tried, key=lambda effort: effort.recall)
        narrower = (measure(top.depth, widen) for widen in widths[:-1])
        return next((effort for effort in narrower if effort.recall >= min(GOAL, top.recall)), top)

    def _depths(self) -> Iterator[int]:
        depth, most = 1, 1
        if isinstance(self._core, faiss.IndexIVF):
            depth, most = 1, self._core.nlist
        elif isinstance(self._core, faiss.IndexHNSW):
            depth, most = 16, 2048
        while depth < most:
            yield depth
            depth *= 2
        yield most

    def _widths(self) -> tuple[int, ...]:
        lossless = isinstance(self._core, faiss.IndexIVFFlat | faiss.IndexHNSWFlat)
        return (1, 2) if lossless and self._core is self.index else (2, 4, 8, 16, 32, 64, 128)


def on_gpu(index: faiss.Index) -> faiss.Index | None:
    """``index`` copied to the first GPU; None without a GPU, or where FAISS has no such kind there."""
    if not faiss.get_num_gpus():
        return None
    try:
        return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    except RuntimeError as error:
        log.info("this index stays off the GPU: %s", str(error).rpartition("Error: ")[2].strip())
        return None


def _inner(index: faiss.Index) -> faiss.Index:
    """The index itself, below a transformation of its vectors."""
    return faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index


class _Task:
    """Queries with their exact answers among the rows of a mask."""

    def __init__(self, blocks: Blocks, queries: Floats, mask: Mask, share: float) -> None:
        self._blocks, self._queries, self._mask, self._share = blocks, queries, mask, share
        self._numbers = np.arange(len(mask))
        self._matches = int(np.count_nonzero(mask))
        truth = scan(blocks, queries, _TUNED_K, mask, 0, len(mask), _CHUNK)
        self._truth = [self._best(query, rows) for query, rows in zip(queries, truth, strict=True)]

    def measure(self, ann: Ann, depth: int, widen: int) -> Effort:
        """How much of the truth ``ann`` gives at this effort; too few candidates count as nothing."""
        effort = Effort(self._share, depth, widen)
        found = ann.candidates(self._queries, _TUNED_K, self._mask, self._matches, effort)
        hits = 0
        for query, rows, true in zip(self._queries, found, self._truth, strict=True):
            hits += 0 if rows is None else len(np.intersect1d(self._best(query, rows), true))
        return Effort(self._share, depth, widen, hits / sum(map(len, self._truth)))

    def _best(self, query: Floats, rows: Ids) -> Ids:
        return best(self._blocks, self._numbers, query, rows, _TUNED_K).vids
