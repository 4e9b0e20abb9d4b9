"""Where in a mesh one could stand: free places between walls, over a floor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
SPOTS = 8
"""Places of which each is looked from."""
ROOMY = 0.05
"""Room that a spot has at least, as a share of the best one's."""

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
    room: float
    """A measure of the free volume around it."""
    roofed: bool
    airy: bool
    """Whether mostly fronts are met there; otherwise it may be within a solid."""
    walled: bool
    """Whether there are walls on nearly all sides; otherwise on about half."""


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
        """[N]; inside a solid one meets the backs of its surface, but perhaps the fronts of solids above and below."""
        every: Flags = self.front.sum(1) * 2 >= np.maximum(self.hit.sum(1), 1)
        level: Flags = self.front[:, _LEVEL].sum(1) * 2 >= np.maximum(self.hit[:, _LEVEL].sum(1), 1)
        return every & level


def free_places(rays: Rays, mesh: Mesh) -> Iterator[tuple[Spot, ...]]:
    """Places within walls and in the air, within walls and perhaps in a solid, and in the air with walls on some sides;
    of each kind some that are apart, the widest first, where there are any."""
    box = mesh.vertices.min(0), mesh.vertices.max(0)
    points = _grid(*box)
    look = _look(rays, points)
    for walled, airy in ((True, True), (True, False), (False, True)):
        fits = _fits(look, walled, airy)
        if spots := _apart(_Candidates.at_eye_height(rays, points[fits], look.distance[fits], box, walled, airy)):
            yield spots


def _fits(look: _Look, walled: bool, airy: bool) -> Flags:
    """[N]."""
    within = look.within_walls(WALLED)
    fits: Flags = (within if walled else look.within_walls(HALF_WALLED) & ~within) & (look.in_the_air == airy)
    return fits


@dataclass(frozen=True)
class _Candidates:
    """Spots with a width of 0 where one cannot stand."""

    eyes: Floats
    """float32 [N, 3]."""
    floors: Floats
    heights: Floats
    clearance: Floats
    """To the next wall or side of the bounding box."""
    widths: Floats
    """Clearance times the geometric mean of the distances all around, which tells the middle of a long room from its
    ends."""
    roofed: Flags
    airy: bool
    walled: bool

    @classmethod
    def at_eye_height(
        cls, rays: Rays, points: Floats, distance: Floats, box: tuple[Floats, Floats], walled: bool, airy: bool
    ) -> _Candidates:
        """Above or below points from which the fan reaches so far."""
        floors = points[:, 1] - distance[:, _DOWN]
        heights = np.minimum(points[:, 1] + distance[:, _UP], box[1][1]) - floors
        eyes = points.copy()
        eyes[:, 1] = floors + EYE * heights
        look = _look(rays, eyes)
        level = np.minimum(look.distance[:, _LEVEL], _to_box(eyes, _FAN[_LEVEL], *box))
        clearance = level.min(1)
        widths = clearance * np.exp(np.log(np.maximum(level, 1e-6)).mean(1)) * _fits(look, walled, airy)
        return cls(eyes, floors, heights, clearance, widths, look.hit[:, _UP], airy, walled)

    def spot(self, at: int) -> Spot:
        x, y, z = map(float, self.eyes[at])
        floor, height, room = float(self.floors[at]), float(self.heights[at]), float(self.widths[at] * self.heights[at])
        return Spot((x, y, z), floor, height, room, bool(self.roofed[at]), self.airy, self.walled)


def _apart(found: _Candidates) -> tuple[Spot, ...]:
    """The spots of most room, none nearer to a better one than that one's walls."""
    room = found.widths * found.heights
    least = ROOMY * room.max(initial=0)
    spots: list[Spot] = []
    while len(spots) < SPOTS and room.max(initial=0) > least:
        best = int(room.argmax())
        spots.append(found.spot(best))
        room = np.where(np.linalg.norm(found.eyes - found.eyes[best], axis=1) <= found.clearance[best], 0, room)
    return tuple(spots)


def _to_box(eyes: Floats, directions: Floats, low: Floats, high: Floats) -> Floats:
    """float32 [N, D]: how far it is from within a box to its level sides."""
    across = np.full((len(eyes), len(directions)), np.inf, np.float32)
    for axis in (0, 2):
        ahead = np.where(directions[:, axis] > 0, high[axis], low[axis])
        slope = np.where(np.abs(directions[:, axis]) > 1e-6, directions[:, axis], np.float32(np.nan))
        across = np.fmin(across, (ahead - eyes[:, axis, None]) / slope)
    return across


def _look(rays: Rays, points: Floats) -> _Look:
    faces, distances = rays.cast(np.repeat(points, len(_FAN), axis=0), np.tile(_FAN, (len(points), 1)))
    shape = (len(points), len(_FAN))
    front = rays.fronts(faces, np.tile(_FAN, (len(points), 1)))
    return _Look((faces >= 0).reshape(shape), front.reshape(shape), distances.reshape(shape))


def _grid(low: Floats, high: Floats) -> Floats:
    """float32 [N, 3]: the middles of the cells of the bounding box."""
    sides = [low[axis] + (high[axis] - low[axis]) * (np.arange(n) + 0.5) / n for axis, n in enumerate(GRID)]
    return np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float32)


_FAN = _fan()
