"""How much of a mesh is seen from where.

Points are spread over the mesh, half of them by area and half by triangle, since what is finely modelled is what a mesh
is about. A point is seen where a ray from an eye meets it first, on the front of its triangle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serve_app.media.cameras import direction, ring
from serve_app.media.meshes import Floats, Ints, Mesh
from serve_app.media.rays import Rays
from serve_app.media.rendering import Vector
from serve_app.media.rooms import Spot

Flags = NDArray[np.bool_]

POINTS = 3000
"""Points that are spread over a mesh."""
NEAR = 2e-3
"""How far from a point a ray may end that still meets it."""
BARE = 0.05
"""Of what may be a solid, the floor and the ceiling do not count up to this share of the height: they may be the sides
of other solids, above and below."""


@dataclass(frozen=True)
class Seen:
    """Shares of the points of a mesh, 0 to 1."""

    place: Vector
    """From where most is seen inside."""
    outside: float
    """Their fronts are seen from the ring around."""
    inside: float
    """Their fronts are seen from that place."""
    only_inside: float
    """The latter without the former."""
    only_there: float
    """Of the points that are seen at all, those seen from some place inside and not from the ring around."""
    hidden: float
    """Of the upright points, those seen inside that are not even seen from behind from the ring around."""
    one_sided: float
    """They are on surfaces that are drawn from the front only."""


class Sight:
    """A mesh with points on it."""

    def __init__(self, rays: Rays, mesh: Mesh) -> None:
        self._rays = rays
        self._faces, self._points = _spread(rays, mesh)
        one_sided = np.array([not material.double_sided for material in mesh.materials])
        kinds = self._faces * 0 if mesh.face_materials is None else mesh.face_materials[self._faces]
        self._one_sided = float(one_sided[kinds].mean())
        self._outside, self._from_behind = np.zeros((2, POINTS), np.bool_)
        for camera in ring():
            front, either = self._seen(camera.eye)
            self._outside |= front
            self._from_behind |= either

    def inside(self, spots: Sequence[Spot]) -> Seen:
        """What is seen from spots of one kind, the widest first."""
        fronts = np.array([self._inside(spot) for spot in spots])
        best = int((fronts.mean(1) * np.sqrt([spot.room for spot in spots])).argmax())
        anywhere = fronts.any(0)
        upright = np.abs(self._rays.normals[self._faces, 1]) < 0.7
        hidden = (anywhere & ~self._from_behind & upright).sum() / max(1, int(upright.sum()))
        only = fronts & ~self._outside
        only_there = only.any(0).sum() / max(1, int((self._outside | anywhere).sum()))
        shares = (self._outside.mean(), fronts[best].mean(), only[best].mean(), only_there, hidden)
        return Seen(spots[best].place, *map(float, (*shares, self._one_sided)))

    def backs(self) -> float:
        """Share of a picture from outside and above that shows backs of faces."""
        eye = 3 * np.array(direction(35.0, 25.0), np.float32)
        towards = self._points - eye
        met, _ = self._rays.cast(np.tile(eye, (POINTS, 1)), towards)
        return float(((met >= 0) & ~self._rays.fronts(met, towards)).mean())

    def things(self, place: Vector) -> float:
        """Share of the directions from ``place`` in which there are the fronts of two things, one behind the other."""
        directions = _sphere(1024)
        origins = np.tile(np.array(place, np.float32), (len(directions), 1))
        fronts = np.zeros(len(directions), np.int64)
        alive = np.arange(len(directions))
        for _ in range(8):
            faces, distance = self._rays.cast(origins[alive], directions[alive])
            met = faces >= 0
            alive = alive[met]
            fronts[alive] += self._rays.fronts(faces[met], directions[alive])
            origins[alive] += directions[alive] * (distance[met] + 1e-4)[:, None]
        return float((fronts >= 2).mean())

    def _inside(self, spot: Spot) -> Flags:
        """bool [POINTS]."""
        front, _ = self._seen(spot.place)
        if spot.airy:
            return front
        above = (self._points[:, 1] - spot.floor) / spot.height
        return np.asarray(front & (above > BARE) & (above < 1 - BARE))

    def _seen(self, eye: Vector) -> tuple[Flags, Flags]:
        """bool [POINTS] twice: which points are seen on the fronts of their faces, and which on either side."""
        start = np.array(eye, np.float32)
        towards = self._points - start
        length = np.maximum(np.linalg.norm(towards, axis=1), 1e-9).astype(np.float32)
        towards /= length[:, None]
        _, distance = self._rays.cast(np.tile(start, (POINTS, 1)), towards)
        reached = distance >= length - NEAR
        return reached & self._rays.fronts(self._faces, towards), reached


def _spread(rays: Rays, mesh: Mesh) -> tuple[Ints, Floats]:
    """int32 [POINTS] and float32 [POINTS, 3]: faces and points on them."""
    random = np.random.default_rng(0)
    areas = rays.areas.astype(np.float64)
    solid = np.flatnonzero(areas > 0)
    by_area = random.choice(solid, POINTS // 2, p=areas[solid] / areas.sum())
    faces = np.concatenate([by_area, random.choice(solid, POINTS // 2)]).astype(np.int32)
    a, b = np.sqrt(random.random(POINTS)), random.random(POINTS)
    weights = np.stack([1 - a, a * (1 - b), a * b], axis=1).astype(np.float32)
    return faces, np.einsum("nc,ncx->nx", weights, mesh.vertices[mesh.faces[faces]])


def _sphere(count: int) -> Floats:
    """float32 [count, 3]: directions evenly all around, as a Fibonacci lattice."""
    i = np.arange(count) + 0.5
    y, turn = 1 - 2 * i / count, np.pi * (1 + 5**0.5) * i
    across = np.sqrt(1 - y * y)
    return np.stack([across * np.cos(turn), y, across * np.sin(turn)], axis=1).astype(np.float32)
