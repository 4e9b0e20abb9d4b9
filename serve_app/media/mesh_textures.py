"""The pictures on a mesh, decoded within bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from serve_app.errors import Problem
from serve_app.media.images import decode_with_alpha
from serve_app.media.mesh_parts import MeshLimits

MAX_NOTES = 20
"""Of one mesh; more say nothing new."""


class Textures:
    """Decodes the textures of one mesh, each once. Those that lack or are broken are noted and left out.

    ``count`` is how many there may be: it decides how large each may stay.
    """

    def __init__(self, count: int, limits: MeshLimits, notes: Sequence[str] = ()) -> None:
        self.notes = list(notes)
        share = math.isqrt(limits.max_texture_total // max(count, 1))
        self._side = max(1, min(limits.max_texture_side, share))
        self._decoded: dict[str, NDArray[np.uint8] | None] = {}

    def decode(self, name: str, read: Callable[[], bytes | None]) -> NDArray[np.uint8] | None:
        """uint8 [H, W, 4] of the picture ``name``; ``read`` gives its bytes, None where the upload lacks it."""
        if name not in self._decoded:
            self._decoded[name] = self._pixels(name, read())
        return self._decoded[name]

    def note(self, text: str) -> None:
        """Remembers what was left out, once."""
        if text not in self.notes and len(self.notes) < MAX_NOTES:
            self.notes.append(text)

    def _pixels(self, name: str, data: bytes | None) -> NDArray[np.uint8] | None:
        shown = name[-100:]
        if data is None:
            self.note(f"texture {shown} is missing: drawn without")
            return None
        try:
            return decode_with_alpha(data, self._side)
        except Problem as problem:
            self.note(f"texture {shown} cannot be read ({problem.detail}): drawn without")
            return None
