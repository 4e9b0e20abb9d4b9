"""Small mesh files of every format: trimesh's primitives, glTF and OBJ written by hand, and zips of them."""

from __future__ import annotations

import base64
import io
import json
import struct
import tempfile
import zipfile
from typing import Any

import numpy as np
import trimesh
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from serve_app.media.mesh_loading import LoadedMesh, Up, read_mesh
from serve_app.media.mesh_parts import MeshLimits
from serve_app.media.meshes import Mesh

Files = dict[str, bytes]
FORMATS = ("glb", "gltf", "obj", "ply", "off", "stl")
MEDIA_TYPES = {
    "glb": "model/gltf-binary",
    "gltf": "model/gltf+json",
    "obj": "model/obj",
    "ply": "model/ply",
    "off": "model/off",
    "stl": "model/stl",
}
_COMPONENTS = {np.dtype(np.uint8): 5121, np.dtype(np.uint16): 5123, np.dtype(np.uint32): 5125,
               np.dtype(np.float32): 5126}  # fmt: skip
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}


def solid(kind: str, **sizes: Any) -> trimesh.Trimesh:
    """A closed solid about the origin: box, sphere, cylinder, cone, torus or pyramid, its axis along Y."""
    if kind == "pyramid":
        corners = [(-1, 0, -1), (1, 0, -1), (1, 0, 1), (-1, 0, 1), (0, 1.5, 0)]
        faces = [(0, 1, 2), (0, 2, 3), (1, 0, 4), (2, 1, 4), (3, 2, 4), (0, 3, 4)]
        return trimesh.Trimesh(corners, faces, process=False)
    defaults: dict[str, dict[str, Any]] = {
        "box": {"extents": (1, 1, 1)},
        "sphere": {"subdivisions": 3},
        "cylinder": {"radius": 0.5, "height": 1.5},
        "cone": {"radius": 0.7, "height": 1.5},
        "torus": {"major_radius": 1.0, "minor_radius": 0.35},
    }
    make = trimesh.creation.icosphere if kind == "sphere" else getattr(trimesh.creation, kind)
    mesh: trimesh.Trimesh = make(**{**defaults[kind], **sizes})
    if kind not in ("box", "sphere"):
        mesh.apply_transform(trimesh.transformations.rotation_matrix(-np.pi / 2, (1, 0, 0)))
    return mesh


def room(width: float = 5.0, height: float = 2.6, depth: float = 4.0, ceiling: bool = True) -> trimesh.Trimesh:
    """An empty room of single walls that face inwards, its floor at y = 0."""
    mesh = trimesh.creation.box((width, height, depth))
    mesh.apply_translation((0, height / 2, 0))
    mesh.invert()
    if not ceiling:
        mesh.update_faces(~(mesh.vertices[mesh.faces][:, :, 1] > height - 1e-6).all(axis=1))
    return mesh


def file(mesh: trimesh.Trimesh | trimesh.Scene, kind: str) -> bytes:
    """``mesh`` as one file; ``kind`` is one of FORMATS (gltf with data: URIs), or stl_ascii or ply_ascii."""
    if kind == "gltf":
        parts = trimesh.Scene(mesh).export(file_type="gltf")
        return embedded(parts)
    if kind == "ply_ascii":
        return bytes(trimesh.exchange.ply.export_ply(mesh, encoding="ascii"))
    data = mesh.export(file_type=kind)
    return data.encode() if isinstance(data, str) else bytes(data)


def embedded(parts: Files) -> bytes:
    """The files of a glTF as one, its buffers and images as data: URIs."""
    tree = json.loads(parts["model.gltf"])
    for item in tree.get("buffers", []) + tree.get("images", []):
        if "uri" in item:
            item["uri"] = data_uri(parts[item["uri"]])
    return json.dumps(tree).encode()


def data_uri(data: bytes, media_type: str = "application/octet-stream") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def zipped(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target.getvalue()


def png(pixels: ArrayLike) -> bytes:
    """A picture [H, W], [H, W, 3] or [H, W, 4] of uint8 as PNG."""
    target = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(target, "png")
    return target.getvalue()


def quarters() -> NDArray[np.uint8]:
    """A texture of 2 x 2 pixels: red, green above; blue, white below."""
    return np.array([[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 255)]], np.uint8)


def obj_files(texture: NDArray[np.uint8] | None = None, mtl: str = "Kd 1 1 1") -> Files:
    """A square in the plane z = 0 as OBJ, with its MTL and texture: uv (0, 0) at the lower left, (1, 1) upper right."""
    pixels = quarters() if texture is None else texture
    text = (
        "mtllib square.mtl\nv -1 -1 0\nv 1 -1 0\nv 1 1 0\nv -1 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
        "usemtl paint\nf 1/1 2/2 3/3 4/4\n"
    )
    return {
        "square.obj": text.encode(),
        "square.mtl": f"newmtl paint\n{mtl}\nmap_Kd square.png\n".encode(),
        "square.png": png(pixels),
    }


class Gltf:
    """A glTF 2.0 tree and its one buffer, put together by hand::

    gltf = Gltf()
    gltf.add_mesh({"POSITION": points}, indices=[0, 1, 2], material={"doubleSided": True})
    data = gltf.glb()
    """

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": []}], "nodes": []}
        self.binary = b""

    def add(self, where: str, item: dict[str, Any]) -> int:
        """Appends to a list of the tree; returns the index."""
        items = self.tree.setdefault(where, [])
        items.append(item)
        return len(items) - 1

    def add_bytes(self, data: bytes) -> int:
        """A buffer view of ``data``."""
        offset = len(self.binary)
        self.binary += data + bytes(-len(data) % 4)
        return self.add("bufferViews", {"buffer": 0, "byteOffset": offset, "byteLength": len(data)})

    def add_array(self, values: ArrayLike, dtype: Any = np.float32, normalized: bool = False) -> int:
        """An accessor of ``values`` [N] or [N, K]."""
        array = np.ascontiguousarray(values, dtype)
        item: dict[str, Any] = {
            "bufferView": self.add_bytes(array.tobytes()),
            "componentType": _COMPONENTS[array.dtype],
            "count": len(array),
            "type": _TYPES[1 if array.ndim == 1 else array.shape[1]],
        }
        if normalized:
            item["normalized"] = True
        return self.add("accessors", item)

    def add_texture(self, pixels: ArrayLike, sampler: dict[str, Any] | None = None) -> int:
        image = self.add("images", {"bufferView": self.add_bytes(png(pixels)), "mimeType": "image/png"})
        item = {"source": image}
        if sampler:
            item["sampler"] = self.add("samplers", sampler)
        return self.add("textures", item)

    def add_mesh(
        self, attributes: dict[str, ArrayLike], indices: ArrayLike | None = None,
        material: dict[str, Any] | None = None, mode: int = 4, **node: Any,
    ) -> int:  # fmt: skip
        """A mesh of one primitive, and a node of the scene with it; returns the mesh's index."""
        primitive: dict[str, Any] = {
            "attributes": {name: self.add_array(values) for name, values in attributes.items()},
            "mode": mode,
        }
        if indices is not None:
            primitive["indices"] = self.add_array(indices, np.uint32)
        if material is not None:
            primitive["material"] = self.add("materials", material)
        mesh = self.add("meshes", {"primitives": [primitive]})
        self.add_node(mesh=mesh, **node)
        return mesh

    def add_node(self, **node: Any) -> int:
        """A node at the root of the scene."""
        index = self.add("nodes", node)
        self.tree["scenes"][0]["nodes"].append(index)
        return index

    def glb(self) -> bytes:
        tree = {**self.tree, "buffers": [{"byteLength": len(self.binary)}]} if self.binary else self.tree
        return glb(tree, self.binary)

    def gltf(self, uri: str | None = None) -> bytes:
        """The JSON alone: its buffer at ``uri``, or within it."""
        buffer = {"byteLength": len(self.binary), "uri": uri or data_uri(self.binary)}
        return json.dumps({**self.tree, "buffers": [buffer]}).encode()


def glb(tree: dict[str, Any], binary: bytes = b"") -> bytes:
    """A binary glTF (specification 2.0, section 4.4)."""
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    binary += bytes(-len(binary) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text
    if binary:
        body += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


def read(data: bytes, up: Up | None = None, limits: MeshLimits | None = None) -> LoadedMesh:
    """What the service reads from an upload of ``data``, without the child process that it would run in."""
    with tempfile.NamedTemporaryFile() as upload:
        upload.write(data)
        upload.flush()
        return read_mesh(upload.name, limits or MeshLimits(), up)


def painted(mesh: Mesh) -> dict[tuple[int, ...], tuple[int, ...]]:
    """What colour (RGB) the texture of ``mesh`` has just inside each of its corners, by the signs of their x, y, z."""
    assert mesh.uvs is not None
    seen = {}
    for number, (face, uvs) in enumerate(zip(mesh.faces, mesh.uvs, strict=True)):
        which = 0 if mesh.face_materials is None else mesh.face_materials[number]
        texture = mesh.materials[which].texture
        assert texture is not None
        height, width = texture.shape[:2]
        for vertex, (u, v) in zip(face, uvs + 0.01 * (uvs.mean(axis=0) - uvs), strict=True):
            place = tuple(int(value) for value in np.sign(np.round(mesh.vertices[vertex], 6)))
            texel = texture[int((1 - v) % 1 * height), int(u % 1 * width), :3]
            seen[place] = tuple(int(value) for value in texel)
    return seen


def volume(mesh: Mesh) -> float:
    """Enclosed by a closed surface, negative where its triangles face inwards (divergence theorem)."""
    a, b, c = (mesh.vertices[mesh.faces[:, corner]].astype(np.float64) for corner in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)
