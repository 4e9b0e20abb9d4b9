"""Solids as people model them: trimesh's primitives in many proportions, tessellations, poses and materials."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.media.mesh_normals import crease_normals
from serve_app.media.meshes import Floats, Material, Mesh
from serve_app.models.embedded.backgrounds import SURFACES, jitter, random_colour, surface
from serve_app.models.embedded.solids import MESHES, SOLIDS

_SMOOTH = 0.75  # share of the meshes that have normals; the others show their facets
Doubles = NDArray[np.float64]


def primitive(rng: np.random.Generator, shape: str) -> tuple[Doubles, NDArray[np.int32]]:
    """Vertices [V, 3] and triangles [F, 3] of a ``shape`` out of SOLIDS, before it is turned and scaled; Z up.

    A box is called a cube as long as its longest side is at most twice its shortest; spheres are never stretched.
    """
    from trimesh import creation

    def between(low: float, high: float) -> float:
        """Even in the logarithm: as often half as twice."""
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    if shape == "cube":
        sides = np.exp(rng.uniform(0, np.log(2), 3)) if rng.random() < 0.7 else np.ones(3)
        mesh = creation.box(sides)
    elif shape == "sphere":
        rings = rng.integers(12, 33, 2)
        mesh = creation.icosphere(int(rng.integers(2, 5))) if rng.random() < 0.5 else creation.uv_sphere(1.0, rings)
    elif shape == "cylinder":
        mesh = creation.cylinder(1.0, between(0.8, 5.0), sections=int(rng.integers(16, 49)))
    elif shape == "cone":
        mesh = creation.cone(1.0, between(1.2, 4.5), sections=int(rng.integers(16, 49)))
    elif shape == "torus":
        mesh = creation.torus(1.0, between(0.2, 0.55), int(rng.integers(20, 49)), int(rng.integers(10, 33)))
    else:  # a pyramid is a cone with four sides
        mesh = creation.cone(1.0, between(0.8, 3.0), sections=4)
    return np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int32)


def everyday(name: str) -> tuple[Doubles, NDArray[np.int32]]:
    """An everyday shape of the generated world: something that is not to be called a solid."""
    mesh = MESHES[name]
    return mesh.vertices[:, :3].astype(np.float64), mesh.triangles


def _upright(rng: np.random.Generator) -> Doubles:
    """A turn [3, 3] about the vertical that sets what stands on Z upon Y."""
    angle = rng.uniform(0, 2 * np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, sin, 0], [0, 0, 1], [sin, -cos, 0]])


def _rotation(rng: np.random.Generator) -> Doubles:
    """A uniformly random turn [3, 3], from a unit quaternion."""
    a, b, c, d = (quaternion := rng.standard_normal(4)) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (c * c + d * d), 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), 1 - 2 * (b * b + d * d), 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), 1 - 2 * (b * b + c * c)],
        ]
    )


def _with_area(vertices: Doubles, faces: NDArray[np.int32]) -> NDArray[np.int32]:
    """The triangles that have an area."""
    first, second = (vertices[faces[:, corner]] - vertices[faces[:, 0]] for corner in (1, 2))
    there: NDArray[np.bool_] = np.linalg.norm(np.cross(first, second), axis=1) > 1e-9
    return np.asarray(faces[there])


def _unwrapped(vertices: Doubles, faces: NDArray[np.int32], repeats: float) -> Floats:
    """Texture coordinates [F, 3, 2] by the box around the solid: each face along the two axes that it faces least."""
    corners = vertices[faces]
    facing = np.abs(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])).argmax(axis=1)
    along = np.array([[2, 1], [0, 2], [0, 1]])[facing]
    return (repeats * np.take_along_axis(corners, along[:, None, :], axis=2)).astype(np.float32)


def _painted(rng: np.random.Generator, faces: int, surfaces: tuple[str, ...]) -> dict[str, Any]:
    """A material, and for some meshes colours by face: plain, speckled, patterned in one colour or two."""
    red, green, blue = jitter(rng, random_colour(rng)) / 255
    kind = rng.random()
    if kind < 0.5:
        return {"materials": (Material((red, green, blue, 1.0)),)}
    if kind < 0.6:  # as programs that colour every face
        base, spread = jitter(rng, random_colour(rng)), rng.uniform(5, 60)
        shades = np.concatenate([base + rng.normal(0, spread, (faces, 1)).repeat(3, 1), np.full((faces, 1), 255)], 1)
        return {"colours": shades.clip(0, 255).astype(np.uint8)[:, None].repeat(3, axis=1)}
    pattern = surface(rng, str(rng.choice(surfaces))).astype(np.float64)
    if rng.random() < 0.3:
        pattern = pattern + (255 - pattern) * jitter(rng, random_colour(rng)) / 255
    texture = np.concatenate([pattern, np.full((64, 64, 1), 255)], axis=2).astype(np.uint8)
    return {"materials": (Material((red, green, blue, 1.0), texture=texture),)}


def solid(rng: np.random.Generator, shape: str, surfaces: tuple[str, ...] = SURFACES) -> Mesh:
    """A mesh of a shape out of SOLIDS or EVERYDAY, normalised: one in three upright, the others turned at random."""
    vertices, faces = primitive(rng, shape) if shape in SOLIDS else everyday(shape)
    vertices = vertices @ (_upright(rng) if rng.random() < 1 / 3 else _rotation(rng)).T
    faces = _with_area(vertices, faces)
    vertices = vertices - (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    vertices = vertices / np.linalg.norm(vertices, axis=1).max()
    smooth = crease_normals(vertices, faces.astype(np.int64)) if rng.random() < _SMOOTH else None
    paint = _painted(rng, len(faces), surfaces)
    textured = "materials" in paint and paint["materials"][0].texture is not None
    return Mesh(
        np.ascontiguousarray(vertices, np.float32),
        np.ascontiguousarray(faces, np.int32),
        normals=None if smooth is None else np.ascontiguousarray(smooth, np.float32),
        uvs=_unwrapped(vertices, faces, rng.uniform(0.5, 1.5)) if textured else None,
        **paint,
    )
