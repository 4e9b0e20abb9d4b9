"""Raw vectors in blocks, the truth in memory, and the exact search over them.

A search is done in two steps: something offers candidates (a scan here, or a FAISS index), and ``best`` ranks these by
their true cosines. The scan multiplies in float32, whose last digits depend on the shape of the product; so it offers
all that come within its error of the k-th, and only ``best``, which computes each row alike, decides.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from serve_app.retrieval.hits import NO_HITS, Floats, Hits, Ids

Mask = NDArray[np.bool_]

BLOCK = 65_536
_ERROR = 1e-5
"""More than float32 products of unit vectors are off, in up to 2048 dimensions."""
_GATHERED = 4096
"""Rows that are gathered at a time, so that they are still in the cache when they are multiplied."""
_SPARSE = 0.3
"""Below this share of matching rows it is faster to gather them than to multiply all."""


class Blocks:
    """Rows [N, D] float32 that only grow; a block is never moved, so other threads may read what they have seen."""

    def __init__(self, dim: int, block: int = BLOCK) -> None:
        self.dim = dim
        self.count = 0
        self._block = block
        self._blocks: list[Floats] = []

    def append(self, vectors: Floats) -> None:
        """Add rows [N, D]."""
        done = 0
        while done < len(vectors):
            place = self.count % self._block
            if place == 0:
                self._blocks.append(np.empty((self._block, self.dim), np.float32))
            some = vectors[done : done + self._block - place]
            self._blocks[-1][place : place + len(some)] = some
            done += len(some)
            self.count += len(some)  # last, for readers in other threads

    def pieces(self, start: int = 0, stop: int | None = None, size: int | None = None) -> Iterator[tuple[int, Floats]]:
        """Rows ``start`` to ``stop`` as views of at most ``size`` rows, each with the number of its first."""
        stop = self.count if stop is None else stop
        while start < stop:
            number, place = divmod(start, self._block)
            view = self._blocks[number][place : place + stop - start][:size]
            yield start, view
            start += len(view)

    def gather(self, rows: Ids) -> Floats:
        """Copies of ``rows`` (ascending) [N, D]."""
        out = np.empty((len(rows), self.dim), np.float32)
        if not len(rows):
            return out
        numbers = np.arange(rows[0] // self._block, rows[-1] // self._block + 2)
        ends = np.searchsorted(rows, numbers * self._block)
        for number, first, last in zip(numbers[:-1], ends[:-1], ends[1:], strict=True):
            if first < last:
                local = rows[first:last] - number * self._block
                # mode: with "raise" NumPy fills a second buffer first.
                np.take(self._blocks[number], local, axis=0, out=out[first:last], mode="clip")
        return out


def scan(
    blocks: Blocks, queries: Floats, k: int, mask: Mask | None, start: int = 0, stop: int | None = None,
    size: int = BLOCK,
) -> list[Ids]:  # fmt: skip
    """For each query [Q, D] the rows, of those in ``mask``, among which its ``k`` best are for certain."""
    stop = blocks.count if stop is None else stop
    best = [_Best(k) for _ in queries]
    if mask is not None and np.count_nonzero(mask[start:stop]) < _SPARSE * (stop - start):
        rows = np.flatnonzero(mask[start:stop]) + start
        for first in range(0, len(rows), _GATHERED):
            some = rows[first : first + _GATHERED]
            for one, scores in zip(best, _products(queries, blocks.gather(some)), strict=True):
                one.offer(scores, some)
        return [one.rows() for one in best]
    for first, piece in blocks.pieces(start, stop, size):
        numbers = np.arange(first, first + len(piece))
        allowed = None if mask is None else mask[first : first + len(piece)]
        for one, scores in zip(best, _products(queries, piece), strict=True):
            one.offer(scores, numbers, allowed)
    return [one.rows() for one in best]


def _products(queries: Floats, rows: Floats) -> Floats:
    """Inner products [Q, N]. BLAS is made for square matrices: for a single query it takes twice as long as a loop."""
    if len(queries) == 1:
        products: Floats = np.einsum("nd,d->n", rows, queries[0])[None]
        return products
    return queries @ rows.T


def best(blocks: Blocks, vids: Ids, query: Floats, rows: Ids, k: int) -> Hits:
    """The ``k`` best of ``rows`` (ascending) by their cosine with ``query`` [D]; ties by lower id."""
    if not len(rows):
        return NO_HITS
    scores = cosines(blocks, query, rows)
    if len(rows) > k:
        kept = scores >= np.partition(scores, len(rows) - k)[len(rows) - k]
        rows, scores = rows[kept], scores[kept]
    found = vids[rows]
    order = np.lexsort((found, -scores))[:k]
    return Hits(found[order], scores[order])


def cosines(blocks: Blocks, query: Floats, rows: Ids) -> Floats:
    """The inner products of ``query`` with ``rows`` (ascending), each as precise as float32 can tell it."""
    scores = np.empty(len(rows), np.float32)
    wide = query.astype(np.float64)
    for first in range(0, len(rows), _GATHERED):
        some = slice(first, first + _GATHERED)
        scores[some] = np.einsum("nd,d->n", blocks.gather(rows[some]).astype(np.float64), wide)
    return scores


class _Best:
    """Rows of one query that may be among its ``k`` best."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._bar = -np.inf
        self._scores: Floats = np.empty(0, np.float32)
        self._rows: Ids = np.empty(0, np.int64)

    def offer(self, scores: Floats, rows: Ids, allowed: Mask | None = None) -> None:
        if self._bar > -np.inf:
            above = np.flatnonzero(scores >= self._bar)
            above = above if allowed is None else above[allowed[above]]
        else:
            above = np.arange(len(scores)) if allowed is None else np.flatnonzero(allowed)
        if not len(above):
            return
        self._scores = np.concatenate([self._scores, scores[above]])
        self._rows = np.concatenate([self._rows, rows[above]])
        surplus = len(self._scores) - self._k
        if surplus > 0:
            self._bar = float(np.partition(self._scores, surplus)[surplus]) - _ERROR
            kept = self._scores >= self._bar
            self._scores, self._rows = self._scores[kept], self._rows[kept]

    def rows(self) -> Ids:
        return self._rows
