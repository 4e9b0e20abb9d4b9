"""Any classifier in ONNX that a manifest row describes, of pictures or of their CLIP vectors: actions on stills,
disturbing content, what is not safe for work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from PIL import Image

from serve_app.annotation.heads import Floats, Head
from serve_app.errors import Problem
from serve_app.media import images
from serve_app.models.manifest import Classifier, Model
from serve_app.models.sections import read_labels
from serve_app.models.sessions import TYPES, open_session

ENOUGH_SIDES = 4
"""A shorter side of this many times the network's input is as good as the whole picture: it is averaged away anyway."""


class PictureClassifier(Head):
    """A network over pictures or over vectors, as its row says."""

    def __init__(self, spec: Classifier, labels: Sequence[str], session: InferenceSession) -> None:
        """The first input and the first output of ``session`` count. Raises ValueError where they do not fit."""
        super().__init__(spec, labels)
        self._spec, self._session = spec, session
        self._taken, self._given = session.get_inputs()[0], session.get_outputs()[0].name
        shape = self._taken.shape
        self._one_by_one = isinstance(shape[0], int)
        if spec.on == "vector" and not (len(shape) == 2 and isinstance(shape[1], int)):
            raise ValueError(f"the network takes {shape}; a head takes [N, D] and says how long D is")
        sides = spec.input or ()
        pictures = (3, *sides) if spec.layout == "nchw" else (*sides, 3)
        self._shape = pictures if spec.on == "picture" else (shape[1],)
        pairs = zip(shape, (1, *self._shape), strict=False)
        if len(shape) != 1 + len(self._shape) or any(isinstance(has, int) and has != side for has, side in pairs):
            raise ValueError(f"the network takes {shape}, the manifest says {['N', *self._shape]}")

    def prepare(self, data: bytes) -> Floats:
        """Decode one picture, stretch and normalise it; raises ``Problem`` for what cannot be decoded."""
        self._require("picture")
        height, width = self._spec.input or (0, 0)
        info = images.inspect(data)
        longest, shortest = max(info.width, info.height), max(1, min(info.width, info.height))
        enough = ceil(ENOUGH_SIDES * max(height, width) * longest / shortest)
        # Reducing pays from a half on, where JPEG decodes less; below that it would only resample twice.
        picture = images.decode(data, max_side=enough if longest >= 2 * enough else None)
        image = Image.fromarray(picture.pixels).resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(image, np.float32)
        if self._spec.colour == "bgr":
            pixels = pixels[..., ::-1]
        tensor = (pixels - np.asarray(self._spec.mean, np.float32)) / np.asarray(self._spec.std, np.float32)
        return np.ascontiguousarray(tensor.transpose(2, 0, 1) if self._spec.layout == "nchw" else tensor)

    def prepare_vector(self, vector: Floats) -> Floats:
        """A picture's CLIP vector as it is; ``Problem`` where it cannot be one of the encoder that the head is for."""
        self._require("vector")
        if vector.shape != self._shape:
            detail = f"it reads vectors of {self._spec.encoder}, {list(self._shape)}, not {list(vector.shape)}"
            raise Problem("unavailable", detail, f"serve {self._spec.encoder}, or a classifier of the served encoder")
        return vector

    def run(self, batch: Sequence[Floats]) -> Floats:
        """Probabilities [N, labels] of prepared items; a network exported for one item is called once for each."""
        tensors: NDArray[Any] = np.stack(batch).astype(TYPES[self._taken.type], copy=False)
        groups = np.split(tensors, len(tensors)) if self._one_by_one else [tensors]
        outputs = [self._session.run([self._given], {self._taken.name: group})[0] for group in groups]
        values = np.concatenate(outputs).astype(np.float32).reshape(len(tensors), -1)
        with np.errstate(all="ignore"):  # a network that overflowed spoils its own rows only, which ``finish`` refuses
            probabilities = _activate(values, self._spec.activation)
        columns, labels = probabilities.shape[1], len(self.labels)
        if columns == 1 and self._spec.activation == "softmax":
            raise ValueError("the softmax of the network's one column is always 1; its activation is none or sigmoid")
        if columns == 1 and labels == 2:  # a binary network says how likely the second label is
            return np.hstack([1 - probabilities, probabilities])
        if columns != labels:
            raise ValueError(f"the network gives {columns} columns, the manifest names {labels} labels")
        return probabilities

    def warm(self) -> None:
        """Run one blank item; raises ValueError where the network's columns are not the manifest's labels."""
        self.run([np.zeros(self._shape, np.float32)])

    def _require(self, kind: str) -> None:
        if self._spec.on != kind:
            wants = "pictures" if self._spec.on == "picture" else f"vectors of {self._spec.encoder}"
            raise Problem("unavailable", f"this classifier reads {wants}, not a {kind}")


def load_classifier(model: Model, files: Mapping[str, Path], threads: int = 0) -> PictureClassifier:
    """Open the classifier of a manifest row whose ``files`` (logical name -> path) are on this machine."""
    spec = model.classifier
    if spec is None:
        raise ValueError(f"{model.name} has no classifier section")
    labels = read_labels(spec.labels, files, spec.positive)
    return PictureClassifier(spec, labels, open_session(files["weights"], threads))


def _activate(values: Floats, activation: str) -> Floats:
    if activation == "softmax":
        values = np.exp(values - values.max(axis=1, keepdims=True))
        values /= values.sum(axis=1, keepdims=True)
    elif activation == "sigmoid":
        values = np.asarray((1 + np.tanh(values / 2)) / 2, np.float32)
    return values
