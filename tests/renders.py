"""The meshes and cameras that renderers are compared on, and PyTorch3D's own pictures of them.

The reference pictures come from PyTorch3D 0.7.9's rasteriser and stock Phong shader (`python -m tests.golden_renders`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image

from serve_app.media import cameras
from serve_app.media.mesh_loading import read_mesh
from serve_app.media.mesh_parts import MeshLimits
from serve_app.media.meshes import Material, Mesh
from serve_app.media.rendering import Camera, Style
from serve_app.media.shading import Lighting
from tests import meshes

GOLDEN = Path(__file__).parent / "golden" / "renders.npz"
SIZE = 128
CAMERAS: tuple[Camera, ...] = (
    *cameras.ring(azimuths_deg=(35.0,), elevation_deg=20.0),
    *cameras.ring(azimuths_deg=(250.0,), elevation_deg=-10.0, field_deg=50.0),
)
LIGHTING = Lighting(lights=(((0.0, 0.0, 1.0), 0.7),), ambient=0.3)
"""One light at the camera: what PyTorch3D's stock shader can do as well."""
SHARED = {
    "truck": "CesiumMilkTruck.glb",
    "logo-box": "BoxTextured.glb",
    "chair": "chair.glb",
    "counter": "kitchen_counter.glb",
    "room": "simple_room.glb",
    "coloured-cube": "cubevc.glb",
    "building": "no_indices_3storybuilding.glb",
    "bunny": "bunny.ply",
    "teapot": "teapot.obj",
    "cow": "cow_mesh/cow.obj",
    "bottle": "fuze/fuze.obj",
    "rabbit": "rabbit/rabbit.obj",
    "spider": "spider/spider.obj",
    "ball": "unit_sphere.STL",
}


@dataclass(frozen=True)
class Golden:
    """PyTorch3D's pictures of one mesh, one a camera."""

    colour: NDArray[np.uint8]
    depth: NDArray[np.float16]
    """Of every second pixel, to keep the file small; infinite where there is nothing."""
    mask: NDArray[np.bool_]


def golden(name: str) -> Golden:
    with np.load(GOLDEN) as file:
        mask = np.unpackbits(file[f"{name}.mask"]).astype(np.bool_).reshape(-1, SIZE, SIZE)
        colour = np.asarray(Image.open(BytesIO(file[f"{name}.colour"].tobytes()))).reshape(-1, SIZE, SIZE, 3)
        return Golden(colour, file[f"{name}.depth"], mask)


def style(mesh: Mesh) -> Style:
    return Style(size=SIZE, cull_back_faces=culled(mesh))


def culled(mesh: Mesh) -> bool:
    return not any(material.double_sided for material in mesh.materials)


def of_shared(shared: Path, name: str) -> Mesh:
    """A real mesh with the files beside it, loaded as the service does."""
    path = shared / "media" / "3d" / SHARED[name]
    if path.parent.name == "3d":
        return read_mesh(str(path), MeshLimits()).mesh
    with NamedTemporaryFile(suffix=".zip") as file:
        file.write(meshes.zipped({beside.name: beside.read_bytes() for beside in path.parent.iterdir()}))
        file.flush()
        return read_mesh(file.name, MeshLimits()).mesh


def of_trimesh(made: trimesh.Trimesh, smooth: bool = True) -> Mesh:
    """Normalised; coloured by place, so that a mirrored or turned picture is another one."""
    points = made.vertices - made.bounds.mean(axis=0)
    points = (points / np.linalg.norm(points, axis=1).max()).astype(np.float32)
    faces = np.ascontiguousarray(made.faces, np.int32)
    normals = np.ascontiguousarray(made.vertex_normals[faces], np.float32) if smooth else None
    colours = np.full((len(faces), 3, 4), 255, np.uint8)
    colours[..., :3] = np.clip(128 + 127 * points[faces], 0, 255)
    return Mesh(points, faces, normals, colours=colours)


def papered(repeats: float) -> Mesh:
    """A box whose every side shows a picture of 5 x 3 texels ``repeats`` times along each axis, from place -0.25."""
    box = trimesh.creation.box((1.2, 1.0, 0.8))
    soup = box.vertices[box.faces].astype(np.float32)
    axes = np.array([np.argsort(np.abs(normal))[:2] for normal in box.face_normals])
    flat = np.take_along_axis(soup, axes[:, None, :].repeat(3, axis=1), axis=2)
    uvs = ((flat - flat.min(axis=(0, 1))) * repeats - (0.25 if repeats != 1 else 0.0)).astype(np.float32)
    texture = np.random.default_rng(5).integers(0, 256, (3, 5, 4), dtype=np.uint8)
    texture[..., 3] = 255
    mesh = of_trimesh(box, smooth=False)
    return replace(mesh, uvs=uvs, colours=None, materials=(Material((0.9, 0.8, 1.0, 1.0), texture),))


GENERATED: dict[str, Callable[[], Mesh]] = {
    "sphere": lambda: of_trimesh(meshes.solid("sphere")),
    "torus": lambda: of_trimesh(meshes.solid("torus")),
    "cone": lambda: of_trimesh(meshes.solid("cone"), smooth=False),
    "papered": lambda: papered(0.8),
    "repeated": lambda: papered(3.0),
}
