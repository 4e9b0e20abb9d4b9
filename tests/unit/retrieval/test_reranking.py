"""Maximal marginal relevance against the paper's formula, written out, and against what can be drawn on paper."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.retrieval.diversity import rerank, rescaled


def circle(*degrees: float) -> Any:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def by_the_formula(vectors: Any, scores: Any, k: int, diversity: float) -> list[int]:
    """Each step looks at every pair, as the paper writes it; the first is the most relevant."""
    chosen: list[int] = []
    while len(chosen) < min(k, len(scores)):
        values = {
            row: (1 - diversity) * scores[row] - diversity * max(float(vectors[row] @ vectors[one]) for one in chosen)
            if chosen
            else scores[row]
            for row in range(len(scores))
            if row not in chosen
        }
        chosen.append(max(values, key=lambda row: (values[row], -row)))
    return chosen


def test_a_twin_of_the_best_comes_after_another_thing() -> None:
    vectors, scores = circle(0, 1, 90), [0.9, 0.89, 0.5]
    assert rerank(vectors, scores, 3, 0.0).tolist() == [0, 1, 2]
    # At a half: the twin is worth (.89 - .99985) / 2, the other (.5 - 0) / 2.
    assert rerank(vectors, scores, 3, 0.5).tolist() == [0, 2, 1]
    assert rerank(vectors, scores, 2, 0.5).tolist() == [0, 2]


def test_where_the_order_turns() -> None:
    # The twin (cosine 1) comes second while (1 - d) 0.9 - d > (1 - d) 0.5, so d < 0.4 / 1.4.
    vectors, scores = circle(0, 0, 90), [0.9, 0.9, 0.5]
    assert rerank(vectors, scores, 2, 0.28).tolist() == [0, 1]
    assert rerank(vectors, scores, 2, 0.29).tolist() == [0, 2]


def test_one_looks_at_the_scores_for_the_first_row_alone() -> None:
    vectors = circle(0, 10, 100, 180)
    assert rerank(vectors, [0.1, 0.9, 0.2, 0.3], 3, 1.0).tolist() == [1, 3, 2]


@given(st.integers(0, 12), st.integers(0, 15), st.sampled_from([0.05, 0.3, 0.5, 0.8, 1.0]), st.integers(0, 2**32 - 1))
def test_it_is_the_formula(count: int, k: int, diversity: float, seed: int) -> None:
    dice = np.random.default_rng(seed)
    vectors = dice.normal(size=(count, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = dice.uniform(-1, 1, size=count)
    assert rerank(vectors, scores, k, diversity).tolist() == by_the_formula(vectors, scores, k, diversity)


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3]), max_size=20), st.integers(-1, 25), st.floats(0, 1))
def test_each_row_once_and_no_more_than_there_are(scores: list[float], k: int, diversity: float) -> None:
    vectors = circle(*range(len(scores))) if scores else np.empty((0, 2), np.float32)
    order = rerank(vectors, scores, k, diversity).tolist()
    assert len(order) == len(set(order)) == max(0, min(k, len(scores)))
    if order:
        assert scores[order[0]] == max(scores)


@given(st.lists(st.floats(-1, 1), max_size=20))
def test_without_diversity_it_is_the_order_of_scores(scores: list[float]) -> None:
    vectors = np.zeros((len(scores), 2), np.float32)
    expected = sorted(range(len(scores)), key=lambda row: (-scores[row], row))
    assert rerank(vectors, scores, len(scores), 0).tolist() == expected


@pytest.mark.parametrize("diversity", [-0.1, 1.1, float("nan")])
def test_a_diversity_that_is_none(diversity: float) -> None:
    with pytest.raises(ValueError, match="diversity"):
        rerank(circle(0), [1.0], 1, diversity)


def test_scores_are_moved_to_the_whole_interval() -> None:
    assert rescaled([0.3, 0.2, 0.25]).tolist() == pytest.approx([1, 0, 0.5])
    assert rescaled([0.2, 0.2]).tolist() == [1, 1]
    assert rescaled([]).tolist() == []
