"""CLIP towers served from ONNX: a picture or a text becomes a unit vector.

Each tower has the three verbs of a model: ``prepare`` (one item to a tensor, any thread), ``run`` (a batch, on the
accelerator) and the answer is a row of the result. Preprocessing follows open_clip's inference transform: resize the
shortest side (or squash), centre crop, scale to 0..1, normalise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from tokenizers import Tokenizer

from serve_app.errors import Problem
from serve_app.media.squares import square
from serve_app.models.manifest import Clip
from serve_app.retrieval.hits import Floats

_UNREADABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Control characters, and halves of surrogate pairs, which JSON can carry and no tokenizer takes."""
MAX_CHARACTERS = 200_000
"""Of a text; what follows is not read."""


@dataclass(frozen=True)
class Tokens:
    """Token ids int64 [context_length], and whether the text was longer than the encoder can read."""

    ids: NDArray[np.int64]
    truncated: bool


class ImageTower:
    """Encodes pictures; the network maps ``pixels`` [N, 3, S, S] to unit vectors [N, D]."""

    def __init__(self, spec: Clip, session: InferenceSession) -> None:
        self._spec = spec
        self._session = session
        self._mean = np.asarray(spec.mean, np.float32).reshape(3, 1, 1)
        self._scale = 1 / (255 * np.asarray(spec.std, np.float32).reshape(3, 1, 1))

    def prepare(self, data: bytes) -> Floats:
        """Decode and normalise one picture to [3, S, S]; raises ``Problem`` for what cannot be decoded."""
        spec = self._spec
        crop = square(data, spec.image_size, spec.resize, spec.interpolation)
        pixels = np.asarray(crop, np.float32).transpose(2, 0, 1)
        return np.ascontiguousarray((pixels - 255 * self._mean) * self._scale)

    def run(self, batch: Sequence[Floats]) -> Floats:
        """Embed a batch of prepared pictures to float32 [N, D]."""
        return _embed(self._session, "pixels", np.stack(batch))


class TextTower:
    """Encodes texts; the network maps ``tokens`` [N, L] to unit vectors [N, D]."""

    def __init__(self, spec: Clip, session: InferenceSession, tokenizer: Path) -> None:
        self._length = spec.context_length
        self._session = session
        self._tokenizer = Tokenizer.from_file(str(tokenizer))

    def prepare(self, text: str) -> Tokens:
        """Tokenise one text to int64 [L]; longer ones are cut at the tower's limit and marked.

        Raises ``Problem("bad_request")`` for a text without a visible character.
        """
        encoding = self._tokenizer.encode(readable(text))
        truncated = bool(encoding.overflowing) or len(text) > MAX_CHARACTERS
        return Tokens(np.asarray(encoding.ids, np.int64), truncated)

    def run(self, batch: Sequence[NDArray[np.int64]]) -> Floats:
        """Embed a batch of token rows to float32 [N, D]."""
        return _embed(self._session, "tokens", np.stack(batch))


def readable(text: str) -> str:
    """The beginning of a text as a tokenizer takes it; ``Problem("bad_request")`` where nothing is to be seen."""
    cleaned = _UNREADABLE.sub(" ", text[:MAX_CHARACTERS]).strip()
    if not cleaned:
        raise Problem("bad_request", "the text is empty")
    return cleaned


def _embed(session: InferenceSession, name: str, batch: NDArray[np.generic]) -> Floats:
    vectors: Floats = session.run(["embedding"], {name: batch})[0].astype(np.float32, copy=False)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = vectors / np.maximum(norms, 1e-12)
    return unit
