"""Greedy non-maximum suppression without a loop over the boxes: the pairs that overlap too much are settled in rounds.

In each round the boxes that no better open box overlaps are kept and what they overlap is dropped; what is kept in the
end is what a loop over the boxes, best first, would keep.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Over = Literal["union", "smaller"]

BLOCK = 256
"""Boxes that are compared with all others at once: bounds the memory."""
NEIGHBOURS = [(0, 1), (0, 2)] + [(down, across) for down in (1, 2) for across in range(-2, 3)]
"""Half of the steps on a lattice to windows that may overlap one of them by more than half; the rest mirror them."""
REACH = 2


def suppress(corners: Floats, scores: Floats, limit: float, over: Over = "union") -> Ints:
    """Which of the boxes [n, 4] (x1, y1, x2, y2) stay, best first: none overlaps a better one by more than ``limit``.

    The overlap is a share of both boxes' union, or of the smaller one; for the latter sides count both ends' pixels, as
    in the reference's last stage.
    """
    order = np.argsort(-scores, kind="stable")
    boxes = corners[order]
    pairs = [np.empty((2, 0), np.int64)]
    for start in range(0, len(boxes), BLOCK):
        shares = _overlap(boxes[start : start + BLOCK, None], boxes[None, start:], over)
        found = np.stack(np.nonzero(np.triu(shares > limit, 1)))
        pairs.append(found + start)
    better, worse = np.concatenate(pairs, axis=1)
    return order[_kept(better, worse, len(boxes))]


def suppress_windows(rows: Ints, columns: Ints, corners: Floats, scores: Floats, limit: float) -> Ints:
    """The same for windows on a lattice, in steps of a sixth of their side, and a ``limit`` of half or more: only near
    neighbours are compared. Windows that are to leave each other alone lie more than ``REACH`` rows apart."""
    order = np.argsort(-scores, kind="stable")
    if not len(order):
        return order
    rows, columns, boxes = rows[order] + REACH, columns[order] + REACH, corners[order]
    ranks = np.full((rows.max() + REACH + 1, columns.max() + REACH + 1), -1, np.int64)
    ranks[rows, columns] = np.arange(len(order))
    pairs = []
    for down, across in NEIGHBOURS:
        other = ranks[rows + down, columns + across]
        here = np.nonzero(other >= 0)[0]
        pairs.append(np.stack([here, other[here]]))
    first, second = np.concatenate(pairs, axis=1)
    close = _overlap(boxes[first], boxes[second], "union") > limit
    first, second = first[close], second[close]
    return order[_kept(np.minimum(first, second), np.maximum(first, second), len(order))]


def _kept(better: Ints, worse: Ints, count: int) -> NDArray[np.bool_]:
    """Which of ``count`` boxes a greedy suppression keeps, given the pairs that overlap too much."""
    kept, undecided = np.zeros(count, np.bool_), np.ones(count, np.bool_)
    while len(worse):
        best = undecided.copy()
        best[worse] = False
        kept |= best
        undecided &= ~best
        undecided[worse[best[better]]] = False
        still = undecided[better] & undecided[worse]
        better, worse = better[still], worse[still]
    return kept | undecided


def _overlap(one: Floats, other: Floats, over: Over) -> Floats:
    ends = 1 if over == "smaller" else 0
    (left, top, right, bottom), (left_2, top_2, right_2, bottom_2) = (np.moveaxis(box, -1, 0) for box in (one, other))
    shared = (np.minimum(right, right_2) - np.maximum(left, left_2) + ends).clip(0)
    shared *= (np.minimum(bottom, bottom_2) - np.maximum(top, top_2) + ends).clip(0)
    area = (right - left + ends) * (bottom - top + ends)
    area_2 = (right_2 - left_2 + ends) * (bottom_2 - top_2 + ends)
    whole = np.minimum(area, area_2) if over == "smaller" else area + area_2 - shared
    share: Floats = shared / np.maximum(whole, np.finfo(np.float32).tiny)
    return share
