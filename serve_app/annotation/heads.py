"""What reads labels off a whole picture, or off the vector that an encoder made of it: a network or mere words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serve_app.annotation.labels import Label
from serve_app.errors import Problem
from serve_app.models.manifest import Classifier, Prompts

Floats = NDArray[np.float32]


class Head(ABC):
    """Prepare one picture or vector, run a batch, finish one answer: labels, or of concerns a score."""

    def __init__(self, spec: Classifier | Prompts, labels: Sequence[str]) -> None:
        self.labels = list(labels)
        self._threshold, self._top = spec.threshold, spec.top
        self._positive = np.isin(self.labels, spec.positive or [])

    @abstractmethod
    def prepare(self, data: bytes) -> Floats:
        """One picture as ``run`` takes it; raises ``Problem`` where it cannot be decoded or only vectors are read."""

    @abstractmethod
    def prepare_vector(self, vector: Floats) -> Floats:
        """A picture's vector [D] as ``run`` takes it; raises ``Problem`` where it cannot be one of its encoder's."""

    @abstractmethod
    def run(self, batch: Sequence[Floats]) -> Floats:
        """Probabilities float32 [N, labels] of prepared items; a row may be not finite where a network overflowed."""

    def finish(self, row: Floats) -> list[Label]:
        """The labels of at least the threshold, best first, at most as many as the row of the manifest says."""
        _require_finite(row)
        best = np.argsort(-row, kind="stable")[: self._top]
        return [Label(self.labels[i], min(1.0, float(row[i]))) for i in best if row[i] >= self._threshold]

    def score(self, row: Floats) -> float:
        """How sure it is that the item is of concern, in [0, 1]: the sum of the positive labels' probabilities."""
        _require_finite(row)
        return min(1.0, max(0.0, float(row[self._positive].sum())))


def _require_finite(row: Floats) -> None:
    if not np.isfinite(row).all():
        raise Problem("internal", "the answer of the network is not a number")
