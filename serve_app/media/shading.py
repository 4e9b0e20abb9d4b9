"""The one shader of all renderers: what a ray or a pixel met becomes colours, with torch, on a CPU or a GPU.

Deferred: a renderer only finds fragments (face, barycentrics, depth), layer after layer from near to far, and asks the
canvas which pixels still let light through. Lights hang on the camera, so that a mesh shows its form from every side.
Shading is done in display values, as PyTorch3D's stock shaders do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from serve_app.media.cameras import Basis, basis
from serve_app.media.meshes import Bytes, Material, Mesh
from serve_app.media.rendering import Camera, Style

if TYPE_CHECKING:
    from torch import Tensor

MAX_LAYERS = 8
"""How many transparent surfaces one behind another are drawn."""
LIGHTS = (((-0.45, 0.65, 0.61), 0.42), ((0.0, 0.0, 1.0), 0.22), ((0.8, -0.1, 0.59), 0.08))
"""Key from upper left, a light at the camera, fill from the right: direction (right, up, towards the camera), strength.
With ``AMBIENT`` the brightest that white gets is about 0.9, so that white meshes stand out from a white background."""
AMBIENT = 0.26
OPAQUE = 1 / 512
"""What is let through below this shows in no byte."""
_CHUNK = 1 << 17
_ALPHAS = {"opaque": 0, "mask": 1, "blend": 2}


@dataclass(frozen=True)
class Lighting:
    """Directional lights in the camera's axes: (right, up, towards the camera) and strength; and what is everywhere."""

    lights: tuple[tuple[tuple[float, float, float], float], ...] = LIGHTS
    ambient: float = AMBIENT


@dataclass(frozen=True)
class Fragments:
    """K places where something was met, at most one a pixel; all on one device."""

    pixels: Tensor
    """int64 [K], row * size + column."""
    faces: Tensor
    """int64 [K]."""
    barycentrics: Tensor
    """float32 [K, 3], perspective-correct."""
    depth: Tensor
    """float32 [K], along the optical axis."""

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, which: Tensor | slice) -> Fragments:
        return Fragments(self.pixels[which], self.faces[which], self.barycentrics[which], self.depth[which])


class Surface:
    """A mesh's faces as tensors, made once for all views."""

    def __init__(self, mesh: Mesh, device: str = "cpu") -> None:
        import torch

        def moved(array: NDArray[np.generic]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        self.device = device
        self.planes = moved(planes(mesh))
        self.normals = None if mesh.normals is None else moved(mesh.normals.reshape(-1, 9))
        self.uvs = None if mesh.uvs is None else moved(mesh.uvs.reshape(-1, 6))
        self.colours = None if mesh.colours is None else moved(mesh.colours.reshape(-1, 12))
        self.materials = None if mesh.face_materials is None else moved(mesh.face_materials.astype(np.int64))
        self.tints = moved(np.array([material.colour for material in mesh.materials], np.float32))
        self.alphas = moved(np.array([_ALPHAS[material.alpha] for material in mesh.materials], np.int64))
        self.cutoffs = moved(np.array([material.cutoff for material in mesh.materials], np.float32))
        self.atlas = None if mesh.uvs is None else _Atlas.of(mesh.materials, device)
        self.opaque = all(material.alpha == "opaque" for material in mesh.materials)

    def base(self, fragments: Fragments) -> Tensor:
        """float32 [K, 4]: colour times texture times the corners' colours, and what alpha means for the material."""
        import torch

        faces, weights = fragments.faces, fragments.barycentrics
        which = torch.zeros_like(faces) if self.materials is None else self.materials[faces]
        base = self.tints.index_select(0, which)
        if self.colours is not None:
            base = base * (_mixed(self.colours.index_select(0, faces).float(), weights) / 255)
        if self.uvs is not None and self.atlas is not None:
            base = base * self.atlas.sample(which, _mixed(self.uvs.index_select(0, faces), weights))
        if self.opaque:
            return base
        mode, alpha = self.alphas[which], base[:, 3]
        cut = (alpha >= self.cutoffs[which]).float()
        base[:, 3] = torch.where(mode == 0, 1.0, torch.where(mode == 1, cut, alpha)).clamp(0, 1)
        return base

    def facing(self, faces: Tensor, weights: Tensor, eye: Tensor) -> Tensor:
        """float32 [K, 3]: unit normals, on the side of their face that ``eye`` is on."""
        import torch

        planes = self.planes.index_select(0, faces)
        side = torch.where(planes[:, :3] @ eye >= planes[:, 3], 1.0, -1.0)
        if self.normals is None:
            return planes[:, :3] * side[:, None]
        normals = torch.nn.functional.normalize(_mixed(self.normals.index_select(0, faces), weights), dim=1)
        turn = torch.where((normals * planes[:, :3]).sum(dim=1) * side >= 0, 1.0, -1.0)
        return normals * turn[:, None]


class Canvas:
    """One view, painted from near to far."""

    def __init__(self, surface: Surface, camera: Camera, style: Style, lighting: Lighting | None = None) -> None:
        import torch

        pixels, device = style.size**2, surface.device
        self._surface, self._size = surface, style.size
        self._lighting = lighting or Lighting()
        self._axes = basis(camera)
        self._eye = torch.tensor(self._axes.eye, dtype=torch.float32, device=device)
        self._lights = _lights(self._lighting, self._axes).to(device)
        self._ground = torch.tensor(style.background, dtype=torch.uint8, device=device)
        self.picture = self._ground.repeat(pixels, 1)
        self.alpha = torch.zeros(pixels, dtype=torch.uint8, device=device)
        self.depth = torch.full((pixels,), torch.inf, device=device)
        if not surface.opaque:
            self._colour = torch.zeros((pixels, 3), device=device)
            self._through = torch.ones(pixels, device=device)

    def paint(self, fragments: Fragments) -> Tensor:
        """Puts a layer behind what is there; bool [K]: which of its pixels still let light through."""
        import torch

        parts = [self._paint(fragments[start : start + _CHUNK]) for start in range(0, len(fragments), _CHUNK)]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.bool, device=self._surface.device)

    def _paint(self, fragments: Fragments) -> Tensor:
        import torch

        base = self._surface.base(fragments)
        normals = self._surface.facing(fragments.faces, fragments.barycentrics, self._eye)
        light = (normals @ self._lights).clamp_(min=0).sum(dim=1).add_(self._lighting.ambient)
        colour = (base[:, :3] * light[:, None]).clamp_(0, 1)
        pixels = fragments.pixels
        if self._surface.opaque:
            self.picture[pixels] = colour.mul_(255).round_().to(torch.uint8)
            self.alpha[pixels], self.depth[pixels] = 255, fragments.depth
            return torch.zeros(len(pixels), dtype=torch.bool, device=colour.device)
        through, alpha = self._through[pixels], base[:, 3]
        self._colour[pixels] += colour * (through * alpha)[:, None]
        seen = torch.where(alpha > OPAQUE, fragments.depth, torch.inf)
        self.depth[pixels] = torch.minimum(self.depth[pixels], seen)
        through = through * (1 - alpha)
        self._through[pixels] = through
        return through > OPAQUE

    def finish(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
        """Colour uint8 [S, S, 3] over the background, alpha uint8 [S, S], depth float32 [S, S]."""
        import torch

        if not self._surface.opaque:
            colour = (self._colour * 255).addcmul_(self._through[:, None], self._ground.float())
            self.picture = colour.round_().to(torch.uint8)
            self.alpha = (255 * (1 - self._through)).round_().to(torch.uint8)
        size = self._size
        return (
            self.picture.view(size, size, 3).cpu().numpy(),
            self.alpha.view(size, size).cpu().numpy(),
            self.depth.view(size, size).cpu().numpy(),
        )


def planes(mesh: Mesh) -> NDArray[np.float32]:
    """float32 [F, 4]: each face's unit normal, by its winding, and that normal times a corner."""
    first, second, third = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    normals = np.cross(second - first, third - first)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.float32(1e-30))
    return np.concatenate([normals, (normals * first).sum(axis=1, keepdims=True)], axis=1, dtype=np.float32)


def drawn(mesh: Mesh, face_planes: NDArray[np.float32], camera: Camera, style: Style) -> NDArray[np.bool_] | None:
    """bool [F]: which faces the camera may see from the side it is on; None: all of them."""
    single = np.array([style.cull_back_faces or not material.double_sided for material in mesh.materials])
    if not single.any():
        return None
    eye = np.array(camera.eye, np.float32)
    front: NDArray[np.bool_] = face_planes[:, :3] @ eye >= face_planes[:, 3]
    sided = single[0] if mesh.face_materials is None else single[mesh.face_materials]
    return np.asarray(front | ~sided)


@dataclass(frozen=True)
class _Atlas:
    """All textures in one row of texels, so that one gather serves every material."""

    texels: Tensor
    """uint8 [T, 4]."""
    starts: Tensor
    """int64 [M]."""
    widths: Tensor
    heights: Tensor

    @classmethod
    def of(cls, materials: Sequence[Material], device: str) -> _Atlas | None:
        """The textures of ``materials``, each once; a white texel for those without; None where none has one."""
        import torch

        if all(material.texture is None for material in materials):
            return None
        white = np.full((1, 1, 4), 255, np.uint8)
        textures: dict[int, Bytes] = {}
        for material in materials:
            texture = white if material.texture is None else material.texture
            textures[id(texture)] = texture
        lengths = [texture.shape[0] * texture.shape[1] for texture in textures.values()]
        starts = dict(zip(textures, np.cumsum([0, *lengths[:-1]]), strict=True))
        keys = [id(white if material.texture is None else material.texture) for material in materials]

        def table(values: Sequence[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.int64, device=device)

        flat = np.concatenate([texture.reshape(-1, 4) for texture in textures.values()])
        return cls(
            torch.from_numpy(flat).to(device),
            table([int(starts[key]) for key in keys]),
            table([textures[key].shape[1] for key in keys]),
            table([textures[key].shape[0] for key in keys]),
        )

    def sample(self, which: Tensor, uvs: Tensor) -> Tensor:
        """float32 [K, 4], 0 to 1: bilinear between texels' centres, repeated beyond 0 to 1, as glTF's default."""
        width, height, start = self.widths[which], self.heights[which], self.starts[which]
        x = (uvs[:, 0] - uvs[:, 0].floor()) * width - 0.5
        y = (1 - (uvs[:, 1] - uvs[:, 1].floor())) * height - 0.5
        left, top = x.floor(), y.floor()
        across, down = (x - left)[:, None], (y - top)[:, None]
        left, top = left.long(), top.long()
        columns = [left % width, (left + 1) % width]
        rows = [start + top % height * width, start + (top + 1) % height * width]
        upper, lower = (
            self.texels[row + columns[0]].float().lerp(self.texels[row + columns[1]].float(), across) for row in rows
        )
        return upper.lerp(lower, down) / 255


def _mixed(corners: Tensor, weights: Tensor) -> Tensor:
    """float32 [K, C]: the corners' values [K, 3 * C], weighted."""
    width = corners.shape[1] // 3
    mixed = corners[:, :width] * weights[:, :1]
    mixed.addcmul_(corners[:, width : 2 * width], weights[:, 1:2])
    return mixed.addcmul_(corners[:, 2 * width :], weights[:, 2:])


def _lights(lighting: Lighting, axes: Basis) -> Tensor:
    """float32 [3, L]: directions towards the lights in the world, as long as the lights are strong."""
    import torch

    to_world = np.stack([axes.right, axes.up, -axes.forward])
    rows = [np.array(where) / np.linalg.norm(where) @ to_world * strength for where, strength in lighting.lights]
    return torch.tensor(np.array(rows).reshape(-1, 3), dtype=torch.float32).T.contiguous()
