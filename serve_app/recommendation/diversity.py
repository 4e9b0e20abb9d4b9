"""How different the items of a list are, which of them are as good as the same, and which of many differ most."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.floating[Any]]
Places = NDArray[np.int64]

NEAR = 0.99
"""Cosine from which two contents of one modality are as good as the same: a picture and a smaller copy of it."""
BLOCK = 1024


def intra_list_distance(vectors: Vectors) -> float:
    """ILD of D3.2, section 4: the mean Euclidean distance over all pairs of rows of [N, D]; 0 for fewer than two.

    It is computed from the Gram matrix: |a - b|^2 = |a|^2 + |b|^2 - 2 ab.
    """
    rows = np.asarray(vectors, np.float64)
    if len(rows) < 2:
        return 0.0
    rows = rows - rows.mean(axis=0)  # distances stay, and near-equal rows lose less to rounding
    squares = np.einsum("nd,nd->n", rows, rows)
    distances = np.sqrt((squares[:, None] + squares[None, :] - 2 * rows @ rows.T).clip(min=0))
    return float(distances[np.triu_indices(len(rows), k=1)].mean())


def distinct(vectors: Vectors, near: float = NEAR) -> NDArray[np.bool_]:
    """Which of the unit rows [N, D], the best first, are kept: those with no kept row before them that is as near."""
    rows = np.asarray(vectors, np.float32)
    kept = np.ones(len(rows), np.bool_)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        close = block @ rows[: start + len(block)].T >= near
        close[:, start:] = np.tril(close[:, start:], -1)
        for row in np.nonzero(close.any(axis=1))[0]:
            kept[start + row] = not (close[row] & kept[: close.shape[1]]).any()
    return kept


def farthest_first(vectors: Vectors, first: int = 0) -> Places:
    """An order of the rows [N, D] in which each is the one that is farthest from all before it (Gonzalez 1985)."""
    rows = np.asarray(vectors, np.float64)
    if not len(rows):
        return np.empty(0, np.int64)
    order, distances = [first], np.full(len(rows), np.inf)
    taken = np.zeros(len(rows), np.bool_)
    while len(order) < len(rows):
        taken[order[-1]] = True
        distances = np.minimum(distances, np.linalg.norm(rows - rows[order[-1]], axis=1))
        order.append(int(np.where(taken, -1.0, distances).argmax()))
    return np.asarray(order, np.int64)


def diverse(vectors: Vectors, count: int, seed: int = 0) -> Places:
    """At most ``count`` of the unit rows [N, D] that stand for all of them, in an order of which each start differs.

    Medoids of spherical k-means, the largest first and then farthest first: the farthest points of all would be what
    is like nothing else, which says little of what somebody likes.
    """
    rows = np.asarray(vectors, np.float32)
    if len(rows) <= count:
        chosen = np.arange(len(rows), dtype=np.int64)
        largest = 0
    else:
        centres, nearest = _centres(rows, count, seed)
        chosen = np.unique([_nearest_member(rows, nearest, one, centres[one]) for one in np.unique(nearest)])
        sizes = np.bincount(nearest, minlength=count)
        largest = int(sizes[nearest[chosen]].argmax())
    kept = chosen[distinct(rows[chosen])]
    start = int(np.searchsorted(kept, chosen[largest])) if len(kept) else 0
    return np.asarray(kept[farthest_first(rows[kept], min(start, max(0, len(kept) - 1)))], np.int64)


def _centres(rows: NDArray[np.float32], count: int, seed: int, rounds: int = 8) -> tuple[Vectors, Places]:
    """Unit centres [count, D] of spherical k-means and the nearest of them for each row."""
    dice = np.random.default_rng(seed)
    centres = rows[dice.choice(len(rows), count, replace=False)]
    nearest = np.zeros(len(rows), np.int64)
    for _ in range(rounds):
        nearest = (rows @ centres.T).argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, rows)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 1e-9, sums / lengths.clip(min=1e-9), centres)
    return centres, nearest


def _nearest_member(rows: NDArray[np.float32], nearest: Places, one: int, centre: Vectors) -> int:
    members = np.nonzero(nearest == one)[0]
    return int(members[(rows[members] @ centre).argmax()])
