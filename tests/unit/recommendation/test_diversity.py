"""ILD against closed forms and a plain double loop."""

from __future__ import annotations

import math

import numpy as np
import pytest

from serve_app.recommendation.diversity import intra_list_distance


def test_closed_forms() -> None:
    assert intra_list_distance(np.array([[0, 0], [3, 4]])) == pytest.approx(5)
    square = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    assert intra_list_distance(square) == pytest.approx((4 + 2 * math.sqrt(2)) / 6)
    assert intra_list_distance(np.eye(7)) == pytest.approx(math.sqrt(2))
    assert intra_list_distance(np.full((4, 3), 1e6)) == 0


@pytest.mark.parametrize("shape", [(0, 8), (1, 8)])
def test_fewer_than_two_have_none(shape: tuple[int, int]) -> None:
    assert intra_list_distance(np.ones(shape)) == 0


def test_against_a_double_loop() -> None:
    rows = np.random.default_rng(0).normal(size=(23, 512)).astype(np.float32)
    pairs = [math.dist(rows[i], rows[j]) for i in range(23) for j in range(i)]
    assert intra_list_distance(rows) == pytest.approx(sum(pairs) / len(pairs), rel=1e-6)
