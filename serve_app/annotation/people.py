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
Doubles = NDArray[np.float64]


class Known(Protocol):
    """Faces of the person ``person`` called ``name`` as ``vectors``, unit float32 [k, D].

    A person who was merged from several has several of these: each keeps its own prototype, so that a merge loses
    nobody and its reversal is exact. ``id`` tells them apart.
    """

    @property
    def id(self) -> int: ...
    @property
    def person(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def vectors(self) -> Floats: ...


@dataclass(frozen=True)
class Named:
    """Whose face it is. ``confidence`` in [0, 1]: 1 at the prototype, .5 at the greatest distance that is accepted; of
    an unknown face the detector's. ``distance`` is Euclidean, to the nearest prototype; None without any. ``known_id``
    is of the :class:`Known` that it is nearest to."""

    label: str
    confidence: float
    distance: float | None = None
    known_id: int | None = None


@dataclass(frozen=True)
class Gallery:
    """The people that may be recognised: ``prototypes`` unit [P, D] with their ``ids``, ``names`` and accepted
    distances ``limits`` [P]; ``people`` int [P] numbers whom they show, from 0 on."""

    ids: tuple[int, ...]
    names: tuple[str, ...]
    people: NDArray[np.int64]
    prototypes: Doubles
    limits: Doubles

    @classmethod
    def of(cls, known: Sequence[Known], threshold: Callable[[int], float]) -> Gallery:
        """``threshold`` gives the accepted distance for a mean of k vectors."""
        means = [prototype(each.vectors) for each in known]
        limits = np.array([threshold(len(each.vectors)) for each in known], np.float64)
        numbers = {person: number for number, person in enumerate(dict.fromkeys(each.person for each in known))}
        people = np.array([numbers[each.person] for each in known], np.int64)
        ids, names = tuple(each.id for each in known), tuple(each.name for each in known)
        return cls(ids, names, people, np.array(means, np.float64), limits)

    def name(self, vectors: Floats, confidences: Sequence[float]) -> list[Named]:
        """Names for the faces of one picture, unit float32 [n, D], that a detector found with ``confidences``.

        Of all ways to give each person at most one face within the accepted distance, the one whose distances stay
        furthest within theirs, summed over the faces.
        """
        if not len(vectors) or not self.ids:
            return [Named(UNKNOWN, confidence) for confidence in confidences]
        distances = _distances(vectors, self.prototypes)
        nearest = distances.min(axis=1)
        nearest_known = _assign(np.maximum(0.0, 1.0 - distances / self.limits), self.people)
        return [
            Named(UNKNOWN, confidence, float(nearest[face]))
            if at is None
            else Named(
                self.names[at], _confidence(distances[face, at], self.limits[at]), float(distances[face, at]),
                self.ids[at],
            )
            for face, (at, confidence) in enumerate(zip(nearest_known, confidences, strict=True))
        ]  # fmt: skip


def prototype(vectors: Floats) -> Doubles:
    """The mean of unit vectors [k, D], of length 1 again; where they cancel out, the first of them."""
    mean: Doubles = vectors.astype(np.float64).mean(axis=0)
    if np.linalg.norm(mean) < 1e-6:
        mean = vectors[0].astype(np.float64)
    unit: Doubles = mean / np.linalg.norm(mean)
    return unit


def _distances(vectors: Floats, prototypes: Doubles) -> Doubles:
    """Euclidean distances [n, P]. In double precision: in single, small ones would drown in the rounding."""
    rows = vectors.astype(np.float64)
    squares: Doubles = 1.0 + np.square(rows).sum(axis=1, keepdims=True) - 2.0 * (rows @ prototypes.T)
    distances: Doubles = np.sqrt(squares.clip(min=0.0))
    return distances


def _assign(margins: Doubles, people: NDArray[np.int64]) -> list[int | None]:
    """For each row a column of margin above 0: no two of one person, and the greatest sum of all ways to do so."""
    from scipy.optimize import linear_sum_assignment  # only where names are given

    near = np.flatnonzero(margins.max(axis=0) > 0)  # most of a large gallery is far from every face
    columns = [near[people[near] == person] for person in np.unique(people[near])]
    chosen: list[int | None] = [None] * len(margins)
    if not columns:
        return chosen
    best = np.stack([margins[:, own].max(axis=1) for own in columns], axis=1)
    for row, person in zip(*linear_sum_assignment(best, maximize=True), strict=True):
        if best[row, person] > 0:
            own = columns[person]
            chosen[row] = int(own[margins[row, own].argmax()])
    return chosen


def _confidence(distance: float, limit: float) -> float:
    return float(1.0 - 0.5 * distance / limit)
