"""ILD against closed forms and a plain double loop."""

from __future__ import annotations

import math

import numpy as np
import pytest

from serve_app.recommendation.diversity import distinct, diverse, farthest_first, intra_list_distance


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


def test_distinct_by_a_double_loop() -> None:
    dice = np.random.default_rng(1)
    rows = np.repeat(dice.normal(size=(60, 16)), 3, axis=0) + dice.normal(size=(180, 16)) * 0.05
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    kept: list[int] = []
    for at, row in enumerate(rows):
        if all(row @ rows[other] < 0.99 for other in kept):
            kept.append(at)
    assert 60 <= len(kept) < 180
    assert np.nonzero(distinct(rows, 0.99))[0].tolist() == kept


def test_distinct_over_many_blocks() -> None:
    rows = np.eye(4)[np.arange(5000) % 4]
    assert np.nonzero(distinct(rows))[0].tolist() == [0, 1, 2, 3]
    assert distinct(np.empty((0, 4))).tolist() == []


def test_farthest_first_by_hand() -> None:
    line = np.array([[0.0], [1.0], [5.0], [10.0], [9.0]])
    assert farthest_first(line).tolist() == [0, 3, 2, 1, 4]
    assert farthest_first(line, first=2).tolist() == [2, 0, 3, 1, 4]
    assert farthest_first(np.ones((3, 2))).tolist() == [0, 1, 2]
    assert farthest_first(np.empty((0, 2))).tolist() == []


def test_a_diverse_set_has_one_of_every_interest() -> None:
    dice = np.random.default_rng(2)
    centres = dice.normal(size=(12, 64))
    labels = np.repeat(np.arange(12), [200, 150, 100, 90, 80, 70, 60, 50, 40, 30, 20, 10])
    rows = centres[labels] + dice.normal(size=(len(labels), 64)) * 0.7
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    chosen = diverse(rows, 30)
    assert len(chosen) == len(set(chosen.tolist())) <= 30
    assert set(labels[chosen].tolist()) == set(range(12))
    assert len(set(labels[chosen[:12]].tolist())) >= 10, "its start already differs"
    by_chance = np.mean([len(set(labels[dice.permutation(len(labels))[:12]].tolist())) for _ in range(20)])
    assert len(set(labels[chosen[:12]].tolist())) > by_chance + 1
    assert diverse(rows, 30).tolist() == chosen.tolist(), "seeded"


@pytest.mark.parametrize(("rows", "wanted"), [(0, 0), (1, 1), (5, 5)])
def test_a_small_catalog_is_shown_whole(rows: int, wanted: int) -> None:
    assert sorted(diverse(np.eye(8)[:rows], 10).tolist()) == list(range(wanted))


def test_equal_contents_are_shown_once() -> None:
    assert len(diverse(np.repeat(np.eye(8)[:3], 20, axis=0), 10)) == 3
    assert len(diverse(np.repeat(np.eye(8)[:3], 3, axis=0), 10)) == 3
