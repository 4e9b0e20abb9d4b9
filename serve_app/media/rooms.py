"""Where in a mesh one could stand: in the widest free place between walls, or on a floor that things stand on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from serve_app.media.cameras import direction
from serve_app.media.meshes import Floats, Mesh
from serve_app.media.rays import Rays
from serve_app.media.rendering import Vector

Flags = NDArray[np.bool_]

GRID = (20, 10, 20)
"""Places that are tried along x, y and z of the bounding box."""
EYE = 0.6
"""Height of the eyes as a share of a room's: 1.6 m where it is 2.6 m high."""
WALLED, HALF_WALLED = 0.75, 0.49
"""Share of the level directions that meet something, so that a place counts as within walls, or between some."""
FLOORED = 0.85
"""The same of the directions that slope down."""
ELBOW_ROOM = 0.15
"""How far to stand from the things on a floor, as a share of its shorter side."""
COLUMNS = 32
"""Places along each side of a floor that are looked at from above and below."""

_DOWN, _UP, _LEVEL, _LOW = 0, 1, slice(2, 18), slice(18, 26)


def _fan() -> Floats:
    """float32 [26, 3]: down, up, sixteen level directions, eight that slope down."""
    slopes = ((-90.0, 1), (90.0, 1), (0.0, 16), (-35.0, 8))
    return np.array([direction(360 * i / count, slope) for slope, count in slopes for i in range(count)], np.float32)


@dataclass(frozen=True)
class Spot:
    """A place to stand at, with the eyes there."""

    place: Vector
    floor: float
    """Height of what is below."""
    height: float
    """From there to the ceiling or the top of the mesh."""
    roofed: bool
    airy: bool
    """Whether mostly fronts are met there; otherwise it may be within a solid."""
    walled: bool
    """Whether there are walls on nearly all sides; otherwise on about half."""
    up: Vector = (0.0, 1.0, 0.0)


@dataclass(frozen=True)
class _Look:
    """What is met from N points in the directions of the fan, all [N, 26]."""

    hit: Flags
    front: Flags
    distance: Floats

    def within_walls(self, share: float) -> Flags:
        """[N]: over ground, and with walls in that share of the level directions."""
        sides, low = self.hit[:, _LEVEL].mean(1) >= share, self.hit[:, _LOW].mean(1) >= FLOORED
        walled: Flags = sides & low & self.hit[:, _DOWN]
        return walled

    @property
    def in_the_air(self) -> Flags:
        """[N]; inside a solid one meets the backs of its surface."""
        fronts: Flags = self.front.sum(1) * 2 >= np.maximum(self.hit.sum(1), 1)
        return fronts


def free_places(rays: Rays, mesh: Mesh) -> Iterator[Spot]:
    """The widest place within walls and in the air, within walls and perhaps in a solid, and in the air with walls on
    some sides; each where there is one."""
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    points = _grid(low, high)
    look = _look(rays, points)
    for walled, airy in ((True, True), (True, False), (False, True)):
        fits = _fits(look, walled, airy)
        if (spot := _widest(rays, points[fits], look.distance[fits], (low, high), walled, airy)) is not None:
            yield spot


def _fits(look: _Look, walled: bool, airy: bool) -> Flags:
    """[N]."""
    fits: Flags = look.within_walls(WALLED if walled else HALF_WALLED) & (look.in_the_air == airy)
    return fits


def _widest(
    rays: Rays, points: Floats, distance: Floats, box: tuple[Floats, Floats], walled: bool, airy: bool
) -> Spot | None:
    """Of the places at eye height above and below the points, the one farthest from all walls."""
    if not len(points):
        return None
    floors = points[:, 1] - distance[:, _DOWN]
    heights = np.minimum(points[:, 1] + distance[:, _UP], box[1][1]) - floors
    eyes = points.copy()
    eyes[:, 1] = floors + EYE * heights
    look = _look(rays, eyes)
    score = _width(look, eyes, *box) * heights * _fits(look, walled, airy)
    best = int(score.argmax())
    if score[best] <= 0:
        return None
    roofed = bool(look.hit[best, _UP])
    return Spot(_vector(eyes[best]), float(floors[best]), float(heights[best]), roofed, airy, walled)


def _width(look: _Look, eyes: Floats, low: Floats, high: Floats) -> Floats:
    """[N]: the least level distance to a wall or to the bounding box, times the geometric mean of all of them, which
    tells the middle of a long room from its ends."""
    level = np.minimum(look.distance[:, _LEVEL], _to_box(eyes, _FAN[_LEVEL], low, high))
    return np.asarray(level.min(1) * np.exp(np.log(np.maximum(level, 1e-6)).mean(1)), np.float32)


def _to_box(eyes: Floats, directions: Floats, low: Floats, high: Floats) -> Floats:
    """float32 [N, D]: how far it is from within a box to its level sides."""
    across = np.full((len(eyes), len(directions)), np.inf, np.float32)
    for axis in (0, 2):
        ahead = np.where(directions[:, axis] > 0, high[axis], low[axis])
        slope = np.where(np.abs(directions[:, axis]) > 1e-6, directions[:, axis], np.float32(np.nan))
        across = np.fmin(across, (ahead - eyes[:, axis, None]) / slope)
    return across


def stage(mesh: Mesh) -> Spot | None:
    """A place on a floor without walls, with two or more things on it, as scenes of a few pieces of furniture have it.

    The floor may stand upright, facing +Z, as in files that were written with Z up although their format says Y.
    """
    for up in ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0)):
        turn = _turn(up)
        if (spot := _stage(Mesh(np.ascontiguousarray(mesh.vertices @ turn.T), mesh.faces))) is not None:
            return replace(spot, place=_vector(turn.T @ np.array(spot.place, np.float32)), up=up)
    return None


def _stage(mesh: Mesh) -> Spot | None:
    """The same with Y up."""
    from scipy import ndimage

    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    height = high[1] - low[1]
    if height > 0.5 * min(high[0] - low[0], high[2] - low[2]) or height <= 0:
        return None
    rays = Rays(mesh)
    columns = _columns(low, high)
    met, distance = rays.cast(columns, _repeated(np.array([0, -1, 0], np.float32), len(columns)))
    tops = np.where(met >= 0, columns[:, 1] - distance, -np.inf)
    floor = float(np.median(tops))
    bare = np.abs(tops - floor) < 0.03 * height
    things = (tops > floor + 0.2 * height).reshape(COLUMNS, COLUMNS)
    if (met >= 0).mean() < 0.9 or bare.mean() < 0.5 or floor - low[1] > 0.25 * height:
        return None
    if ndimage.label(things, np.ones((3, 3)))[1] < 2:
        return None
    across, along = (high - low)[[0, 2]] / COLUMNS
    space = ndimage.distance_transform_edt(~things, sampling=(across, along)).ravel()
    far = np.linalg.norm((columns - columns[things.ravel()].mean(0))[:, [0, 2]], axis=1)
    roomy = np.minimum(space / (ELBOW_ROOM * COLUMNS * min(across, along)), 1)
    x, _, z = columns[np.lexsort((far, -roomy))[0]]
    return Spot(
        (float(x), floor + EYE * (float(high[1]) - floor), float(z)),
        floor,
        float(high[1]) - floor,
        roofed=False,
        airy=True,
        walled=False,
    )


def _look(rays: Rays, points: Floats) -> _Look:
    faces, distances = rays.cast(np.repeat(points, len(_FAN), axis=0), np.tile(_FAN, (len(points), 1)))
    shape = (len(points), len(_FAN))
    front = rays.fronts(faces, np.tile(_FAN, (len(points), 1)))
    return _Look((faces >= 0).reshape(shape), front.reshape(shape), distances.reshape(shape))


def _grid(low: Floats, high: Floats) -> Floats:
    """float32 [N, 3]: the middles of the cells of the bounding box."""
    sides = [low[axis] + (high[axis] - low[axis]) * (np.arange(n) + 0.5) / n for axis, n in enumerate(GRID)]
    return np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float32)


def _columns(low: Floats, high: Floats) -> Floats:
    """float32 [COLUMNS², 3]: places above the mesh."""
    x, z = (low[axis] + (high[axis] - low[axis]) * (np.arange(COLUMNS) + 0.5) / COLUMNS for axis in (0, 2))
    across, along = (side.ravel() for side in np.meshgrid(x, z, indexing="ij"))
    return np.stack([across, np.full_like(across, high[1] + 0.1), along], axis=1).astype(np.float32)


def _repeated(vector: Floats, count: int) -> Floats:
    return np.repeat(vector[None], count, axis=0)


def _turn(up: Vector) -> Floats:
    """float32 [3, 3]: the rotation that takes ``up``, Y or Z, to Y."""
    return np.eye(3, dtype=np.float32) if up[1] else np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float32)


def _vector(values: Floats) -> Vector:
    return float(values[0]), float(values[1]), float(values[2])


_FAN = _fan()
