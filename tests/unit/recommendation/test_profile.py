"""Clusters and medoids: users whose interests are known, brute force, and every number of posts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from serve_app.recommendation.profile import cluster, make_profile, mean_cosine, medoids
from serve_app.recommendation.seeds import Profile

Vectors = NDArray[np.float64]


def unit(rows: Vectors) -> Vectors:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def user(
    *sizes: int, noise: int = 0, spread: float = 0.7, common: float = 0.0, dim: int = 128, seed: int = 0
) -> Vectors:
    """Posts of interests, ``sizes`` of each, and of none; ``common`` is what all contents share, as CLIP's do."""
    dice = np.random.default_rng(seed)
    shared = unit(np.random.default_rng(77).normal(size=dim)) * common
    blocks = [
        unit(unit(dice.normal(size=dim)) + shared + dice.normal(size=(size, dim)) * spread / dim**0.5) for size in sizes
    ]
    return np.concatenate([*blocks, unit(unit(dice.normal(size=(noise, dim))) + shared)])


def unrelated(common: float) -> float:
    """The mean cosine of contents that have only that in common, in closed form: c^2 / (1 + c^2) at many dimensions."""
    return common**2 / (1 + common**2)


@pytest.mark.parametrize(
    ("posts", "clusters"),
    [
        ({"sizes": (), "noise": 1}, 0),
        ({"sizes": (), "noise": 4}, 0),
        ({"sizes": (), "noise": 10}, 0),
        ({"sizes": (), "noise": 30}, 0),
        ({"sizes": (), "noise": 200}, 0),
        ({"sizes": (), "noise": 60, "common": 1.0}, 0),
        ({"sizes": (3,), "noise": 20}, 0),
        ({"sizes": (6,)}, 1),
        ({"sizes": (20,)}, 1),
        ({"sizes": (20,), "noise": 5}, 1),
        ({"sizes": (30,), "noise": 5, "spread": 1.0}, 1),
        ({"sizes": (60,), "noise": 60}, 1),
        ({"sizes": (30,), "noise": 5, "common": 1.0}, 1),
        ({"sizes": (8, 6)}, 2),
        ({"sizes": (20, 15), "noise": 10}, 2),
        ({"sizes": (20, 15), "noise": 10, "spread": 1.2}, 2),
        ({"sizes": (20, 15), "noise": 10, "common": 1.0}, 2),
        ({"sizes": (60, 40, 30, 20, 10), "noise": 30}, 5),
        ({"sizes": (12,) * 8, "noise": 20}, 8),
    ],
)
def test_as_many_clusters_as_interests(posts: dict[str, object], clusters: int) -> None:
    sizes = posts.pop("sizes")
    background = unrelated(float(posts.get("common", 0.0)))  # type: ignore[arg-type]
    counts = Counter(
        int(cluster(user(*sizes, seed=seed, **posts), background).max()) + 1  # type: ignore[arg-type, misc]
        for seed in range(6)
    )
    assert counts[clusters] >= 5, counts


def test_clusters_are_the_interests() -> None:
    labels = cluster(user(30, 20, noise=10))
    first, second, noise = labels[:30], labels[30:50], labels[50:]
    assert len(set(first.tolist())) == len(set(second.tolist())) == 1
    assert {first[0], second[0]} == {0, 1}
    assert Counter(noise.tolist())[-1] >= 8


def test_one_interest_has_all_its_posts() -> None:
    """HDBSCAN alone gives a lone root only a few of its posts."""
    labels = cluster(user(40, noise=10, seed=3))
    assert Counter(labels[:40].tolist())[0] == 40
    assert Counter(labels[40:].tolist())[-1] >= 9


def test_distances_computed_here_give_what_the_library_computes() -> None:
    from hdbscan import HDBSCAN

    for seed in range(4):
        vectors = user(25, 20, 15, noise=15, seed=seed)
        own = HDBSCAN(min_cluster_size=5, metric="euclidean", cluster_selection_method="leaf", core_dist_n_jobs=1)
        assert np.array_equal(cluster(vectors, background=-1.0), own.fit_predict(vectors))


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_few_posts_are_no_cluster(count: int) -> None:
    assert cluster(user(9)[:count]).tolist() == [-1] * count


def test_length_does_not_matter_only_direction() -> None:
    vectors = user(20, 30)
    lengths = np.random.default_rng(1).uniform(0.1, 10, (50, 1))
    assert np.array_equal(cluster(vectors), cluster(vectors * lengths))
    assert np.array_equal(cluster(vectors.astype(np.float32)), cluster(vectors))


@pytest.mark.parametrize("vectors", [np.ones((10, 4)), np.zeros((10, 4)), np.repeat(np.eye(4), 6, axis=0)])
def test_repeated_and_empty_vectors_do_not_fail(vectors: Vectors) -> None:
    profile = make_profile(np.arange(len(vectors)), vectors)
    assert sum(one.size for one in profile.clusters) + len(profile.outliers) == len(vectors)
    if vectors.any():
        assert profile.clusters, "equal posts are an interest"


def test_mean_cosine_by_a_double_loop() -> None:
    rows = user(7, noise=3)
    assert mean_cosine(rows) == pytest.approx(np.mean([rows[i] @ rows[j] for i in range(10) for j in range(i)]))
    assert mean_cosine(rows[:1]) == 1


def test_medoids_by_brute_force() -> None:
    for seed in range(8):
        vectors = np.random.default_rng(seed).normal(size=(40, 12))
        members = np.random.default_rng(seed).choice(40, 15, replace=False)
        rows = unit(vectors)
        sums = {int(one): sum(float(np.linalg.norm(rows[one] - rows[other])) for other in members) for one in members}
        assert medoids(vectors, members, 3) == sorted(sums, key=sums.__getitem__)[:3]


def test_a_medoid_is_a_member_even_where_the_middle_is_empty() -> None:
    angles = np.radians([0, 10, 20, 160, 170, 180, 15])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # Chords 2 sin(angle / 2): 15 degrees sums to 6.28, 10 to 6.38, 20 to 6.39; the mean direction has no post near it.
    assert medoids(vectors, range(7)) == [6]
    assert medoids(vectors, [4]) == [4]
    assert medoids(np.ones((3, 4)), range(3)) == [0], "the first of equals"


def test_a_profile_counts_from_the_largest_and_keeps_the_newest() -> None:
    vectors = user(10, 30, 20, noise=10)
    vids = np.arange(70) + 500
    profile = make_profile(vids, vectors)
    assert [one.size for one in profile.clusters] == sorted((one.size for one in profile.clusters), reverse=True)
    assert profile.posts == 70
    assert profile.newest == tuple(range(500, 564))
    largest = profile.clusters[0]
    assert set(largest.medoids) <= set(range(510, 540))
    assert len(largest.medoids) == 4
    assert largest.medoids[0] == 500 + medoids(vectors, range(10, 40))[0]
    assert set(profile.outliers) <= set(range(560, 570))
    assert Profile.of(profile.document()) == profile


def test_only_the_latest_thousand_posts_count() -> None:
    vectors = np.concatenate([user(noise=1000, seed=1, dim=16), user(50, seed=2, dim=16)])
    profile = make_profile(np.arange(1050), vectors)
    assert profile.posts == 1000
    assert all(vid < 1000 for vid in profile.vids())
    assert len(profile.outliers) == 200


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 30), st.integers(0, 10_000))
def test_every_post_is_in_one_place(posts: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(posts, 8)).astype(np.float32)
    profile = make_profile(np.arange(posts), vectors)
    assert sum(one.size for one in profile.clusters) + len(profile.outliers) == posts == profile.posts
    assert len(set(profile.vids())) == len(profile.vids())
