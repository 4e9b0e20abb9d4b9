"""Which posts are searched from, and how many results each may give: D3.2, section 4, by hand, and fairness."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.recommendation.seeds import MOST_SEEDS, Cluster, Mode, Profile, Scatter, Seed, apportion, plan, spread

MODES: tuple[Mode, ...] = ("report", "all-clusters")


def profile(*sizes: int, outliers: int = 2) -> Profile:
    """Cluster i has the medoids 10 i and 10 i + 1; outliers are numbered from 1000."""
    clusters = tuple(Cluster(size, (10 * at, 10 * at + 1)) for at, size in enumerate(sizes))
    return Profile(sum(sizes) + outliers, clusters, tuple(range(1000, 1000 + outliers)))


def seeds(found: list[Seed] | Scatter) -> list[Seed]:
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize(
    ("sizes", "outliers", "k", "d", "medoids", "outlier"),
    [
        # One cluster: (1-d)k and dk. Two or more: (1-d)k/2 each of the two largest, and dk.
        ((8,), 2, 10, 0.2, [(0, 8)], 2),
        ((8,), 0, 10, 0.2, [(0, 10)], 0),
        ((9, 8), 2, 10, 0.2, [(0, 4), (10, 4)], 2),
        ((9, 8, 7), 2, 10, 0.2, [(0, 4), (10, 4)], 2),
        ((9, 8, 7), 0, 10, 0.2, [(0, 5), (10, 5)], 0),
        ((9, 8, 7), 2, 100, 0.5, [(0, 25), (10, 25)], 50),
        ((9, 8), 2, 10, 0.0, [(0, 5), (10, 5)], 0),
        ((9, 8), 2, 10, 1.0, [], 10),
        ((9, 8), 2, 1, 0.2, [(0, 1)], 0),
        ((9, 8), 2, 4, 0.2, [(0, 2), (10, 1)], 1),  # of 1.6, 1.6 and 0.8: no part is lost below k = 5
        ((9, 8), 0, 7, 0.2, [(0, 4), (10, 3)], 0),
    ],
)
def test_the_shares_of_the_report(
    sizes: tuple[int, ...], outliers: int, k: int, d: float, medoids: list[tuple[int, int]], outlier: int
) -> None:
    found = seeds(plan(profile(*sizes, outliers=outliers), k, d))
    assert [(seed.vid, seed.quota) for seed in found if seed.role == "medoid"] == medoids
    assert sum(seed.quota for seed in found if seed.role == "outlier") == outlier
    assert [seed.cluster for seed in found if seed.role == "medoid"] == list(range(len(medoids)))


def test_the_outlier_is_drawn_and_the_draw_repeats() -> None:
    drawn = {seed: seeds(plan(profile(8, outliers=3), 10, seed=seed))[-1].vid for seed in range(30)}
    assert set(drawn.values()) == {1000, 1001, 1002}
    assert all(seeds(plan(profile(8, outliers=3), 10, seed=seed))[-1].vid == vid for seed, vid in drawn.items())


@pytest.mark.parametrize("mode", MODES)
def test_without_clusters_every_post_is_a_seed_and_picks_too(mode: Mode) -> None:
    found = plan(profile(outliers=3), 7, mode=mode, picks=(5, 1001))
    assert isinstance(found, Scatter)
    assert [(seed.vid, seed.role) for seed in found.seeds] == [
        (1000, "post"), (1001, "post"), (1002, "post"), (5, "interest"),
    ]  # fmt: skip
    assert found.k == 7
    assert plan(Profile(0), 7, mode=mode) == Scatter((), 7)
    picked = plan(Profile(0), 7, mode=mode, picks=(5,))
    assert picked == Scatter((Seed(5, 7, "interest"),), 7)


def test_of_many_posts_without_clusters_each_may_be_drawn() -> None:
    many = profile(outliers=200)
    drawn = [plan(many, 10, seed=seed) for seed in range(40)]
    assert all(isinstance(one, Scatter) and len(one.seeds) == MOST_SEEDS for one in drawn)
    assert len({seed.vid for one in drawn if isinstance(one, Scatter) for seed in one.seeds}) == 200


@pytest.mark.parametrize("mode", MODES)
def test_where_posts_cluster_picks_are_no_seeds(mode: Mode) -> None:
    assert all(seed.role != "interest" for seed in seeds(plan(profile(8, 7), 10, mode=mode, picks=(5,))))


@pytest.mark.parametrize(
    ("k", "sizes", "wanted"),
    [
        (10, (5, 5), [5, 5]),
        (10, (60, 20, 20), [6, 2, 2]),
        (10, (96, 1, 1, 1, 1), [6, 1, 1, 1, 1]),
        (5, (50, 30, 10, 5, 5), [1, 1, 1, 1, 1]),
        (7, (50, 30, 10, 5, 5), [2, 2, 1, 1, 1]),
        (3, (50, 30, 10, 5, 5), [1, 1, 1, 0, 0]),
        (1, (50, 30, 10, 5, 5), [1, 0, 0, 0, 0]),
        (0, (50, 30), [0, 0]),
    ],
)
def test_a_place_for_every_interest_and_the_rest_by_size(k: int, sizes: tuple[int, ...], wanted: list[int]) -> None:
    assert spread(k, sizes) == wanted


@pytest.mark.parametrize(("k", "sizes"), [(1, (50, 30, 10, 5, 5)), (3, (50, 30, 10, 5, 5)), (4, (900, 5, 5, 5, 5, 5))])
def test_no_interest_starves_over_turns(k: int, sizes: tuple[int, ...]) -> None:
    turns = 200
    counts = Counter(at for turn in range(turns) for at, quota in enumerate(spread(k, sizes, turn)) if quota)
    for at, size in enumerate(sizes):
        # Chances in proportion to size, none above one; what is above goes to the others.
        sure = sum(1 for one in sizes if one * k >= sum(sizes))
        chance = (
            1.0 if size * k >= sum(sizes) else (k - sure) * size / sum(one for one in sizes if one * k < sum(sizes))
        )
        if (k, sizes[0]) != (3, 50):  # there a second one passes one after the first is taken out
            assert counts[at] / turns == pytest.approx(min(1.0, chance), abs=0.02)
        assert counts[at] >= 0.03 * turns


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 300), st.lists(st.integers(5, 500), min_size=1, max_size=120), st.integers(0, 2**63 - 1))
def test_places_always_add_up(k: int, sizes: list[int], turn: int) -> None:
    sizes.sort(reverse=True)
    quotas = spread(k, sizes, turn)
    served = sum(1 for quota in quotas if quota)
    assert sum(quotas) == k
    assert served == min(k, len(sizes), MOST_SEEDS)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(5, 300), max_size=12), st.integers(0, 9), st.integers(1, 60), st.floats(0, 1),
    st.integers(0, 2**63 - 1), st.sampled_from(MODES),
)  # fmt: skip
def test_every_plan_adds_up(sizes: list[int], outliers: int, k: int, d: float, seed: int, mode: Mode) -> None:
    found = plan(profile(*sorted(sizes, reverse=True), outliers=outliers), k, d, seed, mode)
    if isinstance(found, Scatter):
        assert not sizes
        assert len(found.seeds) == outliers
        return
    assert sum(one.quota for one in found) == k
    assert all(one.quota for one in found)
    assert len({one.vid for one in found}) == len(found)


def test_a_deleted_medoid_is_never_a_seed() -> None:
    alive = profile(9, 8).living({1, 10, 11, 1001})
    assert [seed.vid for seed in seeds(plan(alive, 10))] == [1, 10, 1001]
    assert [seed.vid for seed in seeds(plan(profile(9, 8).living({10, 11}), 10))] == [10]


@pytest.mark.parametrize(("k", "d"), [(0, 0.2), (-1, 0.2), (5, 1.2), (5, -0.1), (5, float("nan"))])
def test_impossible_requests_are_refused(k: int, d: float) -> None:
    with pytest.raises(ValueError, match="k is"):
        plan(profile(9), k, d)


@pytest.mark.parametrize(
    ("k", "shares", "wanted"),
    [(10, [0.8, 0.2], [8, 2]), (10, [0.4, 0.4, 0.2], [4, 4, 2]), (4, [0.8, 0.2], [3, 1]), (3, [0.8, 0.2], [2, 1]),
     (1, [0.4, 0.4, 0.2], [1, 0, 0]), (0, [0.8, 0.2], [0, 0]), (100, [1 / 3] * 3, [34, 33, 33])],
)  # fmt: skip
def test_quotas_are_whole_and_sum_to_k(k: int, shares: list[float], wanted: list[int]) -> None:
    assert apportion(k, shares) == wanted


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1000), st.lists(st.floats(0.01, 1), min_size=1, max_size=6))
def test_quotas_are_within_one_of_their_share(k: int, shares: list[float]) -> None:
    quotas = apportion(k, shares)
    assert sum(quotas) == k
    assert all(abs(quota - k * share / sum(shares)) < 1 + 1e-6 for quota, share in zip(quotas, shares, strict=True))
