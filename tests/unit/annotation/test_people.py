"""Whose face it is: nearest prototype within its distance, nobody twice in a picture, unknown as an answer."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.annotation.people import UNKNOWN, Floats, Gallery, prototype
from serve_app.catalog import Known

LIMITS = {1: 0.6, 3: 0.4}


def limit(k: int) -> float:
    return LIMITS[max(has for has in LIMITS if has <= k)]


def at(*degrees: float) -> Floats:
    """Unit vectors in a plane: the distance of two is twice the sine of half the angle between them."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def gallery(**people: Floats) -> Gallery:
    return Gallery.of([Known(id, id, name, rows) for id, (name, rows) in enumerate(people.items(), 1)], limit)


def labels(known: Gallery, *degrees: float) -> list[str]:
    return [each.label for each in known.name(at(*degrees), [0.9] * len(degrees))]


def test_a_prototype_is_the_mean_at_length_one() -> None:
    np.testing.assert_allclose(prototype(at(0, 60)), at(30)[0], atol=1e-6)
    np.testing.assert_allclose(prototype(at(10, 10, 40)), at(19.896)[0], atol=1e-4)
    np.testing.assert_array_equal(prototype(at(0, 180)), at(0)[0])


def test_a_face_is_named_within_the_distance_of_its_k_only() -> None:
    one, three = gallery(anna=at(0)), gallery(anna=at(0, 0, 0))
    # 2 sin(34/2 degrees) = .585, 2 sin(36/2) = .618, 2 sin(22/2) = .382, 2 sin(24/2) = .416
    assert labels(one, 34) == ["anna"]
    assert labels(one, 36) == [UNKNOWN]
    assert labels(three, 22) == ["anna"]
    assert labels(three, 24) == [UNKNOWN]


def test_an_answer_says_how_sure_it_is() -> None:
    known = gallery(anna=at(0), ben=at(90))
    exact, near, far = (known.name(at(degrees), [0.75])[0] for degrees in (0, 30, 200))
    assert (exact.label, exact.known_id, exact.confidence) == ("anna", 1, pytest.approx(1, abs=1e-3))
    assert near.distance == pytest.approx(2 * np.sin(np.radians(15)), abs=1e-6)
    assert near.confidence == pytest.approx(1 - 0.5 * near.distance / 0.6)
    assert (far.label, far.known_id, far.confidence) == (UNKNOWN, None, 0.75)
    assert far.distance == pytest.approx(2 * np.sin(np.radians(55)), abs=1e-6)


def test_two_faces_of_a_picture_are_never_the_same_person() -> None:
    known = gallery(anna=at(0), ben=at(50))
    assert labels(known, 5, 1, 3) == [UNKNOWN, "anna", UNKNOWN]
    assert labels(known, 22, 5) == ["ben", "anna"]  # the first is nearer to Anna, and near enough to Ben
    assert labels(known, 30, 20, 100) == ["ben", "anna", UNKNOWN]


def test_one_who_was_merged_is_known_by_each_prototype_and_still_only_once_in_a_picture() -> None:
    known = [Known(1, 1, "anna", at(0)), Known(2, 2, "ben", at(80)), Known(3, 1, "anna", at(160, 160))]
    merged = Gallery.of(known, limit)
    assert labels(merged, 2) == labels(merged, 158) == ["anna"]
    assert [each.known_id for each in merged.name(at(158, 85, 40), [0.9] * 3)] == [3, 2, None]
    assert labels(merged, 10, 161, 79) == [UNKNOWN, "anna", "ben"]


def test_without_people_or_faces_everybody_is_unknown() -> None:
    nobody = gallery()
    assert labels(nobody, 1, 2) == [UNKNOWN, UNKNOWN]
    assert nobody.name(at(1), [0.5])[0].distance is None
    assert gallery(anna=at(0)).name(np.empty((0, 2), np.float32), []) == []


@given(st.lists(st.integers(0, 90), max_size=4), st.lists(st.integers(0, 90), min_size=1, max_size=4))
def test_of_all_assignments_the_one_with_the_greatest_margins(faces: list[int], people: list[int]) -> None:
    known = gallery(**{f"p{number}": at(degrees) for number, degrees in enumerate(people)})
    named = known.name(at(*faces) if faces else np.empty((0, 2), np.float32), [0.9] * len(faces))
    given_names = [each.label for each in named if each.label != UNKNOWN]
    assert len(set(given_names)) == len(given_names)
    assert all(each.distance is not None and each.distance <= 0.6 for each in named if each.label != UNKNOWN)

    def margin(face: float, person: float) -> float:
        return max(0.0, 1 - 2 * np.sin(np.radians(abs(face - person)) / 2) / 0.6)

    spare = [*people, *[999.0] * len(faces)]
    best = max(
        sum(margin(face, person) for face, person in zip(faces, chosen, strict=True) if person != 999)
        for chosen in permutations(spare, len(faces))
    )
    got = sum(1 - each.distance / 0.6 for each in named if each.label != UNKNOWN and each.distance is not None)
    assert got == pytest.approx(best, abs=1e-3)
