"""Makes ``golden/renders.npz`` with PyTorch3D's own rasteriser and shader; needs ``pytorch3d``.

``python -m tests.golden_renders``. Each corner becomes a vertex of its own, which gives PyTorch3D the same normals,
colours and texture coordinates; its textures do not repeat, so they are tiled as often as the coordinates reach, and a
texel farther.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pytorch3d.renderer import (
    BlendParams,
    DirectionalLights,
    FoVPerspectiveCameras,
    HardPhongShader,
    Materials,
    MeshRasterizer,
    RasterizationSettings,
    TexturesUV,
    TexturesVertex,
    look_at_view_transform,
)
from pytorch3d.structures import Meshes

from serve_app.media.meshes import Mesh
from serve_app.media.rendering import Camera
from serve_app.media.shading import planes
from tests import renders
from tests.conftest import shared_place


def main() -> None:
    arrays: dict[str, NDArray[np.generic]] = {}
    made = {name: make() for name, make in renders.GENERATED.items()}
    real = {name: renders.of_shared(shared_place(), name) for name in renders.SHARED}
    for name, mesh in (made | real).items():
        pictures = [drawn(mesh, camera) for camera in renders.CAMERAS]
        file = BytesIO()
        Image.fromarray(np.concatenate([colour for colour, _ in pictures])).save(file, "WEBP", lossless=True, method=6)
        arrays[f"{name}.colour"] = np.frombuffer(file.getvalue(), np.uint8)
        arrays[f"{name}.depth"] = np.stack([depth[::2, ::2] for _, depth in pictures]).astype(np.float16)
        arrays[f"{name}.mask"] = np.packbits(np.isfinite([depth for _, depth in pictures]))
        print(name, len(mesh.faces), flush=True)
    renders.GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(renders.GOLDEN, **arrays)
    print(renders.GOLDEN.stat().st_size // 1024, "KiB")


def drawn(mesh: Mesh, camera: Camera) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Colour uint8 [S, S, 3] over white, a material at a time, and depth float32 [S, S]."""
    rotation, move = look_at_view_transform(eye=[camera.eye], at=[camera.target], up=[camera.up])
    seen_by = FoVPerspectiveCameras(R=rotation, T=move, fov=camera.field_deg)
    settings = RasterizationSettings(
        renders.SIZE, faces_per_pixel=1, cull_backfaces=renders.culled(mesh), perspective_correct=True
    )
    meshes = of_mesh(mesh)
    fragments = MeshRasterizer(seen_by, settings)(meshes)
    towards = np.array(camera.eye) - np.array(camera.target)
    lights = DirectionalLights(
        ambient_color=[[0.3] * 3],
        diffuse_color=[[0.7] * 3],
        specular_color=[[0.0] * 3],
        direction=torch.tensor(towards / np.linalg.norm(towards), dtype=torch.float32)[None],
    )
    shader = HardPhongShader(
        cameras=seen_by, lights=lights, materials=Materials(), blend_params=BlendParams(background_color=(1, 1, 1))
    )
    owner = torch.from_numpy(material_ids(mesh))[fragments.pix_to_face[0, ..., 0]]
    colour = torch.ones((renders.SIZE, renders.SIZE, 3))
    for number in range(len(mesh.materials)):
        meshes.textures = textures(mesh, number)
        mine = (owner == number) & (fragments.pix_to_face[0, ..., 0] >= 0)
        colour[mine] = shader(fragments, meshes)[0, ..., :3][mine]
    depth = fragments.zbuf[0, ..., 0].numpy()
    return (colour.clamp(0, 1) * 255).round().to(torch.uint8).numpy(), np.where(depth < 0, np.inf, depth)


def material_ids(mesh: Mesh) -> NDArray[np.int64]:
    return np.zeros(len(mesh.faces), np.int64) if mesh.face_materials is None else mesh.face_materials.astype(np.int64)


def of_mesh(mesh: Mesh) -> Meshes:
    count = len(mesh.faces)
    corners = torch.from_numpy(mesh.vertices[mesh.faces].reshape(-1, 3))
    faces = torch.arange(3 * count).view(-1, 3)
    normals = planes(mesh)[:, None, :3].repeat(3, axis=1) if mesh.normals is None else mesh.normals
    return Meshes([corners], [faces], verts_normals=[torch.from_numpy(normals.reshape(-1, 3).copy())])


def textures(mesh: Mesh, number: int) -> TexturesUV | TexturesVertex:
    """What the faces would look like if all had the material of that number."""
    material, count = mesh.materials[number], len(mesh.faces)
    tint = np.array(material.colour[:3], np.float32)
    if material.texture is None or mesh.uvs is None:
        colours = (
            np.ones((count, 3, 3), np.float32) if mesh.colours is None else mesh.colours[..., :3] / np.float32(255)
        )
        return TexturesVertex([torch.from_numpy((colours * tint).reshape(-1, 3))])
    mine = mesh.uvs[material_ids(mesh) == number]
    low = np.floor(mine.min(axis=(0, 1)))
    tiles = np.maximum(np.ceil(mine.max(axis=(0, 1)) - low), 1).astype(int)
    tinted = material.texture[..., :3] / np.float32(255) * tint
    tiled = np.pad(np.tile(tinted, (tiles[1], tiles[0], 1)), ((1, 1), (1, 1), (0, 0)), mode="wrap")
    extent = np.array(tiled.shape[1::-1])
    places = ((mesh.uvs - low) / tiles * (extent - 2) + 1) / extent
    faces = torch.arange(3 * count).view(-1, 3)
    corners = torch.from_numpy(places.reshape(-1, 2).astype(np.float32))
    return TexturesUV(torch.from_numpy(tiled)[None], [faces], [corners], align_corners=False)


if __name__ == "__main__":
    main()
