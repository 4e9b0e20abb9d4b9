"""Ray casting with Intel Embree: one ray through every pixel's centre, on any CPU, without display or system library.

What a pixel shows is exact by construction (Möller and Trumbore's test per ray, perspective and depth included): there
is no clipping and no z-buffer that could fight. Transparent surfaces are met by casting on from where the ray is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serve_app.media.cameras import Basis, basis
from serve_app.media.meshes import Floats, Ints, Mesh
from serve_app.media.rendering import Camera, Style, Views
from serve_app.media.shading import MAX_LAYERS, Canvas, Fragments, Lighting, Surface, drawn, planes

if TYPE_CHECKING:
    import torch

Pixels = NDArray[np.int64]

_CHUNK = 1 << 17
"""Rays cast at once: casting holds Python's lock, and its answers take 36 bytes a ray."""
_STEP = 1e-5
"""How far behind a surface a ray is cast on, in the world's units; meshes have radius 1."""


@dataclass(frozen=True)
class _Hits:
    rays: Pixels
    """int64 [K], which of the rays hit."""
    faces: NDArray[np.int64]
    barycentrics: Floats
    depth: Floats

    def __getitem__(self, which: NDArray[np.bool_]) -> _Hits:
        return _Hits(self.rays[which], self.faces[which], self.barycentrics[which], self.depth[which])


class _Scene:
    """Faces that rays can be cast at."""

    def __init__(self, mesh: Mesh, kept: NDArray[np.bool_] | None = None) -> None:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        self._ids = None if kept is None else np.flatnonzero(kept)
        faces: Ints = mesh.faces if kept is None else mesh.faces[kept]
        self._scene: Any = None
        if len(faces):
            self._scene = EmbreeScene(robust=True)
            TriangleMesh(self._scene, mesh.vertices, faces)

    def cast(self, origins: Floats, directions: Floats) -> _Hits:
        """The nearest hit of each ray, if any; depth in lengths of its direction."""
        if self._scene is None or not len(origins):
            none = np.zeros(0, np.int64)
            return _Hits(none, none, np.zeros((0, 3), np.float32), np.zeros(0, np.float32))
        met = self._scene.run(origins, directions, output=True)
        rays = np.flatnonzero(met["primID"] >= 0)
        faces = met["primID"][rays].astype(np.int64)
        u, v = met["u"][rays], met["v"][rays]
        weights = np.stack([1 - u - v, u, v], axis=1)
        return _Hits(rays, faces if self._ids is None else self._ids[faces], weights, met["tfar"][rays])


class EmbreeRenderer:
    """Draws on the CPU. Casting takes one core, shading what torch is given."""

    name = "embree"

    def __init__(self, lighting: Lighting | None = None) -> None:
        self._lighting = lighting

    def render(self, mesh: Mesh, cameras: Sequence[Camera], style: Style) -> Views:
        """Draws ``mesh`` once a camera; see ``Renderer``."""
        surface, scene, face_planes = Surface(mesh), _Scene(mesh), planes(mesh)
        shape = (len(cameras), style.size, style.size)
        views = Views(np.empty((*shape, 3), np.uint8), np.empty(shape, np.uint8), np.empty(shape, np.float32))
        for number, camera in enumerate(cameras):
            canvas = Canvas(surface, camera, style, self._lighting)
            _View(mesh, scene, drawn(mesh, face_planes, camera, style), camera, style.size).paint(canvas)
            views.colour[number], views.alpha[number], views.depth[number] = canvas.finish()
        return views


class _View:
    """The rays of one camera."""

    def __init__(self, mesh: Mesh, scene: _Scene, kept: NDArray[np.bool_] | None, camera: Camera, size: int) -> None:
        self._mesh, self._all, self._kept, self._size = mesh, scene, kept, size
        self._front: _Scene | None = None
        self._axes = basis(camera)

    def paint(self, canvas: Canvas) -> None:
        for pixels in self._pixels():
            directions = self._directions(pixels)
            origins = np.broadcast_to(self._axes.eye.astype(np.float32), directions.shape).copy()
            reached = np.zeros(len(pixels), np.float32)
            for _ in range(MAX_LAYERS):
                hits = self._cast(origins, directions)
                if not len(hits.rays):
                    break
                reached = reached[hits.rays] + hits.depth
                pixels, directions = pixels[hits.rays], directions[hits.rays]
                open_ = canvas.paint(_fragments(pixels, hits, reached)).numpy()
                pixels, directions, reached = pixels[open_], directions[open_], reached[open_] + _STEP
                origins = self._axes.eye.astype(np.float32) + directions * reached[:, None]

    def _cast(self, origins: Floats, directions: Floats) -> _Hits:
        """The nearest hits of faces that may be seen. Few meshes show a face from its culled side, so the scene
        without them is only built where a ray has met one."""
        hits = self._all.cast(origins, directions)
        if self._kept is None or self._kept[hits.faces].all():
            return hits
        if self._front is None:
            self._front = _Scene(self._mesh, self._kept)
        good = self._kept[hits.faces]
        again = hits.rays[~good]
        more = self._front.cast(origins[again], directions[again])
        return _joined(hits[good], _Hits(again[more.rays], more.faces, more.barycentrics, more.depth))

    def _pixels(self) -> Iterator[Pixels]:
        """The pixels that the mesh's bounding box in the picture covers, in chunks."""
        left, top, right, bottom = window(self._axes, self._mesh.vertices, self._size)
        rows_at_once = max(1, _CHUNK // max(1, right - left))
        for row in range(top, bottom, rows_at_once):
            rows = np.arange(row, min(row + rows_at_once, bottom), dtype=np.int64)
            yield (rows[:, None] * self._size + np.arange(left, right, dtype=np.int64)).ravel()

    def _directions(self, pixels: Pixels) -> Floats:
        """float32 [K, 3]: through the pixels' centres, of length 1 along the optical axis, so that depth is theirs."""
        axes, step = self._axes, 2 * self._axes.half / self._size
        x = (pixels % self._size + 0.5) * step - axes.half
        y = axes.half - (pixels // self._size + 0.5) * step
        return np.asarray(axes.forward + x[:, None] * axes.right + y[:, None] * axes.up, np.float32)


def window(axes: Basis, vertices: Floats, size: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (exclusive) pixels that may show the vertices; all where one is not well before the
    camera."""
    x, y, z = axes.seen(vertices).T
    if not len(vertices) or z.min() < 1e-3:
        return 0, 0, size, size
    x, y = x / (z * axes.half), -y / (z * axes.half)
    left, top = ((values.min() + 1) / 2 * size - 1 for values in (x, y))
    right, bottom = ((values.max() + 1) / 2 * size + 1 for values in (x, y))
    clipped = np.clip([left, top, right, bottom], 0, size)
    return int(clipped[0]), int(clipped[1]), int(np.ceil(clipped[2])), int(np.ceil(clipped[3]))


def _joined(one: _Hits, other: _Hits) -> _Hits:
    return _Hits(
        np.concatenate([one.rays, other.rays]),
        np.concatenate([one.faces, other.faces]),
        np.concatenate([one.barycentrics, other.barycentrics]),
        np.concatenate([one.depth, other.depth]),
    )


def _fragments(pixels: Pixels, hits: _Hits, depth: Floats) -> Fragments:
    import torch

    tensors: list[torch.Tensor] = [torch.from_numpy(a) for a in (pixels, hits.faces, hits.barycentrics, depth)]
    return Fragments(*tensors)
