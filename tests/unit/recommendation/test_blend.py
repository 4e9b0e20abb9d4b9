"""One list out of many: how many, which, in which order, and how the drawing is distributed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.recommendation.blend import Scored, blend, blend_distinct, nearest, scatter

Found = list[Scored[str]]
candidates = st.lists(
    st.dictionaries(st.sampled_from([f"asset-{n}" for n in range(12)]), st.floats(-1, 1), max_size=12).map(
        lambda found: list(found.items())
    ),
    min_size=1,
    max_size=4,
)


def deep(found: list[Found], k: int) -> list[Found]:
    """What searches of depth k give: every seed's k best."""
    return [sorted(one, key=lambda pair: -pair[1])[:k] for one in found]


@settings(max_examples=300, deadline=None)
@given(candidates, st.data())
def test_exactly_min_k_available_and_never_a_repeat(found: list[Found], data: st.DataObject) -> None:
    quotas = data.draw(st.lists(st.integers(0, 8), min_size=len(found), max_size=len(found)))
    k, available = sum(quotas), {one for some in found for one, _ in some}
    for answer in (blend(deep(found, k), quotas), scatter(deep(found, k), k, seed=data.draw(st.integers(0, 99)))):
        ids, scores = [one for one, _ in answer], [score for _, score in answer]
        assert len(ids) == min(k, len(available))
        assert len(set(ids)) == len(ids)
        assert set(ids) <= available
        assert scores == sorted(scores, reverse=True)


@settings(max_examples=100, deadline=None)
@given(candidates, st.integers(0, 8), st.randoms())
def test_the_order_of_arrival_does_not_matter(found: list[Found], quota: int, dice: object) -> None:
    quotas = [quota] * len(found)
    mixed = [dice.sample(one, len(one)) for one in found]  # type: ignore[attr-defined]
    assert blend(mixed, quotas) == blend(found, quotas)
    assert scatter(mixed, quota, 7) == scatter(found, quota, 7)


def test_each_seed_gives_its_quota() -> None:
    cats = [(f"cat-{n}", 0.9 - n / 100) for n in range(10)]
    ships = [(f"ship-{n}", 0.5 - n / 100) for n in range(10)]
    answer = [one for one, _ in blend([cats, ships], [4, 1])]
    assert answer == ["cat-0", "cat-1", "cat-2", "cat-3", "ship-0"]


def test_what_a_seed_lacks_comes_from_the_others() -> None:
    few, many = [("only", 0.2)], [(f"more-{n}", 0.9 - n / 100) for n in range(10)]
    assert [one for one, _ in blend([few, many], [3, 2])] == ["more-0", "more-1", "more-2", "more-3", "only"]
    assert len(blend([[], []], [3, 2])) == 0
    assert blend([], []) == []


def test_a_result_wanted_by_both_counts_once_with_its_best_score() -> None:
    first, second = [("both", 0.5), ("a", 0.4), ("b", 0.3)], [("both", 0.8), ("c", 0.2), ("d", 0.1)]
    assert blend([first, second], [2, 2]) == [("both", 0.8), ("a", 0.4), ("c", 0.2), ("d", 0.1)]


def test_lists_and_quotas_must_match() -> None:
    with pytest.raises(ValueError, match="quotas"):
        blend([[("a", 1.0)]], [1, 2])


def test_drawing_follows_the_softmax_without_repetition() -> None:
    scores = {"a": 0.9, "b": 0.1, "c": -0.5, "d": 0.4}
    weights = {one: math.exp(score) for one, score in scores.items()}
    exact: Counter[frozenset[str]] = Counter()
    for first, second in permutations(scores, 2):
        rest = sum(weights.values()) - weights[first]
        exact[frozenset((first, second))] += weights[first] / sum(weights.values()) * weights[second] / rest  # type: ignore[assignment]
    runs = 6000
    drawn = Counter(frozenset(one for one, _ in scatter([list(scores.items())], 2, seed)) for seed in range(runs))
    assert set(drawn) == set(exact)
    for pair, probability in exact.items():
        spread = math.sqrt(probability * (1 - probability) / runs)
        assert abs(drawn[pair] / runs - probability) < 4.5 * spread


def test_a_seed_repeats_its_draw_and_another_differs() -> None:
    found = [[(f"asset-{n}", float(score)) for n, score in enumerate(np.linspace(0, 1, 50))]]
    assert scatter(found, 10, 1) == scatter(found, 10, 1)
    assert len({tuple(scatter(found, 10, seed)) for seed in range(20)}) > 15


@pytest.mark.parametrize("k", [0, 1, 10**9])
def test_any_k_is_answered(k: int) -> None:
    found = [[("a", 0.1), ("b", 0.2)], [("c", 0.3)]]
    assert len(scatter(found, k)) == len(blend(found, [k, 0])) == min(k, 3)


@settings(max_examples=300, deadline=None)
@given(candidates, st.data())
def test_of_repeats_one_is_left_but_never_fewer_results(found: list[Found], data: st.DataObject) -> None:
    quotas = data.draw(st.lists(st.integers(0, 5), min_size=len(found), max_size=len(found)))
    k, available = sum(quotas), {one for some in found for one, _ in some}
    families = {f"asset-{n}": n % 4 for n in range(12)}  # those of a family are as good as the same

    def repeats(ids: Sequence[str]) -> set[str]:
        return {one for at, one in enumerate(ids) if families[one] in {families[other] for other in ids[:at]}}

    answer = [one for one, _ in blend_distinct(found, quotas, repeats)]
    assert len(answer) == len(set(answer)) == min(k, len(available))
    assert set(answer) <= available
    there = {families[one] for one in available}
    if k <= len(there) and k <= 2:
        assert not repeats(answer)


def test_the_best_of_repeats_stays_and_others_take_their_places() -> None:
    found = [[("a", 0.9), ("a-again", 0.8), ("b", 0.7)], [("a-twin", 0.85), ("c", 0.2)]]
    answer = blend_distinct(found, [2, 1], lambda ids: {one for one in ids if one.startswith("a-")})
    assert answer == [("a", 0.9), ("b", 0.7), ("c", 0.2)]
    assert len(blend_distinct(found, [4, 1], lambda ids: {one for one in ids if one.startswith("a-")})) == 5


def test_each_result_is_of_the_nearest_seed() -> None:
    assert nearest([[("a", 0.9), ("b", 0.1)], [("a", 0.5), ("b", 0.6), ("c", 0.2)]]) == {"a": 0, "b": 1, "c": 1}
