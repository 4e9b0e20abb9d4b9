"""What trimesh's readers give, arguments for its constructors, as surfaces and clouds."""

from __future__ import annotations

from typing import Any

import numpy as np

from serve_app.errors import Problem
from serve_app.media.mesh_parts import Cloud, Surface, colour_bytes, fan
from serve_app.media.meshes import Material


def part_of(parsed: dict[str, Any], material: Material | None = None) -> Surface | Cloud:
    """A surface or a cloud out of the arguments for trimesh's constructors."""
    vertices = np.asarray(parsed["vertices"], np.float64).reshape(-1, 3)
    by_vertex = colour_bytes(parsed.get("vertex_colors"), len(vertices))
    if len(parsed.get("faces", ())) == 0:
        return Cloud(vertices, by_vertex)
    faces = np.asarray(parsed["faces"], np.int64)
    by_face = colour_bytes(parsed.get("face_colors"), len(faces))
    if by_face is not None:
        by_face = np.repeat(by_face, faces.shape[1] - 2, axis=0)
    faces = fan(faces)
    normals, uvs = parsed.get("vertex_normals"), getattr(parsed.get("visual"), "uv", None)
    colours = None if by_face is None else np.repeat(by_face[:, None], 3, axis=1)
    if not len(faces) or not 0 <= faces.min() <= faces.max() < len(vertices):
        raise Problem("undecodable_media", f"a face names a vertex that does not exist; there are {len(vertices):,}")
    if by_vertex is not None:
        colours = by_vertex[faces]
    return Surface(
        vertices, faces,
        None if normals is None or len(normals) != len(vertices) else np.asarray(normals, np.float64)[faces],
        None if uvs is None or len(uvs) != len(vertices) else np.asarray(uvs, np.float64)[faces],
        colours, material or Material(),
    )  # fmt: skip
