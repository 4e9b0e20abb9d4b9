"""STL, parsed by trimesh."""

from __future__ import annotations

import io

import numpy as np

from serve_app.media.mesh_normals import places
from serve_app.media.mesh_parts import Companions, Instance, MeshLimits, Model, Surface, broken, check_count


def read_stl(data: bytes, files: Companions, limits: MeshLimits) -> Model:
    """Binary or ASCII STL; its soup of triangles is joined where corners are at one place."""
    from trimesh.exchange.stl import load_stl

    facets = (len(data) - 84) // 50 if b"\0" in data[:1024] else data.count(b"endfacet")
    check_count(facets, limits)
    parsed = load_stl(io.BytesIO(data))
    solids = list(parsed.get("geometry", {"": parsed}).values()) if parsed else []
    if not solids:
        raise broken("stl", "has no facets")
    if sum(len(solid["faces"]) for solid in solids) < facets:
        raise broken("stl", f"has {facets:,} facets, not all of which can be read")
    vertices = np.concatenate([np.asarray(solid["vertices"], np.float64) for solid in solids])
    first, place = places(vertices)
    return Model((Instance(Surface(vertices[first], place.reshape(-1, 3))),), bodies=len(solids))
