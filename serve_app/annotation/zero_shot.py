"""Labels by words alone: a picture is what its vector lies nearest to, out of sentences that an encoder read.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021, section 3.1: the
vectors of a label's sentences are averaged, and a softmax over the scaled cosines says how likely each label is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from serve_app.annotation.heads import Floats, Head
from serve_app.errors import Problem
from serve_app.models.manifest import Model, Prompts
from serve_app.models.sections import read_labels


def texts(spec: Prompts, labels: Sequence[str]) -> list[str]:
    """Every template filled with every label, [labels * templates], label by label."""
    return [template.replace("{}", label) for label in labels for template in spec.templates]


class ZeroShot(Head):
    """Tells labels apart on an encoder's vectors; ``classes`` are unit vectors float32 [labels, D]."""

    def __init__(self, spec: Prompts, labels: Sequence[str], classes: Floats) -> None:
        """Raises ValueError where there is not one vector a label."""
        super().__init__(spec, labels)
        if classes.ndim != 2 or len(classes) != len(self.labels) or not np.isfinite(classes).all():
            raise ValueError(f"{len(self.labels)} labels need as many finite vectors, not {list(classes.shape)}")
        self._encoder, self._temperature, self._classes = spec.encoder, spec.temperature, classes

    @classmethod
    def of(cls, spec: Prompts, labels: Sequence[str], text_vectors: NDArray[np.floating]) -> Self:
        """From the unit vectors [labels * templates, D] of :func:`texts`, averaged a label and made unit again."""
        if len(text_vectors) != len(labels) * len(spec.templates):
            raise ValueError(f"{len(labels) * len(spec.templates)} texts have {len(text_vectors)} vectors")
        means = np.asarray(text_vectors, np.float32).reshape(len(labels), len(spec.templates), -1).mean(axis=1)
        norms = np.linalg.norm(means, axis=1, keepdims=True)
        return cls(spec, labels, (means / np.maximum(norms, 1e-12)).astype(np.float32))

    def prepare(self, data: bytes) -> Floats:
        raise Problem("unavailable", f"it reads vectors of {self._encoder}, not a picture")

    def prepare_vector(self, vector: Floats) -> Floats:
        wanted = list(self._classes.shape[1:])
        if list(vector.shape) != wanted:
            detail = f"it reads vectors of {self._encoder}, {wanted}, not {list(vector.shape)}"
            raise Problem("unavailable", detail, f"serve {self._encoder}, or prompts of the served encoder")
        return vector

    def run(self, batch: Sequence[Floats]) -> Floats:
        logits = np.stack(batch).astype(np.float32, copy=False) @ self._classes.T / np.float32(self._temperature)
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        probabilities: Floats = logits / logits.sum(axis=1, keepdims=True)
        return probabilities


def prompts_of(model: Model, files: Mapping[str, Path]) -> tuple[Prompts, list[str]]:
    """The prompts of a manifest row whose ``files`` (logical name -> path) are on this machine, and their labels."""
    if model.prompts is None:
        raise ValueError(f"{model.name} has no prompts section")
    return model.prompts, read_labels(model.prompts.labels, files, model.prompts.positive)
