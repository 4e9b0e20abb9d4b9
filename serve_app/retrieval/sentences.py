"""A sentence encoder served from ONNX: a text becomes a unit vector, held against those of other texts alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from tokenizers import Tokenizer

from serve_app.models.manifest import Sentence
from serve_app.retrieval.encoder import MAX_CHARACTERS, readable
from serve_app.retrieval.hits import Floats

LENGTHS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Windows are padded up to the next of these and run with their like: a short one never pays for a long one, and the
accelerator sees few shapes."""
MOST = 32
"""Windows of one run: a batch of long texts must not take memory for all of them at once."""


@dataclass(frozen=True)
class Windows:
    """Token ids int64 [L] of each part of a text, and whether it goes on after them."""

    ids: list[NDArray[np.int64]]
    truncated: bool


class SentenceTower:
    """Encodes texts; the network maps ``tokens`` and ``mask`` [N, L] to unit vectors [N, D].

    The vector of a long text is the mean of those of its parts, weighed by their lengths: what stands late in it can be
    found too.
    """

    def __init__(self, spec: Sentence, session: InferenceSession, tokenizer: Path) -> None:
        self._spec = spec
        self._session = session
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(spec.max_tokens)

    def prepare(self, text: str) -> Windows:
        """Tokenise one text; what goes beyond the last window is left out and said to be.

        Raises ``Problem("bad_request")`` for a text without a visible character.
        """
        encoding = self._tokenizer.encode(readable(text))
        windows = [encoding, *encoding.overflowing]
        ids = [np.asarray(window.ids, np.int64) for window in windows[: self._spec.windows]]
        return Windows(ids, len(windows) > len(ids) or len(text) > MAX_CHARACTERS)

    def run(self, batch: Sequence[list[NDArray[np.int64]]]) -> Floats:
        """Embed texts of any lengths to unit vectors float32 [N, D], in their order."""
        windows = [ids for text in batch for ids in text]
        starts = np.cumsum([0, *(len(text) for text in batch[:-1])])
        weights = np.array([[len(ids)] for ids in windows], np.float32)
        sums: Floats = np.add.reduceat(self._each(windows) * weights, starts, axis=0)
        unit: Floats = sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-12)
        return unit

    def _each(self, windows: Sequence[NDArray[np.int64]]) -> Floats:
        lengths = np.array([self._padded(len(ids)) for ids in windows])
        vectors = np.empty((len(windows), self._spec.dim), np.float32)
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length).tolist()
            for some in (rows[start : start + MOST] for start in range(0, len(rows), MOST)):
                vectors[some] = self._run([windows[row] for row in some], int(length))
        return vectors

    def _run(self, windows: Sequence[NDArray[np.int64]], length: int) -> Floats:
        tokens = np.zeros((len(windows), length), np.int64)
        mask = np.zeros_like(tokens)
        for row, ids in enumerate(windows):
            tokens[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        vectors: Floats = self._session.run(["embedding"], {"tokens": tokens, "mask": mask})[0]
        return vectors

    def _padded(self, tokens: int) -> int:
        return min(next((length for length in LENGTHS if length >= tokens), tokens), self._spec.max_tokens)
