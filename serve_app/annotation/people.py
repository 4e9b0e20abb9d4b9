"""Whose face it is: the nearest prototype within its distance, and nobody twice in one picture.

A person's prototype is the mean of their unit vectors, of length 1 again (MediaVerse D3.2, 2.4.4); the distance up to
which a face is accepted depends on how many vectors it is the mean of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

UNKNOWN = "unknown"

Floats = NDArray[np.float32]


class Person(Protocol):
    """Somebody with ``vectors``, unit float32 [k, D] of k of their faces."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def vectors(self) -> Floats: ...


@dataclass(frozen=True)
class Named:
    """Whose face it is. ``confidence`` in [0, 1]: 1 at the prototype, .5 at the greatest distance that is accepted; of
    an unknown face the detector's. ``distance`` is Euclidean, to the nearest prototype; None without any."""

    label: str
    confidence: float
    distance: float | None = None
    person_id: int | None = None


@dataclass(frozen=True)
class Gallery:
    """The people that may be recognised: ``prototypes`` unit float32 [P, D], ``limits`` [P] accepted distances."""

    ids: tuple[int, ...]
    names: tuple[str, ...]
    prototypes: Floats
    limits: NDArray[np.float64]

    @classmethod
    def of(cls, people: Sequence[Person], threshold: Callable[[int], float]) -> Gallery:
        """``threshold`` gives the accepted distance for a mean of k vectors."""
        means = [prototype(person.vectors) for person in people]
        limits = np.array([threshold(len(person.vectors)) for person in people], np.float64)
        ids, names = tuple(person.id for person in people), tuple(person.name for person in people)
        return cls(ids, names, np.stack(means) if means else np.empty((0, 0), np.float32), limits)

    def name(self, vectors: Floats, confidences: Sequence[float]) -> list[Named]:
        """Names for the faces of one picture, unit float32 [n, D], that a detector found with ``confidences``.

        Of all ways to give each person at most one face within the accepted distance, the one whose distances stay
        furthest within theirs, summed over the faces.
        """
        if not len(vectors) or not self.ids:
            return [Named(UNKNOWN, confidence) for confidence in confidences]
        distances = _distances(vectors, self.prototypes)
        nearest = distances.min(axis=1)
        people = _assign(np.maximum(0.0, 1.0 - distances / self.limits))
        return [
            Named(UNKNOWN, confidence, float(nearest[face]))
            if person is None
            else Named(
                self.names[person], _confidence(distances[face, person], self.limits[person]),
                float(distances[face, person]), self.ids[person],
            )
            for face, (person, confidence) in enumerate(zip(people, confidences, strict=True))
        ]  # fmt: skip


def prototype(vectors: Floats) -> Floats:
    """The mean of unit vectors [k, D], of length 1 again; where they cancel out, the first of them."""
    mean = vectors.astype(np.float64).mean(axis=0)
    length = float(np.linalg.norm(mean))
    unit: Floats = vectors[0] if length < 1e-6 else (mean / length).astype(np.float32)
    return unit


def _distances(vectors: Floats, prototypes: Floats) -> NDArray[np.float64]:
    """Euclidean distances [n, P]; by differences, since by cosines small ones drown in rounding."""
    return np.stack([np.linalg.norm(prototypes - vector, axis=1) for vector in vectors]).astype(np.float64)


def _assign(margins: NDArray[np.float64]) -> list[int | None]:
    """For each row its column: no column twice, the greatest sum, nothing of margin 0."""
    from scipy.optimize import linear_sum_assignment  # only where names are given

    chosen: list[int | None] = [None] * len(margins)
    near = np.flatnonzero(margins.max(axis=0) > 0)  # most of a large gallery is far from every face
    for row, column in zip(*linear_sum_assignment(margins[:, near], maximize=True), strict=True):
        if margins[row, near[column]] > 0:
            chosen[row] = int(near[column])
    return chosen


def _confidence(distance: float, limit: float) -> float:
    return float(1.0 - 0.5 * distance / limit)
