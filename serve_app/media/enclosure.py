"""Where a mesh is looked at from: all around it, and from inside where it is a room."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from serve_app.media.meshes import Mesh
from serve_app.media.rendering import Camera, Vector

AROUND = (0.0, 45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0)
"""Degrees."""


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
    azimuths_deg: tuple[float, ...] = AROUND
    field_deg: float = 60.0
    inside_field_deg: float = 75.0


@dataclass(frozen=True)
class Enclosure:
    """From where a mesh shows what it is, and why."""

    kind: Literal["outside", "inside", "both"]
    place: Vector | None
    """Where to stand inside; None for ``outside``."""
    reason: str


def views_of(mesh: Mesh, rings: Rings | None = None) -> tuple[NamedCamera, ...]:
    """The cameras that see a normalised mesh: a ring around it, one inside it where it is a room, or both."""
    rings = rings or Rings()
    found = judge(mesh)
    around = outside_ring(rings) if found.kind != "inside" else ()
    within = ring(found.place, rings.azimuths_deg, rings.inside_field_deg) if found.place else ()
    return (*around, *within)


def judge(mesh: Mesh) -> Enclosure:
    """Whether a normalised mesh is a solid to go around, a room to stand in, or perhaps either."""
    return Enclosure("outside", None, "not looked into yet")


def outside_ring(rings: Rings) -> tuple[NamedCamera, ...]:
    """Cameras at one distance and height that look at the origin."""
    return tuple(
        NamedCamera(Camera(_towards(azimuth, rings.elevation_deg, rings.distance), field_deg=rings.field_deg),
                    azimuth, rings.elevation_deg, inside=False)
        for azimuth in rings.azimuths_deg
    )  # fmt: skip


def ring(place: Vector, azimuths_deg: Sequence[float] = AROUND, field_deg: float = 75.0) -> tuple[NamedCamera, ...]:
    """Cameras at ``place`` that look outward, level, in all directions."""
    return tuple(
        NamedCamera(Camera(place, _plus(place, _towards(azimuth, 0.0, 1.0)), field_deg=field_deg), azimuth, 0.0, True)
        for azimuth in azimuths_deg
    )


def _towards(azimuth: float, elevation: float, distance: float) -> Vector:
    a, e = math.radians(azimuth), math.radians(elevation)
    return (distance * math.cos(e) * math.sin(a), distance * math.sin(e), distance * math.cos(e) * math.cos(a))


def _plus(a: Vector, b: Vector) -> Vector:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])
