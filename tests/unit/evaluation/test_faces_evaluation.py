"""Thresholds and accuracy of a face descriptor, against scikit-learn's curves and by hand; the command on a folder."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_curve
from sklearn.neighbors import KNeighborsClassifier

from serve_app.evaluation.faces import STEP, Distances, pairs, prototypes

Floats = NDArray[np.float32]


def crowd(people: int, faces: int, spread: float, dim: int = 16, seed: int = 0) -> tuple[Floats, list[str]]:
    """Unit vectors around as many random directions as there are people."""
    random = np.random.default_rng(seed)
    middles = random.normal(size=(people, 1, dim))
    vectors = (middles + spread * random.normal(size=(people, faces, dim))).reshape(-1, dim)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), [f"person {number}" for number in range(people) for _ in range(faces)]


def at_angle(*degrees: float) -> Floats:
    return np.array([(np.cos(np.radians(d)), np.sin(np.radians(d))) for d in degrees], np.float32)


def test_every_pair_is_counted_once() -> None:
    vectors, people = crowd(60, 7, 0.5)
    counted = pairs(vectors, people)
    assert counted.same.sum() == 60 * 7 * 6 / 2
    assert counted.different.sum() == 420 * 419 / 2 - 60 * 21


def test_the_best_threshold_is_that_of_scikit_learns_curve() -> None:
    vectors, people = crowd(12, 6, 0.7)
    upper = np.triu_indices(len(vectors), 1)
    distances = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)[upper]
    same = (np.array(people)[:, None] == np.array(people)[None])[upper]
    passed, accepted, thresholds = roc_curve(same, -distances, drop_intermediate=False)
    balanced = (accepted + 1 - passed) / 2
    counted = pairs(vectors, people)
    assert counted.best().accuracy == pytest.approx(balanced.max(), abs=0.003)
    assert counted.best().threshold == pytest.approx(-thresholds[balanced.argmax()], abs=0.02)
    for rate in (0.1, 0.01):
        at = counted.at_rate(rate)
        assert at is not None
        assert at.accepted == pytest.approx(accepted[passed <= rate].max(), abs=0.01)
        assert (distances[~same] <= at.threshold).mean() <= rate < (distances[~same] <= at.threshold + STEP).mean()


def test_where_nothing_overlaps_the_threshold_is_in_the_middle() -> None:
    # Two people 90 degrees apart (1.414), the faces of one 6 degrees apart (0.105).
    best = pairs(at_angle(0, 6, 93, 96), ["a", "a", "b", "b"]).best()
    assert best.accuracy == 1
    assert best.threshold == pytest.approx((0.105 + 1.377) / 2, abs=0.01)


def test_a_rate_too_small_for_the_pairs_is_not_claimed() -> None:
    counted = pairs(*crowd(4, 5, 0.3))  # 150 pairs of two people
    assert counted.at_rate(0.01) is not None
    assert counted.at_rate(0.001) is None


def test_distances_without_a_gap_below_them_have_no_threshold() -> None:
    """Two people whose faces are the very same pass for one at any distance."""
    counted = Distances()
    counted.add(np.zeros(200, np.float32), np.arange(200) < 100)
    assert counted.at_rate(0.1) is None


@pytest.mark.parametrize("people", [[], ["a"], ["a", "b"], ["a", "a"]])
def test_too_few_faces_are_unusable(people: list[str]) -> None:
    vectors = at_angle(*range(len(people)))
    assert not pairs(vectors, people).usable
    assert prototypes(vectors, people) == []


def test_prototypes_go_as_far_as_two_people_have_more_faces() -> None:
    vectors, people = crowd(3, 6, 0.2)
    assert [(one.k, one.people) for one in prototypes(vectors[:14], people[:14])] == [
        (1, 3),
        (2, 2),
        (3, 2),
        (4, 2),
        (5, 2),
    ]
    assert [one.k for one in prototypes(vectors, people, largest=2)] == [1, 2]


def test_means_of_more_faces_tell_better() -> None:
    vectors, people = crowd(30, 14, 1.6, dim=32)
    figures = prototypes(vectors, people, largest=13)
    assert [one.k for one in figures] == list(range(1, 14))
    assert figures[-1].best.accuracy > figures[0].best.accuracy + 0.05
    assert figures[-1].identified > figures[0].identified + 0.2
    assert figures[-1].best.threshold < figures[0].best.threshold
    assert figures == prototypes(vectors, people, largest=13)
    assert figures != prototypes(vectors, people, largest=13, seed=1)


def test_the_nearest_prototype_is_scikit_learns_nearest_neighbour() -> None:
    """With all faces but one of each person as the prototype; and nobody's face is held against its own prototype."""
    vectors, people = crowd(8, 5, 1.2)
    right = []
    for number in range(100):
        random = np.random.default_rng(number)
        out = [random.choice(np.nonzero(np.array(people) == name)[0]) for name in sorted(set(people))]
        rest = np.setdiff1d(np.arange(len(vectors)), out)
        names = np.array(people)
        means = {name: vectors[rest][names[rest] == name].mean(0) for name in sorted(set(people))}
        units = np.stack([mean / np.linalg.norm(mean) for mean in means.values()])
        nearest = KNeighborsClassifier(1).fit(units, list(means)).predict(vectors[out])
        right.append(np.mean(nearest == names[out]))
    (found,) = [one for one in prototypes(vectors, people, draws=100) if one.k == 4]
    assert found.identified == pytest.approx(np.mean(right), abs=0.05)
