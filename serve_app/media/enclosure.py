"""Where a mesh is looked at from: all around it, and from inside where it is a room.

What tells a room is what only someone in it can see. Points are spread over the mesh, half of them by area and half by
triangle, since what is finely modelled is what a mesh is about; a point is seen where a ray from an eye meets it first,
on the front of its triangle. A solid shows nothing but backs to an eye within it, so it is no room whatever its form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from serve_app.media.cameras import AZIMUTHS_DEG, direction
from serve_app.media.cameras import ring as around
from serve_app.media.meshes import Floats, Ints, Mesh
from serve_app.media.rays import Rays
from serve_app.media.rendering import Camera, Vector
from serve_app.media.rooms import Spot, free_places, stage

Flags = NDArray[np.bool_]

POINTS = 3000
"""Points that are spread over a mesh."""
NEAR = 2e-3
"""How far from a point a ray may end that still meets it."""
ONLY_INSIDE = 0.12
"""Share of the points that only someone inside sees, from which it is worth looking from there."""
MOSTLY_INSIDE = 0.4
"""Share of the points seen from a place with walls on some sides, from which it is worth it."""
UNSEEN = 0.1
"""Share of the points seen from outside, below which nothing is worth looking at from there."""
FURNISHED = 0.04
"""Share of the directions in which there is a thing before the wall, so that an open vessel is a room."""
HIDDEN = 0.05
"""Share of the upright points that are seen inside and from outside not even from behind."""
ONE_SIDED = 0.5
"""Share of the points on surfaces drawn from the front only, from which walls that face inward are meant to."""
DOLLHOUSE = 0.3
"""Share of a picture from outside that shows backs of walls, from which they are left out."""


@dataclass(frozen=True)
class NamedCamera:
    """A camera and what to call it: where it stands as seen from the middle or, ``inside``, where it looks."""

    camera: Camera
    azimuth: float
    """Degrees; 0 is +Z, 90 is +X."""
    elevation: float
    """Degrees."""
    inside: bool


@dataclass(frozen=True)
class Rings:
    """The cameras around a normalised mesh, and those inside one."""

    distance: float = 2.0
    elevation_deg: float = 0.0
    azimuths_deg: tuple[float, ...] = AZIMUTHS_DEG
    field_deg: float = 60.0
    inside_field_deg: float = 75.0
    inside_elevation_deg: float = -15.0
    """Slightly down, where the furniture is."""


@dataclass(frozen=True)
class Enclosure:
    """From where a mesh shows what it is, and why."""

    kind: Literal["outside", "inside", "both"]
    place: Vector | None
    """Where to stand inside; None for ``outside``."""
    reason: str
    up: Vector = (0.0, 1.0, 0.0)
    """Where is up inside."""


@dataclass(frozen=True)
class _Evidence:
    """Shares of the points of a mesh, 0 to 1."""

    outside: float
    """Their fronts are seen from the ring around."""
    inside: float
    """Their fronts are seen from the place inside."""
    only_inside: float
    """The latter without the former."""
    hidden: float
    """Of the upright points, those seen inside that are not even seen from behind from the ring around."""
    one_sided: float
    """They are on surfaces that are drawn from the front only."""


def views_of(mesh: Mesh, rings: Rings | None = None) -> tuple[NamedCamera, ...]:
    """The cameras that see a normalised mesh: a ring around it, one inside it where it is a room, or both."""
    return cameras_of(judge(mesh), rings)


def cameras_of(found: Enclosure, rings: Rings | None = None) -> tuple[NamedCamera, ...]:
    """The cameras that see a mesh of which that was found."""
    rings = rings or Rings()
    outside = outside_ring(rings) if found.kind != "inside" else ()
    inside = ring(found.place, rings, found.up) if found.place else ()
    return (*outside, *inside)


def judge(mesh: Mesh) -> Enclosure:
    """Whether a normalised mesh is a solid to go around, a room to stand in, or perhaps either."""
    rays = Rays(mesh)
    if not rays.areas.any():
        return Enclosure("outside", None, "it has no surface")
    verdicts = []
    for spot in free_places(rays, mesh):
        verdicts.append(_weigh(rays, mesh, spot))
        if verdicts[-1].kind != "outside":
            return verdicts[-1]
    if (floor := stage(mesh)) is not None:
        return Enclosure("both", floor.place, "things stand on a floor without walls: perhaps a room", floor.up)
    return verdicts[0] if verdicts else Enclosure("outside", None, "no place in it is within walls")


def outside_ring(rings: Rings) -> tuple[NamedCamera, ...]:
    """Cameras at one distance and height that look at the origin."""
    cameras = around(rings.distance, rings.elevation_deg, rings.azimuths_deg, rings.field_deg)
    return tuple(
        NamedCamera(camera, azimuth, rings.elevation_deg, inside=False)
        for camera, azimuth in zip(cameras, rings.azimuths_deg, strict=True)
    )


def ring(place: Vector, rings: Rings, up: Vector = (0.0, 1.0, 0.0)) -> tuple[NamedCamera, ...]:
    """Cameras at ``place`` that look outward in all directions; where Z is up azimuth 0 is -Y."""
    elevation = rings.inside_elevation_deg
    return tuple(
        NamedCamera(
            Camera(place, _ahead(place, azimuth, elevation, up), up, rings.inside_field_deg), azimuth, elevation, True
        )
        for azimuth in rings.azimuths_deg
    )


def _ahead(place: Vector, azimuth_deg: float, elevation_deg: float, up: Vector) -> Vector:
    x, y, z = direction(azimuth_deg, elevation_deg)
    if not up[1]:
        y, z = -z, y
    return place[0] + x, place[1] + y, place[2] + z


def _weigh(rays: Rays, mesh: Mesh, spot: Spot) -> Enclosure:
    seen = _evidence(rays, mesh, spot)
    shares = f"{seen.inside:.0%} of it is seen from inside, {seen.only_inside:.0%} only from there"
    if seen.only_inside < ONLY_INSIDE if spot.walled else seen.inside < MOSTLY_INSIDE:
        return Enclosure("outside", None, f"{shares}: as of a solid")
    if spot.airy and not spot.roofed and seen.outside >= UNSEEN and _furnished(rays, spot.place) < FURNISHED:
        return Enclosure("outside", None, "it is an open vessel with nothing in it")
    shares += f", {seen.outside:.0%} from outside"
    if seen.outside >= UNSEEN:
        return Enclosure("both", spot.place, f"{shares}: as of a room with an outside")
    if seen.hidden >= HIDDEN or seen.one_sided >= ONE_SIDED:
        return Enclosure("inside", spot.place, f"{shares}: as of a room")
    return Enclosure("both", spot.place, f"{shares}: as of an empty room or a solid turned inside out")


def dollhouse(mesh: Mesh, found: Enclosure | None = None) -> bool:
    """Whether a picture from outside should leave out back faces, so that one sees into a room whose walls face
    inward; ``found`` spares judging the mesh again."""
    if (found or judge(mesh)).kind != "inside":
        return False
    rays = Rays(mesh)
    eye = 3 * np.array(direction(35.0, 25.0), np.float32)
    towards = _spread(rays, mesh)[1] - eye
    met, _ = rays.cast(np.repeat(eye[None], len(towards), axis=0), towards)
    return bool(((met >= 0) & ~rays.fronts(met, towards)).mean() >= DOLLHOUSE)


def _evidence(rays: Rays, mesh: Mesh, spot: Spot) -> _Evidence:
    faces, points = _spread(rays, mesh)
    fronts, either = np.zeros(len(points), bool), np.zeros(len(points), bool)
    for camera in around():
        front, any_side = _seen(rays, camera.eye, faces, points)
        fronts, either = fronts | front, either | any_side
    inside, _ = _seen(rays, spot.place, faces, points)
    if not spot.airy:  # The floor of a storey may be the roof of a solid below.
        inside &= points[:, 1] > spot.floor + 0.05 * spot.height
    upright = np.abs(rays.normals[faces, 1]) < 0.7
    hidden = (inside & ~either & upright).sum() / max(1, int(upright.sum()))
    shares = (fronts.mean(), inside.mean(), (inside & ~fronts).mean(), hidden, _one_sided(mesh, faces).mean())
    return _Evidence(*map(float, shares))


def _one_sided(mesh: Mesh, faces: Ints) -> Flags:
    one_sided = np.array([not material.double_sided for material in mesh.materials])
    return np.asarray(one_sided[mesh.face_materials[faces] if mesh.face_materials is not None else faces * 0])


def _seen(rays: Rays, eye: Vector, faces: Ints, points: Floats) -> tuple[Flags, Flags]:
    """bool [N] twice: which points are seen on the fronts of their faces, and which on either side."""
    start = np.array(eye, np.float32)
    towards = points - start
    length = np.maximum(np.linalg.norm(towards, axis=1), 1e-9).astype(np.float32)
    towards /= length[:, None]
    _, distance = rays.cast(np.repeat(start[None], len(points), axis=0), towards)
    reached = distance >= length - NEAR
    return reached & rays.fronts(faces, towards), reached


def _spread(rays: Rays, mesh: Mesh) -> tuple[Ints, Floats]:
    """int32 [N] and float32 [N, 3]: faces and points on them."""
    random = np.random.default_rng(0)
    areas = rays.areas.astype(np.float64)
    solid = np.flatnonzero(areas > 0)
    by_area = random.choice(solid, POINTS // 2, p=areas[solid] / areas.sum())
    faces = np.concatenate([by_area, random.choice(solid, POINTS // 2)]).astype(np.int32)
    a, b = np.sqrt(random.random(POINTS)), random.random(POINTS)
    weights = np.stack([1 - a, a * (1 - b), a * b], axis=1).astype(np.float32)
    return faces, np.einsum("nc,ncx->nx", weights, mesh.vertices[mesh.faces[faces]])


def _furnished(rays: Rays, place: Vector) -> float:
    """Share of the directions in which a ray meets the fronts of two things or more, one behind the other."""
    directions = _sphere(1024)
    origins = np.repeat(np.array(place, np.float32)[None], len(directions), axis=0)
    fronts = np.zeros(len(directions), np.int64)
    alive = np.arange(len(directions))
    for _ in range(8):
        faces, distance = rays.cast(origins[alive], directions[alive])
        met = faces >= 0
        alive = alive[met]
        fronts[alive] += rays.fronts(faces[met], directions[alive])
        origins[alive] += directions[alive] * (distance[met] + 1e-4)[:, None]
    return float((fronts >= 2).mean())


def _sphere(count: int) -> Floats:
    """float32 [count, 3]: directions evenly all around, as a Fibonacci lattice."""
    i = np.arange(count) + 0.5
    y, turn = 1 - 2 * i / count, np.pi * (1 + 5**0.5) * i
    across = np.sqrt(1 - y * y)
    return np.stack([across * np.cos(turn), y, across * np.sin(turn)], axis=1).astype(np.float32)
