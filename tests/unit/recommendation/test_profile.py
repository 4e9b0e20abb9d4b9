"""Clusters, medoids and quotas: closed forms, brute force, and every number of posts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from serve_app.recommendation.profile import Scatter, Seed, apportion, cluster, medoid, seeds


def blobs(*sizes: int, seed: int = 0, spread: float = 0.2, dim: int = 16) -> NDArray[np.float64]:
    dice = np.random.default_rng(seed)
    return np.concatenate([dice.normal(size=dim) + dice.normal(size=(size, dim)) * spread for size in sizes])


def test_separate_interests_are_separate_clusters() -> None:
    labels = cluster(blobs(20, 30))
    assert labels.shape == (50,)
    assert set(labels.tolist()) - {-1} == {0, 1}
    first, second = labels[:20], labels[20:]
    assert set(first.tolist()) & set(second.tolist()) <= {-1}


def test_exactly_one_cluster_occurs() -> None:
    counts = Counter(cluster(blobs(25, seed=seed)).max() + 1 for seed in range(10))
    assert counts[1] > 5


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_few_posts_are_no_cluster(count: int) -> None:
    assert cluster(blobs(9)[:count]).tolist() == [-1] * count


def test_length_does_not_matter_only_direction() -> None:
    vectors = blobs(20, 30)
    lengths = np.random.default_rng(1).uniform(0.1, 10, (50, 1))
    assert np.array_equal(cluster(vectors), cluster(vectors * lengths))
    assert np.array_equal(cluster(vectors.astype(np.float32)), cluster(vectors))


@pytest.mark.parametrize("vectors", [np.ones((10, 4)), np.zeros((10, 4)), np.repeat(np.eye(4), 6, axis=0)])
def test_repeated_and_empty_vectors_do_not_fail(vectors: NDArray[np.float64]) -> None:
    found = seeds(vectors, cluster(vectors), 10)
    assert isinstance(found, Scatter) or sum(seed.quota for seed in found) == 10


def test_medoid_by_brute_force() -> None:
    for seed in range(8):
        vectors = np.random.default_rng(seed).normal(size=(40, 12))
        members = np.random.default_rng(seed).choice(40, 15, replace=False)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        sums = {int(one): sum(float(np.linalg.norm(unit[one] - unit[other])) for other in members) for one in members}
        assert medoid(vectors, members) == min(sums, key=sums.__getitem__)


def test_a_medoid_is_a_member_even_where_the_middle_is_empty() -> None:
    angles = np.radians([0, 10, 20, 160, 170, 180, 15])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # Chords 2 sin(angle / 2): 15 degrees sums to 6.28, 10 to 6.38, 20 to 6.39; the mean direction has no post near it.
    assert medoid(vectors, range(7)) == 6
    assert medoid(vectors, [4]) == 4


def test_no_cluster_scatters_over_every_post() -> None:
    assert seeds(blobs(3), np.full(3, -1), 10) == Scatter((0, 1, 2), 10)
    assert seeds(np.empty((0, 8)), np.empty(0, np.int64), 10) == Scatter((), 10)


def test_one_cluster_gives_most_and_an_outlier_the_rest() -> None:
    vectors, labels = blobs(10), np.array([0] * 8 + [-1] * 2)
    found = seeds(vectors, labels, 10, d=0.2, seed=3)
    assert isinstance(found, list)
    assert [seed.quota for seed in found] == [8, 2]
    assert found[0].index == medoid(vectors, range(8))
    assert found[1].index in (8, 9)
    assert {one[1].index for seed in range(20) if isinstance(one := seeds(vectors, labels, 10, seed=seed), list)} == {
        8,
        9,
    }
    assert seeds(vectors, labels, 10, seed=3) == found


def test_of_many_clusters_the_two_largest_count() -> None:
    vectors, labels = blobs(30), np.array([0] * 5 + [1] * 10 + [2] * 9 + [-1] * 6)
    found = seeds(vectors, labels, 10)
    assert isinstance(found, list)
    assert [seed.quota for seed in found] == [4, 4, 2]
    assert [seed.index for seed in found[:2]] == [medoid(vectors, range(5, 15)), medoid(vectors, range(15, 24))]


def test_without_outliers_the_medoids_share_all() -> None:
    vectors = blobs(20)
    assert seeds(vectors, np.zeros(20, np.int64), 7) == [Seed(medoid(vectors, range(20)), 7)]
    two = seeds(vectors, np.array([0] * 10 + [1] * 10), 7)
    assert isinstance(two, list)
    assert [seed.quota for seed in two] == [4, 3]


@pytest.mark.parametrize(
    ("k", "shares", "wanted"),
    [(10, [0.8, 0.2], [8, 2]), (10, [0.4, 0.4, 0.2], [4, 4, 2]), (4, [0.8, 0.2], [3, 1]), (3, [0.8, 0.2], [2, 1]),
     (1, [0.4, 0.4, 0.2], [1, 0, 0]), (0, [0.8, 0.2], [0, 0]), (100, [1 / 3] * 3, [34, 33, 33])],
)  # fmt: skip
def test_quotas_are_whole_and_sum_to_k(k: int, shares: list[float], wanted: list[int]) -> None:
    assert apportion(k, shares) == wanted


@settings(max_examples=200)
@given(st.integers(0, 1000), st.lists(st.floats(0.01, 1), min_size=1, max_size=6))
def test_quotas_are_within_one_of_their_share(k: int, shares: list[float]) -> None:
    quotas = apportion(k, shares)
    assert sum(quotas) == k
    assert all(abs(quota - k * share / sum(shares)) < 1 + 1e-6 for quota, share in zip(quotas, shares, strict=True))


@settings(max_examples=60)
@given(st.integers(0, 30), st.integers(0, 20), st.floats(0, 1), st.integers(0, 10_000))
def test_every_profile_is_answered(posts: int, k: int, d: float, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(posts, 8)).astype(np.float32)
    found = seeds(vectors, cluster(vectors), k, d, seed)
    if isinstance(found, Scatter):
        assert found == Scatter(tuple(range(posts)), k)
    else:
        assert sum(one.quota for one in found) == k
        assert len({one.index for one in found}) == len(found)


@pytest.mark.parametrize(("k", "d"), [(-1, 0.2), (5, 1.2), (5, -0.1)])
def test_impossible_requests_are_refused(k: int, d: float) -> None:
    with pytest.raises(ValueError, match="k is"):
        seeds(blobs(5), np.zeros(5, np.int64), k, d)
