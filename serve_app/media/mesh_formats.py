"""STL, OFF and PLY, parsed by trimesh once their headers are known not to promise more than the file holds."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from serve_app.errors import Problem
from serve_app.media.mesh_normals import places
from serve_app.media.mesh_parts import Cloud, Instance, MeshLimits, Model, Surface, broken, colour_bytes
from serve_app.media.meshes import Material

Companions = Callable[[str], bytes | None]
"""The file that a mesh names by a relative path, out of its own upload; None where it has none."""


def read_stl(data: bytes, files: Companions, limits: MeshLimits) -> Model:
    """Binary or ASCII STL; its soup of triangles is joined where corners are at one place."""
    from trimesh.exchange.stl import load_stl

    facets = (len(data) - 84) // 50 if b"\0" in data[:1024] else data.count(b"endfacet")
    check_count(facets, limits)
    parsed = load_stl(io.BytesIO(data))
    solids = list(parsed.get("geometry", {"": parsed}).values()) if parsed else []
    if not solids:
        raise broken("stl", "has no facets")
    vertices = np.concatenate([np.asarray(solid["vertices"], np.float64) for solid in solids])
    first, place = places(vertices)
    return Model((Instance(Surface(vertices[first], place.reshape(-1, 3))),), bodies=len(solids))


def read_off(data: bytes, files: Companions, limits: MeshLimits) -> Model:
    """ASCII OFF, COFF and NOFF."""
    from trimesh.exchange.off import load_off

    words = re.sub(rb"#[^\n]*", b"", data[:4096]).split(maxsplit=3)
    if words[0] not in (b"OFF", b"COFF", b"NOFF"):
        raise broken("off", f"is of a kind that is not read here: {words[0][:20].decode('ascii', 'replace')}")
    counts = [int(word) for word in words[1:3] if word.isdigit()]
    if len(counts) < 2:
        raise broken("off", "has no counts of vertices and faces" if b"BINARY" not in words else "is binary")
    if sum(counts) > len(data):
        raise broken("off", f"declares {counts[0]:,} vertices and {counts[1]:,} faces, more than it can hold")
    check_count(counts[1], limits)
    parsed = load_off(io.BytesIO(data))
    return Model((Instance(part_of(parsed)),))


def read_ply(data: bytes, files: Companions, limits: MeshLimits) -> Model:
    """ASCII and binary PLY: surfaces with colours, normals and a texture, or clouds of points."""
    from trimesh.exchange.ply import load_ply

    end = data.find(b"end_header", 0, 1 << 16)
    if end < 0:
        raise broken("ply", "has no end of its header")
    counts = {name: int(count) for name, count in re.findall(rb"element[ \t]+(\S+)[ \t]+(\d+)", data[:end])}
    if sum(counts.values()) > len(data) - end:
        listed = ", ".join(f"{count:,} of {name.decode('ascii', 'replace')}" for name, count in counts.items())
        raise broken("ply", f"declares more elements than it can hold: {listed}")
    check_count(counts.get(b"face", 0), limits)
    parsed = load_ply(io.BytesIO(data), resolver=None, skip_materials=True)
    if "vertices" not in parsed:
        raise broken("ply", "has no vertices")
    return Model((Instance(part_of(parsed)),))


def check_count(triangles: int, limits: MeshLimits) -> None:
    """Raises ``too_large`` before so many are parsed."""
    if triangles > limits.max_triangles:
        text = f"{triangles:,} triangles are more than the {limits.max_triangles:,} that are drawn"
        raise Problem("too_large", text, "simplify the mesh")


def part_of(parsed: dict[str, Any], material: Material | None = None) -> Surface | Cloud:
    """A surface or a cloud out of the arguments for trimesh's constructors."""
    vertices = np.asarray(parsed["vertices"], np.float64).reshape(-1, 3)
    by_vertex = colour_bytes(parsed.get("vertex_colors"), len(vertices))
    if len(parsed.get("faces", ())) == 0:
        return Cloud(vertices, by_vertex)
    faces = np.asarray(parsed["faces"], np.int64)
    if faces.shape[1] == 4:
        faces = faces[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
    normals, uvs = parsed.get("vertex_normals"), getattr(parsed.get("visual"), "uv", None)
    by_face = colour_bytes(parsed.get("face_colors"), len(faces))
    colours = None if by_face is None else np.repeat(by_face[:, None], 3, axis=1)
    if by_vertex is not None:
        colours = by_vertex[faces]
    return Surface(
        vertices, faces,
        None if normals is None or len(normals) != len(vertices) else np.asarray(normals, np.float64)[faces],
        None if uvs is None or len(uvs) != len(vertices) else np.asarray(uvs, np.float64)[faces],
        colours, material or Material(),
    )  # fmt: skip
