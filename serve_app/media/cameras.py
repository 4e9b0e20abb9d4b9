"""Where cameras stand: rings around a mesh, and one framed by the mesh's silhouette.

A camera at azimuth a and elevation e looks at the origin from d (cos e sin a, sin e, cos e cos a), as PyTorch3D's
``look_at_view_transform(dist, elev, azim)`` says: azimuth 0 is +Z, 90 is +X.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serve_app.media.meshes import Mesh
from serve_app.media.rendering import Camera, Vector

Array = NDArray[np.float64]

AZIMUTHS_DEG = (0.0, 45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0)
FILLED = 0.86
"""Share of the picture's side that a framed mesh spans."""
_ROUNDS = 32
_SLICES = 128


@dataclass(frozen=True)
class Basis:
    """A camera's axes as unit vectors float64 [3], and half of what it sees at distance 1."""

    eye: Array
    right: Array
    up: Array
    forward: Array
    half: float

    @property
    def rotation(self) -> Array:
        """float64 [3, 3]: rows right, up, forward; takes world directions to the camera's."""
        return np.stack([self.right, self.up, self.forward])

    def seen(self, points: NDArray[np.floating]) -> Array:
        """float64 [N, 3] for points [N, 3]: along right and up, and the distance along the optical axis."""
        return np.asarray((points - self.eye) @ self.rotation.T)


def basis(camera: Camera) -> Basis:
    """The axes of ``camera``; one that looks along its own ``up`` takes -Z (or Z) as up."""
    eye, up = np.array(camera.eye, np.float64), np.array(camera.up, np.float64)
    forward = _unit(np.array(camera.target, np.float64) - eye)
    right = np.cross(forward, up)
    if np.linalg.norm(right) < 1e-6 * np.linalg.norm(up):
        right = np.cross(forward, (0.0, 0.0, math.copysign(1.0, forward[1])))
    right = _unit(right)
    return Basis(eye, right, np.cross(right, forward), forward, math.tan(math.radians(camera.field_deg) / 2))


def direction(azimuth_deg: float, elevation_deg: float) -> Vector:
    """The unit vector from the origin towards a camera."""
    a, e = math.radians(azimuth_deg), math.radians(elevation_deg)
    return math.cos(e) * math.sin(a), math.sin(e), math.cos(e) * math.cos(a)


def ring(
    distance: float = 2.0,
    elevation_deg: float = 0.0,
    azimuths_deg: Sequence[float] = AZIMUTHS_DEG,
    field_deg: float = 60.0,
) -> tuple[Camera, ...]:
    """Cameras around the origin that look at it."""
    towards = [direction(azimuth, elevation_deg) for azimuth in azimuths_deg]
    return tuple(Camera((distance * x, distance * y, distance * z), field_deg=field_deg) for x, y, z in towards)


def framed(
    mesh: Mesh, azimuth_deg: float = 35.0, elevation_deg: float = 25.0, field_deg: float = 30.0, filled: float = FILLED
) -> Camera:
    """A camera in that direction that frames what the faces of ``mesh`` use; see ``framed_points``."""
    used = np.zeros(len(mesh.vertices), np.bool_)
    used[mesh.faces] = True
    return framed_points(mesh.vertices[used], azimuth_deg, elevation_deg, field_deg, filled)


def framed_points(
    corners: NDArray[np.floating], azimuth_deg: float, elevation_deg: float, field_deg: float, filled: float = FILLED
) -> Camera:
    """A camera in that direction from which the silhouette of ``corners`` [N, 3], N > 0, is centred and spans
    ``filled`` of the picture's side.

    Method: in the camera's axes every vertex bounds the eye by two planes a side; the farther back of the two axes'
    tight places gives the distance, bisection centres the other axis.
    """
    x, y, z = direction(azimuth_deg, elevation_deg)
    turned = basis(Camera((x, y, z), field_deg=field_deg))
    points = corners.astype(np.float64) @ turned.rotation.T
    slope = filled * turned.half
    back = min(_tight(points[:, axis], points[:, 2], slope) for axis in (0, 1))
    back = min(back, float(points[:, 2].min()) - 1e-3)
    eye = np.array([_centre(points[:, axis], points[:, 2] - back) for axis in (0, 1)] + [back]) @ turned.rotation
    target = eye + turned.forward
    return Camera(_vector(eye), _vector(target), _vector(turned.up), field_deg)


def around(
    mesh: Mesh, frames: int, elevation_deg: float = 20.0, field_deg: float = 30.0, filled: float = FILLED
) -> tuple[Camera, ...]:
    """One turn about the vertical axis at one distance and height, chosen so that ``mesh`` fits from every side.

    What is framed is the mesh's profile, swept around: the largest radius in each of ``_SLICES`` slices of height.
    """
    used = np.unique(mesh.faces)
    heights, radii = mesh.vertices[used, 1], np.linalg.norm(mesh.vertices[used][:, [0, 2]], axis=1)
    edges = np.linspace(heights.min(), heights.max() + 1e-9, _SLICES + 1)
    widest = np.zeros(_SLICES)
    np.maximum.at(widest, np.clip(np.searchsorted(edges, heights, "right") - 1, 0, _SLICES - 1), radii)
    profile = np.repeat(widest, 2), np.stack([edges[:-1], edges[1:]], axis=1).ravel()
    turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)[:, None]
    swept = np.stack(np.broadcast_arrays(profile[0] * np.cos(turn), profile[1], profile[0] * np.sin(turn)), axis=-1)
    camera = framed_points(swept.reshape(-1, 3), 0.0, elevation_deg, field_deg, filled)
    return tuple(_turned(camera, 360.0 * frame / frames) for frame in range(frames))


def _turned(camera: Camera, azimuth_deg: float) -> Camera:
    """``camera`` after a turn about the vertical axis."""
    c, s = math.cos(math.radians(azimuth_deg)), math.sin(math.radians(azimuth_deg))

    def turn(vector: Vector) -> Vector:
        return c * vector[0] + s * vector[2], vector[1], c * vector[2] - s * vector[0]

    return Camera(turn(camera.eye), turn(camera.target), turn(camera.up), camera.field_deg)


def _tight(across: Array, along: Array, slope: float) -> float:
    """The place on the optical axis from which ``across`` just fits between the planes of ``slope``."""
    return -float((across - slope * along).max() + (-across - slope * along).max()) / (2 * slope)


def _centre(across: Array, distance: Array) -> float:
    """The sideways place from which the projection (across - place) / distance is centred."""
    low, high = float(across.min()), float(across.max())
    for _ in range(_ROUNDS):
        place = (low + high) / 2
        projected = (across - place) / distance
        low, high = (place, high) if projected.max() + projected.min() > 0 else (low, place)
    return (low + high) / 2


def _unit(vector: Array) -> Array:
    return vector / np.linalg.norm(vector)


def _vector(values: Array) -> Vector:
    return float(values[0]), float(values[1]), float(values[2])
