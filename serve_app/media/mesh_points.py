"""Clouds of points made visible: a small octahedron at each."""

from __future__ import annotations

import numpy as np

from serve_app.errors import Problem
from serve_app.media.mesh_parts import Cloud, Doubles, Surface

MAX_SPLATS = 100_000
"""Points that are drawn; of more, a seeded sample."""
_SMALLEST, _LARGEST = 0.003, 0.06
"""Radius of a splat as a share of the cloud's own radius."""
_CORNERS = np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)], np.float64)
_FACES = np.array([(0, 2, 4), (2, 1, 4), (1, 3, 4), (3, 0, 4), (2, 0, 5), (1, 2, 5), (3, 1, 5), (0, 3, 5)], np.int64)


def splats(cloud: Cloud) -> Surface:
    """The finite points of ``cloud`` as octahedra in their colours, large enough that neighbours nearly touch.

    Raises ``undecodable_media`` where there are no two distinct points.
    """
    keep = np.flatnonzero(np.isfinite(cloud.points).all(axis=1))
    if len(keep) > MAX_SPLATS:
        keep = np.sort(np.random.default_rng(0).choice(keep, MAX_SPLATS, replace=False))
    points = cloud.points[keep]
    radius = _radius(points)
    count = len(points)
    vertices = (points[:, None, :] + radius * _CORNERS).reshape(-1, 3)
    faces = (np.arange(count)[:, None, None] * 6 + _FACES).reshape(-1, 3)
    normals = np.broadcast_to(_CORNERS[_FACES], (count, 8, 3, 3)).reshape(-1, 3, 3)
    colours = None
    if cloud.colours is not None:
        colours = np.broadcast_to(cloud.colours[keep][:, None, None, :], (count, 8, 3, 4)).reshape(-1, 3, 4)
    return Surface(vertices, faces, normals, colours=colours)


def _radius(points: Doubles) -> float:
    """0.7 times the median distance to the nearest other point, within bounds, in the points' units."""
    from scipy.spatial import cKDTree

    spread = float(np.linalg.norm(np.ptp(points, axis=0)) / 2) if len(points) else 0.0
    if not spread > 0 or not np.isfinite(spread):
        raise Problem("undecodable_media", "the file has a single point, and no surface: there is nothing to draw")
    distances = cKDTree(points / spread).query(points / spread, k=2)[0][:, 1]
    spacing = float(np.median(distances[distances > 0])) if (distances > 0).any() else _LARGEST
    return spread * min(max(0.7 * spacing, _SMALLEST), _LARGEST)
