"""Every real mesh loads, alone and with its companions in a zip, and every broken one is a clear answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from serve_app.errors import Problem
from serve_app.media.mesh_loading import FORMATS, LoadedMesh
from tests import meshes

ENDINGS = {f".{form}" for form in FORMATS.values()}
DRAWN = {"busted.STL": 3878, "soup.stl": 100, "nancolor.obj": 12, "malformed2.obj": 10, "notenoughindices.obj": 1}
"""Broken files that have triangles all the same: a surface with gaps, loose triangles, a colour that is no number, a
face without corners, a face with two."""
REASONS = {
    "OutOfMemory.off": "declares 353,535,235,358 vertices",
    "invalid.off": "a face of 2 corners",
    "face_in_group_name.obj": "single point",
    "malformed.obj": "out of bounds",
    "recursive_nodes.gltf": "contain themselves",
    "empty_nodes.glb": "nothing to draw",
    "empty.ply": "0 bytes",
    "empty.stl": "no facets",
    "missing_bin/BoxTextured.gltf": "lacks its buffer",
    "missing_files_obj/model.obj": "without area",
}


def files(place: Path) -> list[Path]:
    return sorted(path for path in place.rglob("*") if path.suffix.lower() in ENDINGS)


def loaded(path: Path, root: Path) -> LoadedMesh:
    """A file of a folder of its own as the zip that a person would send."""
    if path.parent == root:
        return meshes.read(path.read_bytes())
    return meshes.read(meshes.zipped({str(one.relative_to(root)): one.read_bytes() for one in path.parent.iterdir()}))


def test_every_real_mesh_is_the_one_that_trimesh_sees(shared: Path) -> None:
    """Its triangles and extents; trimesh's own reader of glTF is not used by the code under test."""
    root = shared / "media" / "3d"
    textured, noted = set(), set()
    for path in files(root):
        facts = loaded(path, root).facts
        scene = trimesh.load_scene(path, process=False)
        solids = [solid for solid in scene.dump() if isinstance(solid, trimesh.Trimesh)]
        count = sum(int((solid.area_faces > 0).sum()) for solid in solids)
        assert facts.triangles == pytest.approx(facts.points * 8 if facts.points else count, rel=0.002), path.name
        if not facts.points:
            x, y, z = scene.extents
            assert facts.size == pytest.approx((x, z, y) if facts.format == "stl" else (x, y, z), rel=1e-5), path.name
        textured |= {path.name} if facts.textured else set()
        noted |= {path.name} if facts.notes else set()
    assert textured == {
        "BoxTextured.glb", "BoxTextured.gltf", "CesiumMilkTruck.glb", "chair.glb", "cow.obj", "fuze.obj",
        "kitchen_counter.glb", "simple_room.glb", "spider.obj",
    }  # fmt: skip
    assert noted == {"chair_model.obj"}  # its material file is not there


def test_real_meshes_stand_as_they_do_in_viewers(shared: Path) -> None:
    """The extents, Y up, of things whose posture is known: a truck is longer than high, a cow longer than wide."""
    root = shared / "media" / "3d"
    truck = meshes.read((root / "CesiumMilkTruck.glb").read_bytes()).facts.size
    assert truck == pytest.approx((4.87, 2.58, 2.79), abs=0.01)
    chair = meshes.read((root / "chair.glb").read_bytes()).facts.size
    assert chair[1] > max(chair[0], chair[2])
    teapot = meshes.read((root / "teapot.stl").read_bytes()).facts.size
    assert teapot[0] > teapot[2] > teapot[1]


def test_every_broken_mesh_is_refused_clearly_or_drawn(shared: Path) -> None:
    root = shared / "media" / "broken"
    seen = set()
    for path in files(root):
        name = str(path.relative_to(root))
        seen.add(name)
        if name in DRAWN:
            mesh = meshes.read(path.read_bytes()).mesh
            assert len(mesh.faces) == DRAWN[name], name
            assert np.isfinite(mesh.vertices).all()
            continue
        with pytest.raises(Problem, match=REASONS[name]) as caught:
            meshes.read(path.read_bytes())
        assert caught.value.code == "undecodable_media", name
    assert seen == DRAWN.keys() | REASONS.keys()
