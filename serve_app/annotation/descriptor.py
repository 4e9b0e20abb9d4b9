"""What makes a face comparable: any network in ONNX that turns a crop of a face into a vector and that a manifest row
describes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serve_app.annotation.labels import FoundFace

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class KeptFace:
    """A face with enough around it that any descriptor can be computed from this alone.

    ``picture`` is a JPEG; ``box`` (x1, y1, x2, y2) and ``landmarks`` (five (x, y), or none) are in its pixels.
    """

    picture: bytes
    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...] = ()

    @property
    def face(self) -> FoundFace:
        """Where the face is in ``picture``, as a detector would say it."""
        return FoundFace(self.box, 1.0, self.landmarks)


@dataclass(frozen=True)
class Described:
    """The faces of one picture: ``vectors`` float32 [n, D] of length 1, and ``crops``, one for each."""

    vectors: Floats
    crops: list[KeptFace]
