"""A sentence encoder served from ONNX: a text becomes a unit vector, held against those of other texts alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from tokenizers import Tokenizer

from serve_app.models.manifest import Sentence
from serve_app.retrieval.encoder import MAX_CHARACTERS, Tokens, readable
from serve_app.retrieval.hits import Floats

LENGTHS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Texts are padded up to the next of these and run with their like: a short one never pays for a long one, and the
accelerator sees few shapes."""


class SentenceTower:
    """Encodes texts; the network maps ``tokens`` and ``mask`` [N, L] to unit vectors [N, D]."""

    def __init__(self, spec: Sentence, session: InferenceSession, tokenizer: Path) -> None:
        self._spec = spec
        self._session = session
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(spec.max_tokens)

    def prepare(self, text: str) -> Tokens:
        """Tokenise one text to int64 [L]; a longer one than the encoder reads is cut there and marked.

        Raises ``Problem("bad_request")`` for a text without a visible character.
        """
        encoding = self._tokenizer.encode(readable(text))
        truncated = bool(encoding.overflowing) or len(text) > MAX_CHARACTERS
        return Tokens(np.asarray(encoding.ids, np.int64), truncated)

    def run(self, batch: Sequence[NDArray[np.int64]]) -> Floats:
        """Embed texts of any lengths to float32 [N, D], in their order."""
        lengths = np.array([self._padded(len(ids)) for ids in batch])
        vectors = np.empty((len(batch), self._spec.dim), np.float32)
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length).tolist()
            vectors[rows] = self._run([batch[row] for row in rows], int(length))
        return vectors

    def _run(self, texts: Sequence[NDArray[np.int64]], length: int) -> Floats:
        tokens = np.zeros((len(texts), length), np.int64)
        mask = np.zeros_like(tokens)
        for row, ids in enumerate(texts):
            tokens[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        vectors: Floats = self._session.run(["embedding"], {"tokens": tokens, "mask": mask})[0]
        return vectors

    def _padded(self, tokens: int) -> int:
        return min(next((length for length in LENGTHS if length >= tokens), tokens), self._spec.max_tokens)
