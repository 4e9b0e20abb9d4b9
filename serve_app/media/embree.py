"""Ray casting with Intel Embree: one ray through every pixel's centre, on any CPU, without display or system library.

What a pixel shows is exact by construction (Möller and Trumbore's test per ray, perspective and depth included): there
is no clipping and no z-buffer that could fight. Transparent surfaces are met by casting on from where the ray is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serve_app.media.cameras import Basis, basis
from serve_app.media.meshes import Floats, Ints, Mesh
from serve_app.media.rendering import Camera, Style, Views
from serve_app.media.shading import MAX_LAYERS, Canvas, Fragments, Lighting, Surface, drawn

if TYPE_CHECKING:
    import torch

Pixels = NDArray[np.int64]

MAX_THREADS = 4
_CHUNK = 1 << 17
"""Rays cast at once; they and what they meet take about 80 bytes a ray."""
_CELL = 8
"""Pixels along the side of a square in which either all rays are cast or none."""
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
    """Draws on the CPU, a view a thread; casting and shading both leave Python's lock to others."""

    name = "embree"

    def __init__(self, lighting: Lighting | None = None, threads: int | None = None) -> None:
        """``threads`` views are drawn at a time, each with about 100 MiB at 1024 pixels; by default one a core, at
        most ``MAX_THREADS``."""
        self._lighting = lighting
        self._threads = threads or min(MAX_THREADS, len(os.sched_getaffinity(0)))

    def render(self, mesh: Mesh, cameras: Sequence[Camera], style: Style) -> Views:
        """Draws ``mesh`` once a camera; see ``Renderer``."""
        import torch

        surface, scene = Surface(mesh), _Scene(mesh)
        face_planes = surface.planes.numpy()
        shape = (len(cameras), style.size, style.size)
        views = Views(np.empty((*shape, 3), np.uint8), np.empty(shape, np.uint8), np.empty(shape, np.float32))

        def draw(number: int) -> None:
            camera = cameras[number]
            canvas = Canvas(surface, camera, style, self._lighting)
            _View(mesh, scene, drawn(mesh, face_planes, camera, style), camera, style.size).paint(canvas)
            views.colour[number], views.alpha[number], views.depth[number] = canvas.finish()

        # The views are what runs side by side; torch's own threads on top of that wait for each other, spinning.
        before = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(self._threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                list(pool.map(draw, range(len(cameras))))
        finally:
            torch.set_num_threads(before)
        return views


class _View:
    """The rays of one camera."""

    def __init__(self, mesh: Mesh, scene: _Scene, kept: NDArray[np.bool_] | None, camera: Camera, size: int) -> None:
        self._mesh, self._all, self._kept, self._size = mesh, scene, kept, size
        self._front: _Scene | None = None
        self._axes = basis(camera)
        self._eye = self._axes.eye.astype(np.float32)

    def paint(self, canvas: Canvas) -> None:
        for pixels, directions in self._rays():
            origins = np.broadcast_to(self._eye, directions.shape).copy()
            reached = np.zeros(len(pixels), np.float32)
            for _ in range(MAX_LAYERS):
                hits = self._cast(origins, directions)
                if not len(hits.rays):
                    break
                pixels, reached = pixels[hits.rays], reached[hits.rays] + hits.depth
                onwards = canvas.paint(_fragments(pixels, hits, reached)).numpy()
                pixels, reached = pixels[onwards], reached[onwards] + _STEP
                directions = directions[hits.rays[onwards]]
                origins = self._eye + directions * reached[:, None]

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

    def _rays(self) -> Iterator[tuple[Pixels, Floats]]:
        """Pixels int64 [K] that may show the mesh, and float32 [K, 3] through their centres, of length 1 along the
        optical axis, so that distances along a ray are depths; some at a time."""
        axes, size = self._axes, self._size
        places = ((np.arange(size) + 0.5) * 2 / size - 1) * axes.half
        across = (places[:, None] * axes.right).astype(np.float32)
        down = (axes.forward - places[:, None] * axes.up).astype(np.float32)
        pixels = np.flatnonzero(covered(axes, self._mesh, size))
        for first in range(0, len(pixels), _CHUNK):
            some = pixels[first : first + _CHUNK]
            rows, columns = np.divmod(some, size)
            directions = down.take(rows, axis=0)
            directions += across.take(columns, axis=0)
            yield some, directions


def covered(axes: Basis, mesh: Mesh, size: int) -> NDArray[np.bool_]:
    """bool [S, S]: the pixels of the cells that the faces' bounding boxes in the picture touch; all of them where a
    vertex is not well before the camera.

    The union of boxes is the positive part of a summed difference array, four entries a box (Crow's summed-area table,
    1984, the other way round).
    """
    x, y, z = axes.seen(mesh.vertices).astype(np.float32).T
    if not len(x) or z.min() < 1e-3:
        return np.ones((size, size), np.bool_)
    cells = -(-size // _CELL)
    spans = [_span(values, mesh.faces, size, cells) for values in (-y / (z * axes.half), x / (z * axes.half))]
    changes = np.zeros((cells + 1) ** 2)
    for row, row_sign in zip(spans[0], (1, -1), strict=True):
        for column, column_sign in zip(spans[1], (1, -1), strict=True):
            count = np.bincount(row * (cells + 1) + column, minlength=len(changes))
            changes += row_sign * column_sign * count
    touched = changes.reshape(cells + 1, cells + 1).cumsum(axis=0).cumsum(axis=1)[:cells, :cells] > 0.5
    return touched.repeat(_CELL, axis=0).repeat(_CELL, axis=1)[:size, :size]


def _span(values: Floats, faces: Ints, size: int, cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first cell of each face along one axis and the one behind its last, a pixel wider than it is; the same
    where it lies beside the picture. ``values`` are the vertices', -1 to 1 in the picture."""
    pixels = (values + 1) / 2 * size
    one, two, three = (pixels[faces[:, corner]] for corner in range(3))  # ten times as fast as min(axis=1)
    first = np.floor((np.minimum(np.minimum(one, two), three) - 1) / _CELL)
    last = np.floor((np.maximum(np.maximum(one, two), three) + 1) / _CELL)
    return np.clip(first, 0, cells).astype(np.int64), np.clip(last + 1, 0, cells).astype(np.int64)


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
