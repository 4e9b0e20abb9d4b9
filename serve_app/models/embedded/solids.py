"""The six solids of the generated world as triangle meshes of unit size.

Every mesh is centred, fits the unit ball's neighbourhood and carries normals and texture coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
SOLIDS = ("cube", "sphere", "cylinder", "cone", "torus", "pyramid")


@dataclass(frozen=True)
class Mesh:
    """``vertices`` float32 [V, 8]: position, normal, texture coordinate; ``triangles`` int32 [T, 3],
    counter-clockwise."""

    vertices: Array
    triangles: NDArray[np.int32]


def _grid(position: Array, normal: Array, u_repeat: float, v_repeat: float) -> Mesh:
    """A mesh over a [rows, columns] sheet of points."""
    rows, columns = position.shape[:2]
    v, u = np.meshgrid(np.linspace(0, v_repeat, rows), np.linspace(0, u_repeat, columns), indexing="ij")
    vertices = np.concatenate([position, normal, u[..., None], v[..., None]], axis=-1).reshape(-1, 8)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    lower = np.stack([corner, corner + columns, corner + 1], axis=1)
    upper = np.stack([corner + 1, corner + columns, corner + columns + 1], axis=1)
    return Mesh(vertices.astype(np.float32), np.concatenate([lower, upper]).astype(np.int32))


def _join(*parts: Mesh) -> Mesh:
    offsets = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
    triangles = [part.triangles + offset for part, offset in zip(parts, offsets, strict=True)]
    return Mesh(np.concatenate([part.vertices for part in parts]), np.concatenate(triangles).astype(np.int32))


def _revolve(radius: Array, height: Array, slope: Array, segments: int = 32, v_repeat: float = 1.0) -> Mesh:
    """The surface of revolution about z of a profile going downwards; ``slope`` [R, 2]: radial and axial normal."""
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    position = np.concatenate(
        [radius[:, None, None] * ring, np.broadcast_to(height[:, None, None], (len(radius), segments + 1, 1))], axis=-1
    )
    normal = np.concatenate(
        [slope[:, :1, None] * ring, np.broadcast_to(slope[:, 1:, None], (len(radius), segments + 1, 1))], axis=-1
    )
    return _grid(position.astype(np.float32), normal.astype(np.float32), 3.0, v_repeat)


def _disc(height: float, radius: float, up: float) -> Mesh:
    inward = np.array([0.0, radius]) if up > 0 else np.array([radius, 0.0])
    return _revolve(inward.astype(np.float32), np.full(2, height, np.float32), np.tile([0.0, up], (2, 1)))


def _sphere() -> Mesh:
    polar = np.linspace(0, np.pi, 17)
    slope = np.stack([np.sin(polar), np.cos(polar)], axis=1)
    return _revolve(np.sin(polar), np.cos(polar), slope, v_repeat=1.5)


def _cylinder() -> Mesh:
    side = _revolve(np.full(2, 0.7), np.array([0.85, -0.85]), np.tile([1.0, 0.0], (2, 1)))
    return _join(side, _disc(0.85, 0.7, 1.0), _disc(-0.85, 0.7, -1.0))


def _cone() -> Mesh:
    height = np.linspace(0.95, -0.85, 7)
    slope = np.tile(np.array([1.8, 0.8]) / np.hypot(1.8, 0.8), (7, 1))
    return _join(_revolve(np.linspace(0.0, 0.8, 7), height, slope), _disc(-0.85, 0.8, -1.0))


def _torus() -> Mesh:
    turn = np.linspace(np.pi / 2, -3 * np.pi / 2, 15)
    slope = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return _revolve(0.7 + 0.3 * slope[:, 0], 0.3 * slope[:, 1], slope, v_repeat=1.0)


def _flat(corners: Array) -> Mesh:
    """One plane face of three or four corners, counter-clockwise from outside."""
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    normal = normal / np.linalg.norm(normal)
    texture = (
        np.array([[0, 0], [1.5, 0], [1.5, 1.5], [0, 1.5]])
        if len(corners) == 4
        else np.array([[0, 0], [1.5, 0], [0.75, 1.5]])
    )
    vertices = np.concatenate([corners, np.tile(normal, (len(corners), 1)), texture], axis=1)
    triangles = [[0, 1, 2], [0, 2, 3]] if len(corners) == 4 else [[0, 1, 2]]
    return Mesh(vertices.astype(np.float32), np.array(triangles, np.int32))


def _cube() -> Mesh:
    half = 0.68
    faces = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            corners = np.zeros((4, 3))
            corners[:, axis] = sign
            around = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
            corners[:, (axis + 1) % 3], corners[:, (axis + 2) % 3] = around[:, 0], around[:, 1]
            faces.append(_flat((corners if sign > 0 else corners[::-1]) * half))
    return _join(*faces)


def _pyramid() -> Mesh:
    base = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], float) * 0.8 - [0, 0, 0.7]
    tip = np.array([0, 0, 0.95])
    sides = [_flat(np.stack([base[i], base[(i + 1) % 4], tip])) for i in range(4)]
    return _join(*sides, _flat(base[::-1]))


MESHES: dict[str, Mesh] = {
    "cube": _cube(),
    "sphere": _sphere(),
    "cylinder": _cylinder(),
    "cone": _cone(),
    "torus": _torus(),
    "pyramid": _pyramid(),
}
