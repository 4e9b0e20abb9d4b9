"""Reciprocal rank fusion: the paper's sum, done by hand, and what must hold for any rankings."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.retrieval.fusion import fuse

rankings = st.lists(st.lists(st.integers(0, 12), unique=True, max_size=10), max_size=4)


def test_the_sum_of_the_paper() -> None:
    # By hand: a has 1/61 + 1/63, b 1/62 + 1/61, c 1/62, d 1/63.
    assert fuse([["a", "b", "d"], ["b", "c", "a"]]) == [
        ("b", pytest.approx(1 / 62 + 1 / 61)),
        ("a", pytest.approx(1 / 61 + 1 / 63)),
        ("c", pytest.approx(1 / 62)),
        ("d", pytest.approx(1 / 63)),
    ]


def test_equals_stand_in_the_order_of_the_rankings() -> None:
    assert [item for item, _ in fuse([["a", "b"], ["c", "d"]])] == ["a", "c", "b", "d"]
    assert [item for item, _ in fuse([["c", "d"], ["a", "b"]])] == ["c", "a", "d", "b"]


def test_an_item_counts_once_a_ranking() -> None:
    assert fuse([["a", "a", "b"]]) == fuse([["a", "b"]])


def test_nothing_gives_nothing() -> None:
    assert fuse([]) == fuse([[], []]) == []


@given(rankings)
def test_it_is_the_sum_for_any_rankings(some: list[list[int]]) -> None:
    """In exact fractions, and every item of any ranking is there once."""
    answer = fuse(some)
    exact = {
        item: sum((Fraction(1, 61 + one.index(item)) for one in some if item in one), Fraction())
        for item in {item for one in some for item in one}
    }
    assert {item: pytest.approx(float(score)) for item, score in exact.items()} == dict(answer)
    assert len(answer) == len(exact)
    assert [score for _, score in answer] == sorted((score for _, score in answer), reverse=True)


@given(st.lists(st.integers(), unique=True), st.integers(1, 5))
def test_rankings_that_agree_keep_their_order(one: list[int], times: int) -> None:
    assert [item for item, _ in fuse([one] * times)] == one
