"""What a renderer is: a mesh and cameras in, pictures with depth and mask out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serve_app.media.meshes import Mesh

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with a square picture; ``field_deg`` is the angle between opposite sides."""

    eye: Vector
    target: Vector = (0.0, 0.0, 0.0)
    up: Vector = (0.0, 1.0, 0.0)
    field_deg: float = 60.0


@dataclass(frozen=True)
class Style:
    """How views are drawn."""

    size: int = 1024
    """Pixels of a side."""
    background: tuple[int, int, int] = (255, 255, 255)
    cull_back_faces: bool = False
    """Leave out what is seen from behind, such as the near walls of a room looked at from outside."""


@dataclass(frozen=True)
class Views:
    """N pictures of S by S pixels, one a camera."""

    colour: NDArray[np.uint8]
    """uint8 [N, S, S, 3], over the background."""
    alpha: NDArray[np.uint8]
    """uint8 [N, S, S], how much of the mesh covers a pixel; 0 where it shows the background."""
    depth: NDArray[np.float32]
    """float32 [N, S, S], distance of the nearest surface along the optical axis; infinite where there is none."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """bool [N, S, S], where the mesh is."""
        return np.isfinite(self.depth)


class Renderer(Protocol):
    """Anything that draws meshes; ``name`` says what."""

    name: str

    def render(self, mesh: Mesh, cameras: Sequence[Camera], style: Style) -> Views: ...
