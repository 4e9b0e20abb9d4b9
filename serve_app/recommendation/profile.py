"""A user's posts as a profile: cluster their vectors and pick the posts that stand for them (D3.2, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hdbscan import HDBSCAN
from numpy.typing import NDArray

from serve_app.recommendation.seeds import Scatter, Seed

Vectors = NDArray[np.floating[Any]]
Labels = NDArray[np.int64]

MIN_CLUSTER_SIZE = 5
"""Posts that make a cluster: the default of hdbscan, which the public reference uses."""
OUTLIER = -1
MEDOID_BLOCK = 1024
"""Rows whose distances to all members are held at once."""


def cluster(vectors: Vectors, min_cluster_size: int = MIN_CLUSTER_SIZE) -> Labels:
    """The cluster of each of [N, D], numbered from 0, or -1 for an outlier; no clusters where there are too few posts.

    HDBSCAN on L2-normalised vectors with Euclidean distance, which orders as cosine does. The leaves of its tree tell
    interests apart that lie close together, but never give exactly one cluster; where they give none, the excess of
    mass may take the whole as one. The method has no randomness, hence no seed.
    """
    if len(vectors) < max(2, min_cluster_size):
        return np.full(len(vectors), OUTLIER, np.int64)
    unit = _unit(vectors)
    for selection in ("leaf", "eom"):
        labels = HDBSCAN(
            min_cluster_size=min_cluster_size,
            alpha=1.0,
            metric="euclidean",
            cluster_selection_method=selection,
            allow_single_cluster=True,
            core_dist_n_jobs=1,
        ).fit_predict(unit)
        if labels.max() != OUTLIER:
            break
    return np.asarray(labels, np.int64)


def medoid(vectors: Vectors, members: Sequence[int] | NDArray[np.int64]) -> int:
    """The member with the least summed Euclidean distance to the other members; the first of equals."""
    rows = _unit(vectors[np.asarray(members, np.int64)])
    sums = np.concatenate([
        np.sqrt((2 - 2 * rows[at : at + MEDOID_BLOCK] @ rows.T).clip(min=0)).sum(axis=1)
        for at in range(0, len(rows), MEDOID_BLOCK)
    ])  # fmt: skip
    return int(members[int((sums <= sums.min() + 1e-6).argmax())])


def seeds(vectors: Vectors, labels: Labels, k: int, d: float = 0.2, seed: int = 0) -> list[Seed] | Scatter:
    """The seeds that share ``k`` results, the medoids first and the outlier last; ``Scatter`` where nothing clusters.

    One cluster: its medoid (1-d)k and one random outlier dk. More: the medoids of the two largest (1-d)k/2 each and the
    outlier dk. Without outliers their part goes to the medoids. Quotas are whole and sum to ``k``.
    """
    if k < 0 or not 0 <= d <= 1:
        raise ValueError("k is at least 0 and d between 0 and 1")
    found, sizes = np.unique(labels[labels != OUTLIER], return_counts=True)
    if not len(found):
        return Scatter(tuple(range(len(labels))), k)
    largest = found[np.argsort(-sizes, kind="stable")[:2]]
    indices = [medoid(vectors, np.nonzero(labels == one)[0]) for one in largest]
    outliers = np.nonzero(labels == OUTLIER)[0]
    kept = 1 - d if len(outliers) else 1.0
    shares = [kept / len(indices)] * len(indices)
    if len(outliers):
        indices.append(int(np.random.default_rng(seed).choice(outliers)))
        shares.append(d)
    quotas = apportion(k, shares)
    return [Seed(index, quota) for index, quota in zip(indices, quotas, strict=True)]


def apportion(k: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers that sum to ``k``, as ``shares`` are: the method of largest remainders, the first of equals."""
    total = sum(shares)
    exact = [k * share / total for share in shares]
    whole = [int(part + 1e-9) for part in exact]
    by_remainder = sorted(range(len(shares)), key=lambda at: (-round(exact[at] - whole[at], 9), at))
    for at in by_remainder[: k - sum(whole)]:
        whole[at] += 1
    return whole


def _unit(vectors: Vectors) -> NDArray[np.float64]:
    rows = np.asarray(vectors, np.float64)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=1e-12), np.float64)
