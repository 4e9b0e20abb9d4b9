"""Where a mesh is looked at from: all around it, and from inside where it is a room.

What tells a room is what only someone in it can see. A solid shows nothing but backs to an eye within it, so it is no
room whatever its form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from serve_app.media.cameras import AZIMUTHS_DEG, direction
from serve_app.media.cameras import ring as around
from serve_app.media.meshes import Mesh
from serve_app.media.rays import Rays
from serve_app.media.rendering import Camera, Vector
from serve_app.media.rooms import Spot, free_places
from serve_app.media.sight import Sight
from serve_app.media.stages import stage

ONLY_INSIDE = 0.12
"""Share of the points that only someone inside sees, from which it is worth looking from there."""
ONLY_THERE = 0.5
"""The same of what is seen at all, from several places, such as the rooms of a flat."""
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
    sight = Sight(rays, mesh)
    verdicts = []
    for spots in free_places(rays, mesh):
        verdicts.append(_weigh(sight, spots))
        if verdicts[-1].kind != "outside":
            return verdicts[-1]
    if (found := stage(mesh)) is not None:
        return Enclosure("both", found[0], "things stand on a floor without walls: perhaps a room", found[1])
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


def _weigh(sight: Sight, spots: Sequence[Spot]) -> Enclosure:
    """What places of one kind tell."""
    best = spots[0]
    seen = sight.inside(spots if best.airy else spots[:1])
    shares = f"{seen.inside:.0%} of it is seen from inside, {seen.only_inside:.0%} only from there"
    enough = seen.only_inside >= ONLY_INSIDE or seen.only_there >= ONLY_THERE
    if not (enough if best.walled else seen.inside >= MOSTLY_INSIDE):
        return Enclosure("outside", None, f"{shares}: as of a solid")
    if best.walled and seen.outside >= UNSEEN and seen.hidden < HIDDEN:
        return Enclosure("outside", None, "one sees from outside what is seen from inside, if from behind")
    if best.airy and not best.roofed and seen.outside >= UNSEEN and sight.things(seen.place) < FURNISHED:
        return Enclosure("outside", None, "it is an open vessel with nothing in it")
    shares += f", {seen.outside:.0%} from outside"
    if seen.outside >= UNSEEN:
        return Enclosure("both", seen.place, f"{shares}: as of a room with an outside")
    if seen.hidden >= HIDDEN or seen.one_sided >= ONE_SIDED:
        return Enclosure("inside", seen.place, f"{shares}: as of a room")
    return Enclosure("both", seen.place, f"{shares}: as of an empty room or a solid turned inside out")


def dollhouse(mesh: Mesh, found: Enclosure | None = None) -> bool:
    """Whether a picture from outside should leave out back faces, so that one sees into a room whose walls face
    inward; ``found`` spares judging the mesh again."""
    return (found or judge(mesh)).kind == "inside" and Sight(Rays(mesh), mesh).backs() >= DOLLHOUSE
