"""What the readers of mesh files hand on: surfaces and clouds of points as their files hold them, and where they go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.errors import Problem
from serve_app.media.meshes import Bytes, Material

Doubles = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class MeshLimits:
    """What one mesh may take. What is declared beyond them is refused before it is read."""

    max_triangles: int = 2_000_000
    """Drawn: an instance counts anew."""
    max_points: int = 2_000_000
    """Of a cloud."""
    max_bodies: int = 10_000
    """Surfaces that a scene places, each instance of one counted."""
    max_texture_side: int = 4096
    """Pixels; larger textures are scaled down."""
    max_texture_total: int = 1 << 26
    """Pixels of all textures together; many are scaled down to stay below."""
    max_archive_mb: int = 1024
    """Of an archive's files together, inflated."""
    max_archive_files: int = 1000
    max_load_s: float = 120.0
    """Wall clock."""
    max_memory_mb: int = 4096
    """Address space of the process that reads."""


@dataclass(frozen=True)
class Surface:
    """Triangles in the coordinates of their file; non-finite numbers and indices out of range are still possible."""

    vertices: Doubles
    """float64 [V, 3]."""
    faces: Indices
    """int64 [F, 3]."""
    normals: Doubles | None = None
    """float64 [F, 3, 3] at the corners, of any length."""
    uvs: Doubles | None = None
    """float64 [F, 3, 2] at the corners."""
    colours: Bytes | None = None
    """uint8 [F, 3, 4] at the corners, sRGB and alpha."""
    material: Material = field(default_factory=Material)


@dataclass(frozen=True)
class Cloud:
    """Points without a surface."""

    points: Doubles
    """float64 [N, 3]."""
    colours: Bytes | None = None
    """uint8 [N, 4], sRGB and alpha."""


@dataclass(frozen=True)
class Instance:
    """A part that stands somewhere."""

    part: Surface | Cloud
    matrix: Doubles | None = None
    """float64 [4, 4], from the part's coordinates to the world's; None is the identity."""


@dataclass(frozen=True)
class Model:
    """All that a file shows."""

    instances: tuple[Instance, ...]
    bodies: int = 1
    notes: tuple[str, ...] = ()

    @property
    def points(self) -> int:
        """Of its clouds, which are drawn where there is no surface."""
        parts = [instance.part for instance in self.instances]
        if any(isinstance(part, Surface) and len(part.faces) for part in parts):
            return 0
        return sum(len(part.points) for part in parts if isinstance(part, Cloud))


Companions = Callable[[str], bytes | None]
"""The file that a mesh names by a relative path, out of its own upload; None where it has none."""


def check_count(triangles: int, limits: MeshLimits) -> None:
    """Raises ``too_large`` before so many are parsed."""
    if triangles > limits.max_triangles:
        text = f"{triangles:,} triangles are more than the {limits.max_triangles:,} that are drawn"
        raise Problem("too_large", text, "simplify the mesh")


def check_bodies(count: int, limits: MeshLimits) -> None:
    """Raises ``too_large`` before so many are placed."""
    if count > limits.max_bodies:
        text = f"the scene has more than the {limits.max_bodies:,} bodies that are drawn"
        raise Problem("too_large", text, "join its parts")


def broken(form: str, what: str) -> Problem:
    """The fault of a file of format ``form``."""
    return Problem("undecodable_media", f"the {form.upper()} {what}")


def colour_bytes(values: Any, count: int, whole: float | None = None) -> Bytes | None:
    """uint8 [count, 4] of colours [count, 3 or 4]: bytes as they are, other numbers as shares of ``whole``.

    Where ``whole`` is not given it is 1 for fractions, and 255 where any number exceeds 1, as files have no other way
    to tell. What is not a number is white. None where the shape does not fit. Alpha of 0 everywhere is no alpha.
    """
    array = np.asarray(values)
    if array.ndim != 2 or len(array) != count or array.shape[1] not in (3, 4) or array.dtype.kind not in "fiu":
        return None
    if array.dtype != np.uint8:
        numbers = np.nan_to_num(array.astype(np.float64), nan=np.inf, posinf=np.inf, neginf=0)
        finite = numbers[np.isfinite(numbers)]
        scale = whole or (255.0 if finite.size and finite.max() > 1 else 1.0)
        array = np.rint(np.clip(numbers / scale, 0, 1) * 255).astype(np.uint8)
    out = np.full((count, 4), 255, np.uint8)
    out[:, : array.shape[1]] = array
    if count and not out[:, 3].any():
        out[:, 3] = 255
    return out


def fan(polygons: Indices) -> Indices:
    """int64 [P * (K - 2), 3]: the triangles of polygons [P, K], those of each next to one another."""
    inner = polygons[:, 1:]
    first = np.broadcast_to(polygons[:, :1], (len(polygons), polygons.shape[1] - 2))
    return np.stack([first, inner[:, :-1], inner[:, 1:]], axis=2).reshape(-1, 3)
