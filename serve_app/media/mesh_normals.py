"""Normals at the corners of triangles whose file has none, and vertices that stand at one place."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from serve_app.media.mesh_parts import Doubles, Indices

CREASE_DEG = 45.0
"""Faces that meet at a smaller angle are one smooth surface; at a larger one there is an edge."""
_MAX_FAN = 64
"""Corners at one place that are compared pairwise; more are compared with their mean."""
_PAIRS = 1 << 20
"""Compared at a time; each takes about 100 bytes."""
_PRIMES = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)


def places(vertices: NDArray[np.floating]) -> tuple[Indices, Indices]:
    """The first vertex at each distinct place, and for every vertex the number of its place: int64 [P], int64 [V].

    Places are told apart by a 64-bit hash of their float32 coordinates: two of a million collide once in 10^7 meshes.
    """
    bits = np.ascontiguousarray(vertices + 0.0, np.float32).view(np.uint32).astype(np.uint64)
    keys = (bits * _PRIMES).sum(axis=1, dtype=np.uint64)
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    return first, place


def face_normals(vertices: Doubles, faces: Indices) -> Doubles:
    """float64 [F, 3]: unit normals; zero for triangles without area."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    cross: Doubles = np.cross(b - a, c - a)
    length = np.linalg.norm(cross, axis=1, keepdims=True)
    return cross / np.where(length > 0, length, 1)


def crease_normals(vertices: Doubles, faces: Indices, crease_deg: float = CREASE_DEG) -> Doubles:
    """float64 [F, 3, 3]: at each corner the mean of the normals of the faces at its place that lie within
    ``crease_deg`` of its own, each weighted by its angle there (Thürmer and Wüthrich 1998)."""
    flat = face_normals(vertices, faces)
    weighted = flat[:, None, :] * _corner_angles(vertices, faces)[:, :, None]
    place = places(vertices)[1][faces].ravel()
    order = np.argsort(place, kind="stable")
    fan = np.bincount(place)[place[order]]
    own, weights = np.repeat(flat, 3, axis=0)[order], weighted.reshape(-1, 3)[order]
    sums = np.empty_like(own)
    limit = math.cos(math.radians(crease_deg)) + 1e-6
    wide = fan > _MAX_FAN
    sums[wide] = _against_mean(place[order][wide], own[wide], weights[wide], limit)
    for size in np.unique(fan[~wide]):
        chosen = np.flatnonzero(fan == size).reshape(-1, size)
        step = max(1, _PAIRS // (size * size))
        for start in range(0, len(chosen), step):
            block = chosen[start : start + step]
            near = np.einsum("pic,pjc->pij", own[block], own[block]) > limit
            near |= np.eye(size, dtype=bool)
            sums[block] = near.astype(np.float64) @ weights[block]
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    smooth = np.where(length > 1e-12, sums / np.maximum(length, 1e-12), own)
    out = np.empty_like(smooth)
    out[order] = smooth
    return out.reshape(-1, 3, 3)


def _against_mean(place: Indices, own: Doubles, weights: Doubles, limit: float) -> Doubles:
    """For the corners of wide fans: the mean at their place where it is within the crease, else their own normal."""
    _, index = np.unique(place, return_inverse=True)
    mean = np.stack([np.bincount(index, weights[:, axis]) for axis in range(3)], axis=1)[index]
    length = np.linalg.norm(mean, axis=1)
    near = (mean * own).sum(axis=1) > limit * length
    return np.where(near[:, None], mean, own)


def _corner_angles(vertices: Doubles, faces: Indices) -> Doubles:
    """float64 [F, 3]: radians at the corners."""
    points = vertices[faces]
    ahead = np.roll(points, -1, axis=1) - points
    ahead /= np.maximum(np.linalg.norm(ahead, axis=2, keepdims=True), 1e-300)
    cosine = -(ahead * np.roll(ahead, 1, axis=1)).sum(axis=2)
    angles: Doubles = np.arccos(np.clip(cosine, -1, 1))
    return angles
