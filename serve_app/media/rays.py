"""Rays against triangles, with Embree (through ``embreex``, which needs no system library)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from serve_app.media.meshes import Mesh

Points = NDArray[np.float32]

CHUNK = 1 << 18
"""Rays that are cast at once."""


class Rays:
    """Casts rays at a mesh. Directions need not be of length 1; distances count in their lengths."""

    def __init__(self, mesh: Mesh) -> None:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        self._scene = EmbreeScene(robust=True)
        self._triangles = TriangleMesh(self._scene, mesh.vertices, mesh.faces)
        corners = mesh.vertices[mesh.faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        self.areas: NDArray[np.float32] = np.linalg.norm(normals, axis=1) / 2
        """float32 [F]."""
        self.normals: Points = normals / np.maximum(2 * self.areas, np.finfo(np.float32).tiny)[:, None]
        """float32 [F, 3], of the front sides; 0 where a triangle has no area."""

    def fronts(self, faces: NDArray[np.int32], directions: Points) -> NDArray[np.bool_]:
        """bool [N]: whether a ray in that direction meets the face, -1 for none, from its front."""
        return np.asarray(((self.normals[faces] * directions).sum(1) < 0) & (faces >= 0))

    def cast(self, origins: Points, directions: Points) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The first triangle that each ray of [N, 3] meets, -1 for none, and how far away it is, infinite for none."""
        faces = np.empty(len(origins), np.int32)
        distances = np.empty(len(origins), np.float32)
        for start in range(0, len(origins), CHUNK):
            part = slice(start, start + CHUNK)
            hits = self._scene.run(
                np.ascontiguousarray(origins[part], np.float32), np.ascontiguousarray(directions[part], np.float32),
                output=True,
            )  # fmt: skip
            faces[part] = hits["primID"]
            distances[part] = np.where(hits["primID"] >= 0, hits["tfar"], np.inf)
        return faces, distances
