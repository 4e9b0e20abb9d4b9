"""Rasterising with PyTorch3D: all views of a mesh in one call, for GPUs. Imported only where ``pytorch3d`` is.

PyTorch3D finds the fragments; the project's own shader, which all renderers share, colours them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
from pytorch3d.structures import Meshes

from serve_app.media.cameras import Basis, basis
from serve_app.media.meshes import Mesh
from serve_app.media.rendering import Camera, Style, Views
from serve_app.media.shading import MAX_LAYERS, Canvas, Fragments, Lighting, Surface, drawn

if TYPE_CHECKING:
    from torch import Tensor

BUDGET = 4 << 30
"""Bytes that the rasteriser may take for the views that it draws at once."""
NEAR = 1e-3
"""Triangles are cut off nearer to the camera than this."""
_BINS = 16
"""Along a side of the picture; PyTorch3D takes fewer than 22."""


class PyTorch3DRenderer:
    """Draws on ``device``; as many views at once as ``BUDGET`` bears."""

    name = "pytorch3d"

    def __init__(self, device: str = "cuda", lighting: Lighting | None = None) -> None:
        self._device = torch.device(device)
        self._lighting = lighting

    def render(self, mesh: Mesh, cameras: Sequence[Camera], style: Style) -> Views:
        """Draws ``mesh`` once a camera; see ``Renderer``."""
        surface = Surface(mesh, str(self._device))
        face_planes = surface.planes.cpu().numpy()
        layers = 1 if surface.opaque else MAX_LAYERS
        shape = (len(cameras), style.size, style.size)
        views = Views(np.empty((*shape, 3), np.uint8), np.empty(shape, np.uint8), np.empty(shape, np.float32))
        vertices, faces = self._moved(mesh.vertices), self._moved(mesh.faces.astype(np.int64))
        jobs = []
        for camera in cameras:
            kept = drawn(mesh, face_planes, camera, style)
            ids = torch.arange(len(faces), device=self._device) if kept is None else self._moved(np.flatnonzero(kept))
            jobs.append((projected(vertices, basis(camera)), ids))
        at_once = views_at_once(len(mesh.faces), style.size, layers)
        for first in range(0, len(cameras), at_once):
            found = _rasterised(jobs[first : first + at_once], faces, style.size, layers)
            for number, layers_found in enumerate(found, start=first):
                canvas = Canvas(surface, cameras[number], style, self._lighting)
                _paint(canvas, layers_found, style.size)
                views.colour[number], views.alpha[number], views.depth[number] = canvas.finish()
        return views

    def _moved(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


def views_at_once(faces: int, size: int, layers: int, budget: int = BUDGET) -> int:
    """How many views fit: corners and bins of the faces, and what is found a pixel and layer (index, depth,
    barycentrics, distance)."""
    view = faces * 9 * 4 * 3 + _BINS**2 * min(faces, 4 * faces // _BINS + 10_000) * 4 + size**2 * layers * 36
    return max(1, budget // view)


def projected(vertices: Tensor, axes: Basis) -> Tensor:
    """float32 [V, 3] as PyTorch3D's rasteriser wants them: x to the left, y up, both -1 to 1; z the depth."""
    rotation = torch.tensor(axes.rotation, dtype=torch.float32, device=vertices.device)
    eye = torch.tensor(axes.eye, dtype=torch.float32, device=vertices.device)
    seen = (vertices - eye) @ rotation.T
    depth = seen[:, 2]
    # With perspective-correct barycentrics, clipping undoes and redoes this division itself.
    scale = 1 / (torch.where(depth.abs() < 1e-8, 1e-8, depth) * axes.half)
    return torch.stack([-seen[:, 0] * scale, seen[:, 1] * scale, depth], dim=1)


def _rasterised(jobs: Sequence[tuple[Tensor, Tensor]], faces: Tensor, size: int, layers: int) -> list[list[Fragments]]:
    """For each view its layers from near to far; none where nothing of the mesh may be seen."""
    filled = [job for job in jobs if len(job[1])]
    if not filled:
        return [[] for _ in jobs]
    meshes = Meshes([corners for corners, _ in filled], [faces[ids] for _, ids in filled])
    near = min(float(corners[:, 2].min()) for corners, _ in filled)
    # On a CPU PyTorch3D knows no bins: every pixel looks at every face.
    bin_size = -(-size // _BINS) if faces.is_cuda and size >= _BINS else 0
    found, depth, weights, _ = rasterize_meshes(
        meshes,
        image_size=size,
        faces_per_pixel=layers,
        bin_size=bin_size,
        max_faces_per_bin=fullest_bin(meshes, 2 * bin_size / size) if bin_size else None,
        perspective_correct=True,
        z_clip_value=NEAR if near < NEAR else None,
    )
    firsts = meshes.mesh_to_faces_packed_first_idx().tolist()
    views = iter(
        [
            _fragments(found[view, ..., layer], weights[view, ..., layer, :], depth[view, ..., layer], ids, first)
            for layer in range(layers)
        ]
        for view, ((_, ids), first) in enumerate(zip(filled, firsts, strict=True))
    )
    return [next(views) if len(ids) else [] for _, ids in jobs]


def _fragments(found: Tensor, weights: Tensor, depth: Tensor, ids: Tensor, first: int) -> Fragments:
    pixels = torch.nonzero(found.reshape(-1) >= 0)[:, 0]
    faces = ids[found.reshape(-1)[pixels] - first]
    return Fragments(pixels, faces, weights.reshape(-1, 3)[pixels], depth.reshape(-1)[pixels])


def _paint(canvas: Canvas, layers: Sequence[Fragments], size: int) -> None:
    """Layer after layer, each only where light still comes through."""
    lit: Tensor | None = None
    for layer in layers:
        if lit is None:
            lit = torch.ones(size * size, dtype=torch.bool, device=layer.pixels.device)
        fragments = layer[lit[layer.pixels]]
        if not len(fragments):
            return
        lit[:] = False
        lit[fragments.pixels] = canvas.paint(fragments)


def fullest_bin(meshes: Meshes, width: float) -> int:
    """The most faces that any bin of a view meets, for bins ``width`` wide: exact room for PyTorch3D's lists, whose
    own guess takes gigabytes for a million triangles, or loses faces.

    Method: a two-dimensional difference array, +1 and -1 at the corners of the faces' bounding boxes, summed up.
    """
    corners = meshes.verts_packed()[meshes.faces_packed()]
    low, high = corners[..., :2].amin(dim=1), corners[..., :2].amax(dim=1)
    behind = corners[..., 2].amin(dim=1) < NEAR
    low[behind], high[behind] = -1.0, 1.0
    margin = width / 16
    first = ((low - margin + 1) / width).floor().clamp(0, _BINS).long()
    last = ((high + margin + 1) / width).floor().clamp(-1, _BINS - 1).long() + 1
    first = torch.minimum(first, last)
    side = _BINS + 1
    view = meshes.faces_packed_to_mesh_idx() * side * side
    counts = torch.zeros(len(meshes) * side * side, dtype=torch.int64, device=corners.device)
    for x, y, sign in ((first, first, 1), (last, last, 1), (first, last, -1), (last, first, -1)):
        where = view + x[:, 0] * side + y[:, 1]
        counts.index_add_(0, where, torch.full_like(where, sign))
    return max(1, int(counts.view(-1, side, side).cumsum(1).cumsum(2).max()))
