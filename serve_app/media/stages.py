"""Scenes without walls: a floor with things on it, as a room of a few pieces of furniture may be modelled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from serve_app.media.meshes import Floats, Mesh
from serve_app.media.rays import Rays
from serve_app.media.rendering import Vector
from serve_app.media.rooms import EYE

COLUMNS = 32
"""Places along each side of a floor that are looked at from above."""
ELBOW_ROOM = 0.15
"""How far to stand from the things on a floor, as a share of its shorter side."""


def stage(mesh: Mesh) -> tuple[Vector, Vector] | None:
    """A place among two or more things on a floor, and where is up there; None where a mesh is no such scene.

    The floor may stand upright, facing +Z, as in files that were written with Z up although their format says Y.
    """
    for up in ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0)):
        turn = np.eye(3, dtype=np.float32) if up[1] else np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float32)
        turned = Mesh(np.ascontiguousarray(mesh.vertices @ turn.T), mesh.faces)
        if (place := _among_things(turned)) is not None:
            x, y, z = turn.T @ place
            return (float(x), float(y), float(z)), up
    return None


def _among_things(mesh: Mesh) -> Floats | None:
    """float32 [3]: the same with Y up. The floor is the height that most columns end at, seen from above."""
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    wide, height, deep = high - low
    if not 0 < height <= 0.5 * min(wide, deep):
        return None
    columns = _columns(low, high)
    met, distance = Rays(mesh).cast(columns, np.tile(np.array([0, -1, 0], np.float32), (len(columns), 1)))
    tops = np.where(met >= 0, columns[:, 1] - distance, low[1] - height)
    floor = np.median(tops)
    bare = np.abs(tops - floor) < 0.03 * height
    if (met >= 0).mean() < 0.9 or bare.mean() < 0.5 or floor - low[1] > 0.25 * height:
        return None
    place = _between(columns[:, [0, 2]], tops > floor + 0.2 * height)
    return None if place is None else np.array([place[0], floor + EYE * (high[1] - floor), place[1]], np.float32)


def _between(columns: Floats, things: NDArray[np.bool_]) -> Floats | None:
    """float32 [2]: of the columns [N, 2] with elbow room the one nearest to the middle of all things [N]; None where
    they are fewer than two."""
    from scipy import ndimage

    grid = things.reshape(COLUMNS, COLUMNS)
    if ndimage.label(grid, np.ones((3, 3)))[1] < 2:
        return None
    step = columns[COLUMNS + 1] - columns[0]
    space = ndimage.distance_transform_edt(~grid, sampling=step).ravel()
    roomy = np.minimum(space, ELBOW_ROOM * COLUMNS * step.min())
    far = np.linalg.norm(columns - columns[things].mean(0), axis=1)
    place: Floats = columns[np.lexsort((far, -roomy))[0]]
    return place


def _columns(low: Floats, high: Floats) -> Floats:
    """float32 [COLUMNS², 3]: places above the mesh, z running fastest."""
    x, z = (low[axis] + (high[axis] - low[axis]) * (np.arange(COLUMNS) + 0.5) / COLUMNS for axis in (0, 2))
    across, along = (side.ravel() for side in np.meshgrid(x, z, indexing="ij"))
    return np.stack([across, np.full_like(across, high[1] + 0.1), along], axis=1).astype(np.float32)
