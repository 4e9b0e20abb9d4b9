"""A mesh as it is drawn: whatever a file held, as flat arrays of triangles, corners and materials.

The world is right-handed with Y up, as in glTF. Colours are sRGB display values throughout, as they stand in a picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Material:
    """What a surface looks like: ``colour`` (RGBA, 0 to 1) times its texture times the corners' colours."""

    colour: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    texture: Bytes | None = None
    """uint8 [H, W, 4], RGBA, first row at the top (v = 1); it repeats beyond 0 to 1."""
    alpha: Literal["opaque", "mask", "blend"] = "opaque"
    """Whether alpha is taken as 1, cuts holes below ``cutoff``, or lets through."""
    cutoff: float = 0.5
    double_sided: bool = True


@dataclass(frozen=True)
class Mesh:
    """Triangles to draw; all arrays are C-contiguous and finite, all indices in range."""

    vertices: Floats
    """float32 [V, 3]."""
    faces: Ints
    """int32 [F, 3], counter-clockwise seen from the front."""
    normals: Floats | None = None
    """float32 [F, 3, 3], unit normals at the corners; None for flat shading."""
    uvs: Floats | None = None
    """float32 [F, 3, 2] at the corners, v upwards as in OBJ."""
    colours: Bytes | None = None
    """uint8 [F, 3, 4] at the corners, RGBA."""
    face_materials: Ints | None = None
    """int32 [F], index into ``materials``; None: all have the first."""
    materials: tuple[Material, ...] = (Material(),)
