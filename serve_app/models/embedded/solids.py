"""The solids and everyday things of the generated world as triangle meshes of unit size.

Every mesh is centred, fits the unit ball's neighbourhood and carries normals and texture coordinates. z points up; a
thing with a front shows it to -y.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
SOLIDS = ("cube", "sphere", "cylinder", "cone", "torus", "pyramid")
EVERYDAY = ("mug", "bottle", "chair", "table", "house", "tree", "star", "heart")
_TEXTURE_SCALE = 1.1  # repeats of the texture to a unit of length on flat faces


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
    width, height = np.linalg.norm(corners[1:3] - corners[0:2], axis=1) * _TEXTURE_SCALE
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    normal = normal / np.linalg.norm(normal)
    texture = (
        np.array([[0, 0], [width, 0], [width, height], [0, height]])
        if len(corners) == 4
        else np.array([[0, 0], [1.5, 0], [0.75, 1.5]])
    )
    vertices = np.concatenate([corners, np.tile(normal, (len(corners), 1)), texture], axis=1)
    triangles = [[0, 1, 2], [0, 2, 3]] if len(corners) == 4 else [[0, 1, 2]]
    return Mesh(vertices.astype(np.float32), np.array(triangles, np.int32))


def _box(low: tuple[float, float, float], high: tuple[float, float, float]) -> Mesh:
    middle, half = (np.array(low) + np.array(high)) / 2, (np.array(high) - np.array(low)) / 2
    faces = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            corners = np.zeros((4, 3))
            corners[:, axis] = sign
            around = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
            corners[:, (axis + 1) % 3], corners[:, (axis + 2) % 3] = around[:, 0], around[:, 1]
            faces.append(_flat(middle + (corners if sign > 0 else corners[::-1]) * half))
    return _join(*faces)


def _cube() -> Mesh:
    return _box((-0.68,) * 3, (0.68,) * 3)


def _pyramid() -> Mesh:
    base = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], float) * 0.8 - [0, 0, 0.7]
    tip = np.array([0, 0, 0.95])
    sides = [_flat(np.stack([base[i], base[(i + 1) % 4], tip])) for i in range(4)]
    return _join(*sides, _flat(base[::-1]))


def _lathe(profile: list[tuple[float, float]], segments: int = 16) -> Mesh:
    """A turned piece with sharp edges; ``profile`` is (radius, height) from the upper end on the axis to the lower."""
    bands = []
    for start, end in itertools.pairwise(np.array(profile)):
        along = (end - start) / np.linalg.norm(end - start)
        slope = np.tile([-along[1], along[0]], (2, 1))
        bands.append(_revolve(np.array([start[0], end[0]]), np.array([start[1], end[1]]), slope, segments))
    return _join(*bands)


def _mug() -> Mesh:
    body = _lathe([(0, -0.5), (0.5, -0.5), (0.5, 0.65), (0.6, 0.65), (0.6, -0.65), (0, -0.65)], 20)
    bend, round_ = np.meshgrid(np.linspace(np.pi / 2, -np.pi / 2, 8), np.linspace(0, 2 * np.pi, 7), indexing="ij")
    normal = np.stack([np.cos(round_) * np.cos(bend), np.sin(round_), np.cos(round_) * np.sin(bend)], axis=-1)
    centre = np.stack([0.56 + 0.32 * np.cos(bend), 0 * bend, 0.4 * np.sin(bend)], axis=-1)
    return _moved(_join(body, _grid(centre + 0.09 * normal, normal, 1.0, 1.0)), (-0.15, 0.0, 0.0))


def _moved(mesh: Mesh, by: tuple[float, float, float]) -> Mesh:
    shift = np.array([*by, 0, 0, 0, 0, 0], np.float32)
    return Mesh(mesh.vertices + shift, mesh.triangles)


def _bottle() -> Mesh:
    neck = [(0, 0.98), (0.17, 0.98), (0.17, 0.88), (0.13, 0.88), (0.13, 0.5)]
    return _lathe([*neck, (0.24, 0.34), (0.34, 0.22), (0.38, 0.05), (0.38, -0.9), (0, -0.9)])


def _legs(reach: float, thick: float, low: float, high: float) -> Mesh:
    """Four square posts at the corners of a square of half side ``reach``."""
    starts = [(x, y) for x in (-reach, reach - thick) for y in (-reach, reach - thick)]
    return _join(*(_box((x, y, low), (x + thick, y + thick, high)) for x, y in starts))


def _chair() -> Mesh:
    seat = _box((-0.45, -0.45, -0.18), (0.45, 0.45, -0.04))
    back = _box((-0.45, 0.31, -0.04), (0.45, 0.45, 0.85))
    return _join(seat, back, _legs(0.45, 0.14, -0.85, -0.18))


def _table() -> Mesh:
    return _join(_box((-0.75, -0.6, 0.25), (0.75, 0.6, 0.4)), _legs(0.56, 0.15, -0.5, 0.25))


def _house() -> Mesh:
    left, right, front, back, eaves, ridge = -0.65, 0.65, -0.5, 0.5, 0.12, 0.8
    corners = np.array([[x, y, eaves] for x in (left, right) for y in (front, back)]) * [1.12, 1.12, 1]
    gable = np.array([[0, 1.12 * front, ridge], [0, 1.12 * back, ridge]])
    chimney = _box((0.28, 0.1, 0.2), (0.46, 0.28, 0.85))
    roof = [
        _flat(np.stack([corners[1], corners[0], gable[0], gable[1]])),
        _flat(np.stack([corners[2], corners[3], gable[1], gable[0]])),
        _flat(np.stack([corners[0], corners[2], gable[0]])),
        _flat(np.stack([corners[3], corners[1], gable[1]])),
        _flat(np.stack([corners[0], corners[1], corners[3], corners[2]])),
    ]
    return _join(_box((left, front, -0.65), (right, back, eaves)), *roof, chimney)


def _tree() -> Mesh:
    crown = [(0, 0.98), (0.42, 0.35), (0.16, 0.35), (0.55, -0.1), (0.22, -0.1), (0.72, -0.55)]
    return _lathe([*crown, (0.17, -0.55), (0.17, -0.97), (0, -0.97)], 14)


def _extruded(outline: Array, depth: float) -> Mesh:
    """A plate standing upright; ``outline`` [N, 2] in x and z runs counter-clockwise seen from -y and can be seen as a
    whole from the origin."""
    count = len(outline)
    turn = np.arange(count)
    caps = []
    for side in (-1.0, 1.0):
        points = np.concatenate([outline, [[0.0, 0.0]]])
        vertices = np.zeros((count + 1, 8))
        vertices[:, [0, 2]], vertices[:, 1], vertices[:, 4] = points, side * depth / 2, side
        vertices[:, 6:] = points * _TEXTURE_SCALE
        fan = np.stack([np.full(count, count), turn, (turn + 1) % count], axis=1)
        caps.append(Mesh(vertices.astype(np.float32), (fan if side < 0 else fan[:, ::-1]).astype(np.int32)))
    front, back = (np.insert(outline, 1, side * depth / 2, axis=1) for side in (-1, 1))
    rim = [_flat(np.stack([front[i - 1], back[i - 1], back[i], front[i]])) for i in range(count)]
    return _join(*caps, *rim)


def _star() -> Mesh:
    angle = np.pi / 2 + np.arange(10) * np.pi / 5
    radius = np.where(np.arange(10) % 2 == 0, 0.97, 0.43)
    return _extruded(np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), 0.4)


def _heart() -> Mesh:
    t = -np.linspace(0, 2 * np.pi, 28, endpoint=False)
    z = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return _extruded(np.stack([16 * np.sin(t) ** 3, z + 2.5], axis=1) / 18, 0.45)


MESHES: dict[str, Mesh] = {
    "cube": _cube(),
    "sphere": _sphere(),
    "cylinder": _cylinder(),
    "cone": _cone(),
    "torus": _torus(),
    "pyramid": _pyramid(),
    "mug": _mug(),
    "bottle": _bottle(),
    "chair": _chair(),
    "table": _table(),
    "house": _house(),
    "tree": _tree(),
    "star": _star(),
    "heart": _heart(),
}
