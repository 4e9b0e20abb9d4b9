"""The materials of a glTF as they are drawn: base colour, its texture, and how its alpha is taken."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.media.gltf_buffers import Buffers, Tree, numbers
from serve_app.media.mesh_parts import Doubles
from serve_app.media.mesh_textures import Textures
from serve_app.media.meshes import Material

_ALPHA = {"OPAQUE": "opaque", "MASK": "mask", "BLEND": "blend"}
_GLOSSY = "KHR_materials_pbrSpecularGlossiness"
_TRANSFORM = "KHR_texture_transform"


@dataclass(frozen=True)
class Paint:
    """A material, which set of texture coordinates it uses, and what turns them into those of the texture."""

    material: Material
    texcoord: int = 0
    transform: Doubles | None = None
    """float64 [3, 3], glTF's uv as columns; None is the identity."""


def srgb(linear: NDArray[Any]) -> Doubles:
    """Display values 0 to 1 of linear light 0 to 1 (IEC 61966-2-1)."""
    light = np.clip(np.asarray(linear, np.float64), 0, 1)
    values: Doubles = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.power(light, 1 / 2.4) - 0.055)
    return values


class Paints:
    """The materials of a tree, each read once."""

    def __init__(self, buffers: Buffers, textures: Textures) -> None:
        self._buffers = buffers
        self._textures = textures
        self._paints: dict[int, Paint] = {}

    def paint(self, index: object) -> Paint:
        """The material at ``index``; the standard's default, white and seen from both sides here, for None."""
        if index is None:
            return Paint(Material())
        item = self._buffers.item("materials", index)
        assert isinstance(index, int)
        if index not in self._paints:
            self._paints[index] = self._read(item)
        return self._paints[index]

    def _read(self, item: Tree) -> Paint:
        rough, glossy = _object(item, "pbrMetallicRoughness"), _object(_object(item, "extensions"), _GLOSSY)
        if glossy and not rough:
            factor, reference = glossy.get("diffuseFactor"), _object(glossy, "diffuseTexture")
        else:
            factor, reference = rough.get("baseColorFactor"), _object(rough, "baseColorTexture")
        red, green, blue, alpha = numbers(factor, 4, (1.0, 1.0, 1.0, 1.0))
        shown = srgb(np.array([red, green, blue])).round(6).tolist()
        (cutoff,) = numbers([item.get("alphaCutoff", 0.5)], 1, ())
        material = Material(
            colour=(shown[0], shown[1], shown[2], min(max(alpha, 0.0), 1.0)),
            texture=self._texture(reference) if reference else None,
            alpha=_ALPHA.get(str(item.get("alphaMode", "OPAQUE")), "opaque"),  # type: ignore[arg-type]
            cutoff=min(max(cutoff, 0.0), 1.0),
            double_sided=item.get("doubleSided") is True,
        )
        transform = _object(_object(reference, "extensions"), _TRANSFORM)
        texcoord = transform.get("texCoord", reference.get("texCoord", 0))
        return Paint(material, texcoord if isinstance(texcoord, int) else 0, _matrix(transform) if transform else None)

    def _texture(self, reference: Tree) -> NDArray[np.uint8] | None:
        texture = self._buffers.item("textures", reference.get("index"))
        webp = _object(_object(texture, "extensions"), "EXT_texture_webp")
        source = webp.get("source", texture.get("source"))
        if source is None:
            self._textures.note("a texture is of a kind that is not read here: drawn without")
            return None
        image = self._buffers.item("images", source)
        uri = str(image.get("uri", "data:"))
        name = f"image {source}" if uri.startswith("data:") else uri
        return self._textures.decode(name, lambda: self._picture(image))

    def _picture(self, image: Tree) -> bytes | None:
        if "bufferView" in image:
            return self._buffers.view(image["bufferView"])
        return self._buffers.file(image["uri"]) if "uri" in image else None


def _matrix(transform: Tree) -> Doubles:
    """KHR_texture_transform: scale, then rotation, then offset."""
    (u, v), (x, y) = numbers(transform.get("offset"), 2, (0, 0)), numbers(transform.get("scale"), 2, (1, 1))
    (turn,) = numbers([transform.get("rotation", 0)], 1, (0,))
    cos, sin = math.cos(turn), math.sin(turn)
    return np.array([(cos * x, sin * y, u), (-sin * x, cos * y, v), (0, 0, 1)])


def _object(item: Tree, name: str) -> Tree:
    value = item.get(name)
    return value if isinstance(value, dict) else {}
