"""How well a face descriptor tells people apart, and at which distances, from faces whose people are known.

Pairs as on LFW (Huang et al. 2007), those of one person and those of two with equal weight; prototypes of k faces as
in MediaVerse D3.2, 2.4.4. Thresholds are chosen on the faces that the figures are of: measure on others to be sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEP = 0.001
"""Distances are counted in steps of this: memory does not grow with the pairs."""
BINS = round(2 / STEP) + 1
ROWS = 256
"""Faces whose distances to all others are held at once."""

Floats = NDArray[np.float32]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Best:
    """The distance that tells best: ``accuracy`` is the mean of the shares of the same and of different people that are
    told right there."""

    threshold: float
    accuracy: float


@dataclass(frozen=True)
class AtRate:
    """The greatest distance at which at most ``rate`` of different people pass for one; ``accepted`` is the share of
    the same people that do."""

    rate: float
    threshold: float
    accepted: float


@dataclass(frozen=True)
class AtCount:
    """Prototypes of ``k`` faces of ``people`` people: ``best`` for accepting a face as one of them, ``identified`` the
    share of their other faces that are nearest to their own prototype."""

    k: int
    people: int
    best: Best
    identified: float


class Distances:
    """Euclidean distances between unit vectors, counted: ``same`` and ``different`` people, int64 [BINS] each."""

    def __init__(self) -> None:
        self.same: Counts = np.zeros(BINS, np.int64)
        self.different: Counts = np.zeros(BINS, np.int64)

    def add(self, distances: Floats, same: NDArray[np.bool_]) -> None:
        steps = np.ceil(distances / STEP).clip(0, BINS - 1).astype(np.int64)
        self.same += np.bincount(steps[same], minlength=BINS)
        self.different += np.bincount(steps[~same], minlength=BINS)

    @property
    def usable(self) -> bool:
        """Whether there is something to tell apart."""
        return bool(self.same.sum() and self.different.sum())

    def best(self) -> Best:
        """The middle of the distances that tell best. Needs both kinds."""
        accepted, passed = self._shares()
        accuracy = (accepted + 1 - passed) / 2
        winners = np.nonzero(accuracy >= accuracy.max() - 1e-12)[0]
        return Best(round(float(winners[len(winners) // 2]) * STEP, 3), float(accuracy.max()))

    def at_rate(self, rate: float) -> AtRate | None:
        """None where there are too few different pairs to know so small a rate."""
        if self.different.sum() < 1 / rate:
            return None
        accepted, passed = self._shares()
        within = int(np.searchsorted(passed, rate, side="right")) - 1
        if within < 0:
            return None
        return AtRate(rate, round(within * STEP, 3), float(accepted[within]))

    def _shares(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of each kind the share that lies within each distance."""
        return np.cumsum(self.same) / self.same.sum(), np.cumsum(self.different) / self.different.sum()


def pairs(vectors: Floats, people: Sequence[str]) -> Distances:
    """Every pair of faces, unit float32 [N, D], whose people are ``people`` [N]."""
    who, counted = _numbers(people), Distances()
    for first in range(0, len(vectors), ROWS):
        rows = np.arange(first, min(first + ROWS, len(vectors)))
        upper = np.arange(len(vectors))[None, :] > rows[:, None]
        distances = _distances(vectors[rows], vectors)
        counted.add(distances[upper], (who[rows][:, None] == who[None, :])[upper])
    return counted


def prototypes(
    vectors: Floats, people: Sequence[str], *, largest: int = 20, draws: int = 10, seed: int = 0
) -> list[AtCount]:
    """Figures for k from 1 to ``largest``, as far as two people have more than k faces.

    Each of ``draws`` times k faces of each such person, drawn at random, make their prototype; all other faces, and all
    of those who have too few, are held against all prototypes.
    """
    who, random = _numbers(people), np.random.default_rng(seed)
    faces = [np.nonzero(who == number)[0] for number in range(who.max() + 1)] if len(who) else []
    found = []
    for k in range(1, largest + 1):
        known = [number for number, own in enumerate(faces) if len(own) > k]
        if len(known) < 2:
            break
        counted, right, asked = Distances(), 0, 0
        for _ in range(draws):
            drawn = [random.choice(faces[number], k, replace=False) for number in known]
            means = np.stack([vectors[own].mean(0) for own in drawn])
            means /= np.linalg.norm(means, axis=1, keepdims=True).clip(1e-12)
            others = np.setdiff1d(np.arange(len(vectors)), np.concatenate(drawn))
            hits, of = _hold_against(vectors[others], who[others], means, np.array(known), counted)
            right, asked = right + hits, asked + of
        found.append(AtCount(k, len(known), counted.best(), right / asked))
    return found


def _hold_against(vectors: Floats, who: Counts, means: Floats, known: Counts, counted: Distances) -> tuple[int, int]:
    """Count the distances of faces to prototypes; how many of the known people's faces are nearest to their own, and
    how many there are."""
    right = asked = 0
    for first in range(0, len(vectors), ROWS):
        distances, theirs = _distances(vectors[first : first + ROWS], means), who[first : first + ROWS]
        counted.add(distances, theirs[:, None] == known[None, :])
        mine = np.isin(theirs, known)
        right += int((known[distances.argmin(axis=1)] == theirs)[mine].sum())
        asked += int(mine.sum())
    return right, asked


def _distances(some: Floats, others: Floats) -> Floats:
    """Euclidean, float32 [N, M], of unit vectors [N, D] and [M, D]."""
    squares: Floats = (2 - 2 * (some @ others.T)).clip(0, 4)
    return np.sqrt(squares)


def _numbers(people: Sequence[str]) -> Counts:
    return np.unique(np.asarray(people), return_inverse=True)[1].reshape(-1).astype(np.int64)
