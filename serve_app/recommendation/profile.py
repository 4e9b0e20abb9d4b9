"""A user's posts as a profile: cluster their vectors and pick the posts that stand for them (D3.2, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.recommendation.seeds import Cluster, Profile

Vectors = NDArray[np.floating[Any]]
Labels = NDArray[np.int64]

LATEST_POSTS = 1000
"""Posts that make a profile: clustering is quadratic (0.2 s and 8 MB for so many), and taste moves on."""
MIN_CLUSTER_SIZE = 5
"""Posts that make a cluster: the default of hdbscan, which the public reference uses."""
COHESION = 0.25
"""How far from what unrelated contents have to 1 the mean cosine within a cluster is at least. Chance neighbours among
unrelated posts, which HDBSCAN calls clusters wherever there are enough posts, stay below it."""
OUTLIER = -1
STAND_INS = 4
"""Medoids that are kept of a cluster: the first, and who is next once that is deleted."""
KEPT_OUTLIERS = 200
KEPT_NEWEST = 64


def cluster(vectors: Vectors, background: float = 0.0, min_cluster_size: int = MIN_CLUSTER_SIZE) -> Labels:
    """The cluster of each of [N, D], numbered from 0, or -1 for an outlier; no clusters where there are too few posts.

    HDBSCAN on L2-normalised vectors with Euclidean distance, which orders as cosine does. The leaves of its tree tell
    interests apart that lie close together, but never give exactly one cluster; where they give none, the excess of
    mass may take the whole as one. That alone never says that there is none, so a cluster also needs ``COHESION`` over
    ``background``, the mean cosine of unrelated contents. The method has no randomness, hence no seed.
    """
    if len(vectors) < max(2, min_cluster_size):
        return np.full(len(vectors), OUTLIER, np.int64)
    rows = unit(vectors)
    distances = _distances(rows)
    least = background + COHESION * (1 - background)
    labels = _cohesive(_hdbscan(distances, min_cluster_size, "leaf", single=False), rows, least)
    if labels.max() == OUTLIER:
        labels = _cohesive(_hdbscan(distances, min_cluster_size, "eom", single=True), rows, least)
        if labels.max() == 0:
            # HDBSCAN gives a lone root only its densest posts; who is as near to them belongs to them.
            labels = np.where(rows @ rows[labels == 0].mean(axis=0) >= least, 0, labels)
    return labels


def _hdbscan(distances: NDArray[np.float64], min_cluster_size: int, selection: str, *, single: bool) -> Labels:
    from hdbscan import HDBSCAN  # here, not above: it takes seconds

    # Distances that are computed here: its own trees take ten times as long at 512 dimensions.
    model = HDBSCAN(
        min_cluster_size=min_cluster_size,
        metric="precomputed",
        cluster_selection_method=selection,
        allow_single_cluster=single,
    )
    return np.asarray(model.fit_predict(distances), np.int64)


def _cohesive(labels: Labels, rows: NDArray[np.float64], least: float) -> Labels:
    """Only the clusters with a mean cosine of at least ``least`` between members, numbered anew."""
    kept = np.full(len(labels), OUTLIER, np.int64)
    number = 0
    for one in range(labels.max() + 1):
        members = labels == one
        if mean_cosine(rows[members]) >= least:
            kept[members] = number
            number += 1
    return kept


def mean_cosine(rows: NDArray[np.float64]) -> float:
    """Of all pairs of unit rows [N, D], without the pairs of a row and itself; 1 for fewer than two."""
    count = len(rows)
    if count < 2:
        return 1.0
    total = rows.sum(axis=0)
    return float((total @ total - count) / (count * (count - 1)))


def unrelated(rows: NDArray[np.float64], owners: Sequence[str]) -> float:
    """The mean cosine of unit rows [N, D] of different owners, who did not post for each other; 0 for one owner."""
    names, of = np.unique(np.asarray(owners, str), return_inverse=True)
    sums = np.zeros((len(names), rows.shape[1]))
    np.add.at(sums, of, rows)
    total, counts = sums.sum(axis=0), np.bincount(of)
    pairs = len(rows) ** 2 - float(counts @ counts)
    return float((total @ total - (sums * sums).sum()) / pairs) if pairs else 0.0


def medoids(vectors: Vectors, members: Sequence[int] | NDArray[np.int64], count: int = 1) -> list[int]:
    """The members with the least summed Euclidean distance to the others, the least first; the first of equals."""
    sums = _distances(unit(vectors[np.asarray(members, np.int64)])).sum(axis=1)
    return [int(members[at]) for at in np.argsort(np.round(sums, 6), kind="stable")[:count]]


def make_profile(vids: NDArray[np.int64], vectors: Vectors, background: float = 0.0) -> Profile:
    """The profile of posts, the newest first: ids [N] and vectors [N, D], of which ``LATEST_POSTS`` count."""
    vids, vectors = vids[:LATEST_POSTS], vectors[:LATEST_POSTS]
    labels = cluster(vectors, background)
    found = [np.nonzero(labels == one)[0] for one in range(int(labels.max(initial=OUTLIER)) + 1)]
    found.sort(key=len, reverse=True)  # stable: of equals the one with the lower number
    outliers = np.nonzero(labels == OUTLIER)[0]
    if len(outliers) > KEPT_OUTLIERS:
        outliers = np.sort(np.random.default_rng(0).choice(outliers, KEPT_OUTLIERS, replace=False))
    return Profile(
        posts=len(vids),
        clusters=tuple(
            Cluster(len(members), tuple(int(vids[at]) for at in medoids(vectors, members, STAND_INS)))
            for members in found
        ),
        outliers=tuple(map(int, vids[outliers])),
        newest=tuple(map(int, vids[:KEPT_NEWEST])),
    )


def unit(vectors: Vectors) -> NDArray[np.float64]:
    """The rows at length one; a row of zeros stays."""
    rows = np.asarray(vectors, np.float64)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=1e-12), np.float64)


def _distances(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euclidean, between unit rows: [N, N]."""
    squares = np.maximum(2 - 2 * rows @ rows.T, 0)
    np.fill_diagonal(squares, 0)
    return np.asarray(np.sqrt(squares), np.float64)
