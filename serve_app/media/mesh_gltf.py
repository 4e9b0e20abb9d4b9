"""glTF 2.0, binary or JSON: the nodes of its scene, what they place, and in which pose."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.media.gltf_buffers import Buffers, Tree, numbers, parse_tree, split_glb
from serve_app.media.gltf_materials import Paint, Paints, srgb
from serve_app.media.gltf_skins import posed
from serve_app.media.mesh_parts import (
    Cloud,
    Companions,
    Doubles,
    Instance,
    MeshLimits,
    Model,
    Surface,
    broken,
    check_bodies,
    check_count,
    colour_bytes,
)
from serve_app.media.mesh_textures import Textures
from serve_app.media.meshes import Bytes

_POINTS, _TRIANGLES, _STRIP, _FAN = 0, 4, 5, 6
_COMPRESSED = {
    "KHR_draco_mesh_compression": "Draco",
    "EXT_meshopt_compression": "meshopt",
    "KHR_meshopt_compression": "meshopt",
}
_READ = {
    "KHR_mesh_quantization", "KHR_texture_transform", "EXT_texture_webp", "KHR_materials_pbrSpecularGlossiness",
    "KHR_lights_punctual",
}  # fmt: skip


def read_glb(data: bytes, files: Companions, limits: MeshLimits) -> Model:
    """A binary glTF."""
    text, binary = split_glb(data)
    return _Scene(Buffers(parse_tree(text), binary, files), limits).model()


def read_gltf(data: bytes, files: Companions, limits: MeshLimits) -> Model:
    """A glTF as JSON, with buffers and pictures inside it or beside it."""
    return _Scene(Buffers(parse_tree(data), None, files), limits).model()


class _Scene:
    """The scene that a glTF shows first; meshes, materials and arrays that it uses often are read once."""

    def __init__(self, buffers: Buffers, limits: MeshLimits) -> None:
        _check_extensions(buffers.tree)
        self._buffers = buffers
        self._limits = limits
        self._textures = Textures(len(buffers.items("images")), limits)
        self._paints = Paints(buffers, self._textures)
        self._meshes: dict[int, list[tuple[Surface | Cloud, Tree]]] = {}
        self._shown: dict[int, Bytes | None] = {}
        self._triangles = 0

    def model(self) -> Model:
        """Raises ``Problem`` where anything that the scene uses is broken."""
        instances: list[Instance] = []
        bodies = 0
        worlds = self._worlds()
        for index, world in worlds.items():
            node = self._buffers.item("nodes", index)
            if "mesh" not in node:
                continue
            bodies += 1
            for part, attributes in self._parts(node["mesh"]):
                if "skin" in node and isinstance(part, Surface):
                    skin = self._buffers.item("skins", node["skin"])
                    instances.append(Instance(posed(part, attributes, skin, self._buffers, worlds)))
                else:
                    instances.append(Instance(part, world))
            check_bodies(len(instances), self._limits)
        return Model(tuple(instances), bodies, tuple(self._textures.notes))

    def _worlds(self) -> dict[int, Doubles]:
        """The nodes of the scene, and what takes each to the world: float64 [4, 4]."""
        nodes = self._buffers.items("nodes")
        children = {child for index in range(len(nodes)) for child in _children(self._buffers.item("nodes", index))}
        roots: list[Any] = list(range(len(nodes)))
        if self._buffers.items("scenes"):
            roots = self._buffers.item("scenes", self._buffers.tree.get("scene", 0)).get("nodes", [])
        tops = [root for root in roots if root not in children]
        if roots and not tops:
            raise broken("gltf", "has nodes that contain themselves")
        worlds: dict[int, Doubles] = {}
        waiting: list[tuple[Any, Doubles]] = [(top, np.eye(4)) for top in reversed(tops)]
        while waiting:
            index, above = waiting.pop()
            node = self._buffers.item("nodes", index)
            if index in worlds:
                raise broken("gltf", f"reaches nodes[{index}] twice: its nodes are no tree")
            worlds[index] = above @ _local(node)
            waiting.extend((child, worlds[index]) for child in reversed(_children(node)))
        return worlds

    def _parts(self, index: Any) -> list[tuple[Surface | Cloud, Tree]]:
        """The primitives of a mesh that can be drawn, read once, and their attributes."""
        mesh = self._buffers.item("meshes", index)
        if index not in self._meshes:
            primitives = mesh.get("primitives")
            if not isinstance(primitives, list) or not all(isinstance(one, dict) for one in primitives):
                raise broken("gltf", f"has meshes[{index}] without primitives")
            parts = [(self._part(primitive), primitive.get("attributes")) for primitive in primitives]
            self._meshes[index] = [(part, attributes) for part, attributes in parts if part is not None]
        return self._meshes[index]

    def _part(self, primitive: Tree) -> Surface | Cloud | None:
        attributes = primitive.get("attributes")
        if not isinstance(attributes, dict) or "POSITION" not in attributes:
            return None
        if "bufferView" not in self._buffers.item("accessors", attributes["POSITION"]):
            _check_compression(primitive.get("extensions"))
        vertices = self._values(attributes["POSITION"], (3,))
        colours = self._colours(attributes["COLOR_0"], len(vertices)) if "COLOR_0" in attributes else None
        mode = primitive.get("mode", _TRIANGLES)
        if mode == _POINTS:
            return Cloud(vertices, colours)
        if mode not in (_TRIANGLES, _STRIP, _FAN):
            self._textures.note("lines are not drawn")
            return None
        faces = self._faces(primitive, len(vertices), mode)
        paint = self._paints.paint(primitive.get("material"))
        return Surface(
            vertices, faces,
            self._values(attributes["NORMAL"], (3,), len(vertices))[faces] if "NORMAL" in attributes else None,
            self._uvs(attributes, paint, faces, len(vertices)),
            None if colours is None else colours[faces],
            paint.material,
        )  # fmt: skip

    def _values(self, index: Any, widths: tuple[int, ...], count: int | None = None) -> Doubles:
        values = self._buffers.array(index)
        if values.shape[1] not in widths or (count is not None and len(values) != count):
            raise broken("gltf", f"has an attribute of {values.shape[1]} x {len(values):,} numbers that does not fit")
        return np.asarray(values, np.float64)

    def _colours(self, index: Any, count: int) -> Bytes | None:
        """Bytes of an array of linear colours, which many primitives may share."""
        if index not in self._shown:
            linear = self._values(index, (3, 4), count)
            self._shown[index] = colour_bytes(np.concatenate([srgb(linear[:, :3]), linear[:, 3:]], axis=1), count, 1.0)
        return self._shown[index]

    def _faces(self, primitive: Tree, vertices: int, mode: int) -> NDArray[np.int64]:
        if "indices" in primitive:
            corners = self._buffers.array(primitive["indices"])[:, 0]
            if corners.dtype.kind != "i":
                raise broken("gltf", "has indices that are not whole numbers")
        else:
            corners = np.arange(vertices)
        if len(corners) and not corners.max() < vertices:
            raise broken("gltf", f"has an index {corners.max():,} where there are {vertices:,} vertices")
        if mode == _TRIANGLES:
            faces = corners[: len(corners) // 3 * 3].reshape(-1, 3)
        else:
            first, second = np.arange(max(len(corners) - 2, 0)), np.arange(max(len(corners) - 2, 0)) + 1
            if mode == _STRIP:
                odd = first % 2
                faces = np.stack([corners[first + odd], corners[second - odd], corners[first + 2]], axis=1)
            else:
                faces = np.stack([corners[second], corners[second + 1], corners[np.zeros_like(first)]], axis=1)
        self._triangles += len(faces)
        check_count(self._triangles, self._limits)
        return faces

    def _uvs(self, attributes: Tree, paint: Paint, faces: NDArray[np.int64], count: int) -> Doubles | None:
        """Texture coordinates at the corners, v upwards."""
        name = f"TEXCOORD_{paint.texcoord}"
        if paint.material.texture is None or name not in attributes:
            return None
        uvs = self._values(attributes[name], (2,), count)
        if paint.transform is not None:
            uvs = uvs @ paint.transform[:2, :2].T + paint.transform[:2, 2]
        return np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=1)[faces]


def _check_extensions(tree: Tree) -> None:
    required = tree.get("extensionsRequired", [])
    required = required if isinstance(required, list) else []
    _check_compression(required)
    for name in required:
        if name not in _READ and not str(name).startswith("KHR_materials_"):
            raise broken("gltf", f"needs the extension {str(name)[:60]}, which is not read here")


def _check_compression(names: object) -> None:
    found = [method for name, method in _COMPRESSED.items() if isinstance(names, dict | list) and name in names]
    if found:
        raise broken("gltf", f"is compressed by {found[0]}, which is not read here: save it without compression")


def _children(node: Tree) -> list[int]:
    children = node.get("children", [])
    if not isinstance(children, list) or not all(isinstance(child, int) for child in children):
        raise broken("gltf", "has a node whose children are no list of numbers")
    return children


def _local(node: Tree) -> Doubles:
    """float64 [4, 4]: a node's own transform."""
    if "matrix" in node:
        return np.array(numbers(node["matrix"], 16, ())).reshape(4, 4).T
    x, y, z, w = numbers(node.get("rotation"), 4, (0, 0, 0, 1))
    length = max((x * x + y * y + z * z + w * w) ** 0.5, 1e-12)
    x, y, z, w = x / length, y / length, z / length, w / length
    out = np.eye(4)
    out[:3, :3] = [
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    ]
    out[:3, :3] *= numbers(node.get("scale"), 3, (1, 1, 1))
    out[:3, 3] = numbers(node.get("translation"), 3, (0, 0, 0))
    return out
