"""One mesh out of the parts of a file: placed, cleaned, turned upright, brought into the unit sphere, with normals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.errors import Problem
from serve_app.media.mesh_normals import crease_normals
from serve_app.media.mesh_parts import (
    Cloud,
    Doubles,
    Indices,
    Instance,
    MeshLimits,
    Model,
    Surface,
    check_bodies,
    check_count,
)
from serve_app.media.mesh_points import splats
from serve_app.media.meshes import Ints, Material, Mesh

MAX_BAD_SHARE = 0.01
"""Of faces with vertices that are no numbers: so few are dropped, more and the file is broken."""
MIN_AREA = 1e-15
"""Of a triangle in the unit sphere; float32 cannot tell smaller ones from lines."""
Z_UP = np.array([(1, 0, 0), (0, 0, 1), (0, -1, 0)], np.float64)
"""Turns a world whose Z is up into one whose Y is up."""


def assemble(model: Model, z_up: bool, limits: MeshLimits) -> tuple[Mesh, tuple[float, float, float]]:
    """The mesh in the unit sphere, and its extents x, y, z in the file's units, Y up.

    Raises ``Problem`` where there is nothing to draw, too much, or too much of it is broken.
    """
    surfaces = [_placed(instance, z_up) for instance in _drawn(model, limits)]
    surface, owners = _sound(*_joined(surfaces))
    vertices, size = _in_unit_sphere(surface.vertices, surface.faces)
    keep = _areas(vertices, surface) > MIN_AREA
    if not keep.any():
        raise Problem("undecodable_media", "all triangles of the file are without area: there is nothing to draw")
    if not keep.all():
        surface, owners = _by_corner(surface, lambda values: values[keep]), owners[keep]
        vertices, size = _in_unit_sphere(surface.vertices, surface.faces)
    used, faces = np.unique(surface.faces, return_inverse=True)
    vertices, faces = vertices[used], faces.reshape(-1, 3)
    materials, face_materials = _unique([surface.material for surface in surfaces], owners)
    mesh = Mesh(
        vertices=np.ascontiguousarray(vertices, np.float32),
        faces=np.ascontiguousarray(faces, np.int32),
        normals=np.ascontiguousarray(_normals(vertices, faces, surface.normals), np.float32),
        uvs=None if surface.uvs is None else np.ascontiguousarray(surface.uvs, np.float32),
        colours=None if surface.colours is None else np.ascontiguousarray(surface.colours),
        face_materials=None if len(materials) == 1 else face_materials,
        materials=materials,
    )
    return mesh, size


def _drawn(model: Model, limits: MeshLimits) -> list[Instance]:
    """The surfaces; where there is none, the points as splats. Counts are checked before anything is copied."""
    surfaces = [item for item in model.instances if isinstance(item.part, Surface) and len(item.part.faces)]
    check_bodies(len(surfaces), limits)
    if surfaces:
        check_count(sum(len(item.part.faces) for item in surfaces if isinstance(item.part, Surface)), limits)
        return surfaces
    clouds = [item for item in model.instances if isinstance(item.part, Cloud) and len(item.part.points)]
    if not clouds:
        raise Problem("undecodable_media", "the file has neither triangles nor points: there is nothing to draw")
    count = sum(len(item.part.points) for item in clouds if isinstance(item.part, Cloud))
    if count > limits.max_points:
        raise Problem("too_large", f"{count:,} points are more than the {limits.max_points:,} that are drawn")
    return [Instance(splats(_cloud(clouds)))]


def _cloud(clouds: Sequence[Instance]) -> Cloud:
    """All points in the world's coordinates."""
    parts = [(item.part, item.matrix) for item in clouds if isinstance(item.part, Cloud)]
    points = np.concatenate([_moved(part.points, matrix) for part, matrix in parts])
    if all(part.colours is None for part, _ in parts):
        return Cloud(points)
    white = [np.full((len(part.points), 4), 255, np.uint8) for part, _ in parts]
    colours = [blank if part.colours is None else part.colours for (part, _), blank in zip(parts, white, strict=True)]
    return Cloud(points, np.concatenate(colours))


def _moved(points: Doubles, matrix: Doubles | None) -> Doubles:
    return points if matrix is None else points @ matrix[:3, :3].T + matrix[:3, 3]


def _placed(instance: Instance, z_up: bool) -> Surface:
    """The surface in the world, Y up. A transform that mirrors turns triangles over; their fronts stay in front."""
    assert isinstance(instance.part, Surface)
    surface = _compact(instance.part)
    matrix = np.eye(4) if instance.matrix is None else instance.matrix
    if z_up:
        turn = np.eye(4)
        turn[:3, :3] = Z_UP
        matrix = turn @ matrix
    if np.array_equal(matrix, np.eye(4)):
        return surface
    with np.errstate(all="ignore"):
        vertices = _moved(surface.vertices, matrix)
        normals = None if surface.normals is None else surface.normals @ _cofactors(matrix[:3, :3]).T
        mirrored = np.linalg.det(matrix[:3, :3]) < 0
    if not mirrored:
        return replace(surface, vertices=vertices, normals=normals)
    turned = replace(surface, vertices=vertices, normals=None if normals is None else -normals)
    return _by_corner(turned, lambda values: values[:, ::-1])


def _compact(surface: Surface) -> Surface:
    """With only vertices that are used, where these are few: thousands of surfaces may share the vertices of all."""
    faces, count = surface.faces, len(surface.vertices)
    if not 0 <= faces.min() <= faces.max() < count:
        raise Problem("undecodable_media", f"a face names a vertex that does not exist; there are {count:,}")
    if count <= faces.size:
        return surface
    used, index = np.unique(faces, return_inverse=True)
    return replace(surface, vertices=surface.vertices[used], faces=index.reshape(-1, 3))


def _cofactors(matrix: Doubles) -> Doubles:
    """What turns normals when ``matrix`` turns points: its inverse transposed, times its determinant."""
    a, b, c = matrix
    return np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)])


def _by_corner(surface: Surface, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Surface:
    """Its faces, and all that it has at their corners, changed alike."""

    def changed(values: Any) -> Any:
        return None if values is None else change(values)

    return replace(
        surface, faces=change(surface.faces), normals=changed(surface.normals), uvs=changed(surface.uvs),
        colours=changed(surface.colours),
    )  # fmt: skip


def _joined(surfaces: Sequence[Surface]) -> tuple[Surface, Indices]:
    """All surfaces as one, and for every face the number of the surface that it is of."""
    counts = [len(surface.faces) for surface in surfaces]
    owners = np.repeat(np.arange(len(surfaces)), counts)
    if len(surfaces) == 1:
        return surfaces[0], owners
    offsets = np.cumsum([0, *(len(surface.vertices) for surface in surfaces[:-1])])
    faces = np.concatenate([surface.faces + offset for surface, offset in zip(surfaces, offsets, strict=True)])

    def corners(name: str, blank: NDArray[Any]) -> Any:
        values = [getattr(surface, name) for surface in surfaces]
        if all(value is None for value in values):
            return None
        blanks = [np.broadcast_to(blank, (count, 3, len(blank))) for count in counts]
        return np.concatenate([b if v is None else v for v, b in zip(values, blanks, strict=True)])

    whole = Surface(
        np.concatenate([surface.vertices for surface in surfaces]), faces,
        corners("normals", np.zeros(3)), corners("uvs", np.zeros(2)), corners("colours", np.full(4, 255, np.uint8)),
    )  # fmt: skip
    return whole, owners


def _sound(surface: Surface, owners: Indices) -> tuple[Surface, Indices]:
    """Without the faces whose vertices are no numbers; what else is no number becomes zero."""
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(surface.vertices).all(axis=1))
    good: NDArray[np.bool_] = np.asarray(finite[surface.faces].all(axis=1))
    bad = len(good) - int(good.sum())
    if bad > MAX_BAD_SHARE * len(good):
        text = f"{bad:,} of {len(good):,} triangles have corners that are not numbers"
        raise Problem("undecodable_media", text)
    if bad:
        surface, owners = _by_corner(surface, lambda values: values[good]), owners[good]
    uvs = None if surface.uvs is None else np.nan_to_num(np.clip(surface.uvs, -1e6, 1e6))
    return replace(surface, uvs=uvs), owners


def _in_unit_sphere(vertices: Doubles, faces: Indices) -> tuple[Doubles, tuple[float, float, float]]:
    """The vertices about the centre of their box, the farthest used one at distance 1; and the box's extents."""
    used = np.zeros(len(vertices), bool)
    used[faces] = True
    low, high = vertices[used].min(axis=0), vertices[used].max(axis=0)
    largest = max(float(np.abs(low).max()), float(np.abs(high).max()))
    if not largest > 0:
        raise Problem("undecodable_media", "all vertices of the file are at one point: there is nothing to draw")
    # Divided first, because squares of numbers near 1e200 are not finite.
    centred = np.where(used[:, None], vertices, 0) / largest - (low / largest + high / largest) / 2
    radius = float(np.linalg.norm(centred[used], axis=1).max())
    if not radius > 1e-12:
        raise Problem("undecodable_media", "all vertices of the file are at one point: there is nothing to draw")
    extents = np.clip(high - low, 0, np.finfo(np.float64).max)
    return centred / radius, (float(extents[0]), float(extents[1]), float(extents[2]))


def _areas(vertices: Doubles, surface: Surface) -> Doubles:
    a, b, c = (vertices[surface.faces[:, corner]] for corner in range(3))
    areas: Doubles = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    return areas


def _normals(vertices: Doubles, faces: Indices, given: Doubles | None) -> Doubles:
    """Unit normals: those given that are directions, and where they are not, those of the creases."""
    if given is None:
        return crease_normals(vertices, faces)
    with np.errstate(all="ignore"):
        directions = given / np.abs(given).max(axis=2, keepdims=True)
        normals: Doubles = directions / np.linalg.norm(directions, axis=2, keepdims=True)
    sane: NDArray[np.bool_] = np.asarray(np.isfinite(normals).all(axis=2))
    if not sane.all():
        normals = np.where(sane[:, :, None], normals, crease_normals(vertices, faces))
    return normals


def _unique(materials: Sequence[Material], owners: Indices) -> tuple[tuple[Material, ...], Ints]:
    """The materials that are used, each once, and for every face the number of its own: int32 [F]."""
    used, index = np.unique(owners, return_inverse=True)
    numbers: dict[tuple[object, ...], int] = {}
    unique: list[Material] = []
    table = np.zeros(len(used), np.int32)
    for at, owner in enumerate(used):
        material = materials[owner]
        key = (material.colour, id(material.texture), material.alpha, material.cutoff, material.double_sided)
        if key not in numbers:
            numbers[key] = len(unique)
            unique.append(material)
        table[at] = numbers[key]
    return tuple(unique), np.ascontiguousarray(table[index], np.int32)
