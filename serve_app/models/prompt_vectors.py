"""The vectors of prompts, kept beside the weights: an encoder reads each list of sentences once, not at every start."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serve_app.models.fetch import settle

Floats = NDArray[np.float32]


class PromptVectors:
    """The unit vectors of ``texts`` by the encoder ``encoder`` (name@revision), in ``folder``.

    The file's name has a hash of both, so that other sentences or another encoder find nothing.
    """

    def __init__(self, folder: Path, encoder: str, texts: Sequence[str]) -> None:
        key = hashlib.sha256(json.dumps([encoder, list(texts)]).encode()).hexdigest()
        self.path, self._count = folder / f"prompts-{key[:32]}.npy", len(texts)

    def read(self) -> Floats | None:
        """float32 [texts, D], or None where they are not kept or are damaged."""
        try:
            vectors = np.load(self.path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        right = vectors.dtype == np.float32 and vectors.ndim == 2 and len(vectors) == self._count
        return vectors if right and np.isfinite(vectors).all() else None

    def keep(self, vectors: Floats) -> None:
        """Write them whole or not at all; raises OSError where the folder cannot be written."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".prompts-")
        try:
            with os.fdopen(handle, "wb") as stream:
                np.save(stream, vectors.astype(np.float32), allow_pickle=False)
            settle(Path(name), self.path)
        finally:
            Path(name).unlink(missing_ok=True)
