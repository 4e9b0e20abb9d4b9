"""Solids to pixels with panda3d's software renderer: no display, no GL library.

Two passes over the same camera: the lit picture, and one flat colour per solid, from which the visible extents follow
exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from panda3d import core
from PIL import Image

from serve_app.models.embedded.solids import MESHES, Mesh

FIELD_OF_VIEW = 40.0  # degrees, both ways
SUPERSAMPLE = 2
_ID_STEP = 16  # distance between two flat colours, far more than the renderer's rounding


@dataclass(frozen=True)
class Solid:
    """One solid of a scene: where its centre falls in the picture (fractions), its radius as a fraction of the side.

    ``tilt`` turns it towards the viewer after ``turn`` (heading, pitch, roll) turned it about its own axes, in degrees.
    ``texture`` is uint8 [64, 64, 3], multiplied with ``rgb``.
    """

    shape: str
    rgb: tuple[float, float, float]
    x: float
    y: float
    radius: float
    depth: float
    tilt: float
    turn: tuple[float, float, float]
    texture: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Light:
    """``heading`` and ``pitch`` of a directional light in degrees, its strength and that of the ambient light."""

    heading: float
    pitch: float
    strength: float
    ambient: float


def _geometry(mesh: Mesh) -> core.GeomNode:
    data = core.GeomVertexData("mesh", core.GeomVertexFormat.getV3n3t2(), core.Geom.UHStatic)
    data.uncleanSetNumRows(len(mesh.vertices))
    values = np.ascontiguousarray(mesh.vertices, np.float32).ravel()
    memoryview(data.modifyArray(0)).cast("B").cast("f")[:] = values.data
    faces = core.GeomTriangles(core.Geom.UHStatic)
    for a, b, c in mesh.triangles.tolist():
        faces.addVertices(a, b, c)
    geometry = core.Geom(data)
    geometry.addPrimitive(faces)
    node = core.GeomNode("solid")
    node.addGeom(geometry)
    return node


def _texture(pixels: NDArray[np.uint8]) -> core.Texture:
    texture = core.Texture("pattern")
    height, width = pixels.shape[:2]
    texture.setup2dTexture(width, height, core.Texture.TUnsignedByte, core.Texture.FRgb)
    texture.setRamImage(np.ascontiguousarray(pixels[..., ::-1]).tobytes())
    texture.setMinfilter(core.SamplerState.FTLinear)
    return texture


class Renderer:
    """An off-screen camera of ``side`` x ``side`` pixels. One to a process and size: see :func:`renderer`."""

    def __init__(self, side: int) -> None:
        settings = "load-display p3tinydisplay\nwindow-type offscreen\naudio-library-name null\nnotify-level fatal"
        core.loadPrcFileData("", settings)
        self.side = side
        self._engine = core.GraphicsEngine.getGlobalPtr()
        pipe = core.GraphicsPipeSelection.getGlobalPtr().makeDefaultPipe()
        frame = core.FrameBufferProperties()
        frame.setRgbColor(True)
        frame.setAlphaBits(8)
        frame.setDepthBits(24)
        full = side * SUPERSAMPLE
        size = core.WindowProperties.size(full, full)
        self._buffer = self._engine.makeOutput(pipe, f"scene{side}", 0, frame, size, core.GraphicsPipe.BFRefuseWindow)
        if self._buffer is None:
            raise RuntimeError("panda3d made no off-screen buffer")
        self._buffer.setClearColor((0, 0, 0, 0))
        self._pixels = core.Texture()
        self._buffer.addRenderTexture(self._pixels, core.GraphicsOutput.RTMCopyRam)
        self._root = core.NodePath("root")
        camera = self._root.attachNewNode(core.Camera("camera"))
        lens = core.PerspectiveLens()
        lens.setFov(FIELD_OF_VIEW)
        camera.node().setLens(lens)
        self._buffer.makeDisplayRegion().setCamera(camera)
        self._sun = self._root.attachNewNode(core.DirectionalLight("sun"))
        self._sky = self._root.attachNewNode(core.AmbientLight("sky"))
        self._meshes = {name: core.NodePath(_geometry(mesh)) for name, mesh in MESHES.items()}
        self._engine.renderFrame()  # the first frames of a new buffer come out empty
        self._engine.renderFrame()

    def _frame(self) -> NDArray[np.uint8]:
        self._engine.renderFrame()
        full = self.side * SUPERSAMPLE
        data = np.frombuffer(self._pixels.getRamImageAs("RGBA"), np.uint8)
        return data.reshape(full, full, 4)[::-1]

    def _place(self, solid: Solid) -> core.NodePath:
        reach = solid.depth * float(np.tan(np.radians(FIELD_OF_VIEW / 2)))  # half the picture's side at that depth
        frame = self._root.attachNewNode("solid")
        frame.setPos((2 * solid.x - 1) * reach, solid.depth, (1 - 2 * solid.y) * reach)
        frame.setP(solid.tilt)
        node = self._meshes[solid.shape].copyTo(frame)
        node.setHpr(*solid.turn)
        node.setScale(2 * solid.radius * reach)
        node.setColor(*solid.rgb, 1)
        if solid.texture is not None:
            node.setTexture(_texture(solid.texture))
        return frame

    def render(self, solids: list[Solid], light: Light) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """The solids on nothing: RGBA float32 [side, side, 4] with premultiplied colour in 0..255 and coverage in 0..1,
        and identities uint8 [2 * side, 2 * side]: 0 where nothing shows, i + 1 where solid i does.
        """
        self._sun.setHpr(light.heading, light.pitch, 0)
        self._sun.node().setColor((light.strength,) * 3 + (1,))
        self._sky.node().setColor((light.ambient,) * 3 + (1,))
        self._root.setLight(self._sun)
        self._root.setLight(self._sky)
        placed = [self._place(solid) for solid in solids]
        try:
            lit = Image.fromarray(self._frame(), "RGBX").reduce(SUPERSAMPLE)
            self._root.clearLight()
            for number, node in enumerate(placed):
                node.setTextureOff(1)
                node.setColor((number + 1) * _ID_STEP / 255, 0, 0, 1, 1)
            flat = self._frame()
        finally:
            for node in placed:
                node.removeNode()
        identity = ((flat[..., 0] + _ID_STEP // 2) // _ID_STEP).astype(np.uint8)
        small = np.asarray(lit).astype(np.float32)
        small[..., 3] /= 255
        return small, identity


@lru_cache(maxsize=4)
def renderer(side: int) -> Renderer:
    """The process's camera of that size."""
    return Renderer(side)


def visible_box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float] | None:
    """x1, y1, x2, y2 of the true cells of [H, W], in cells with x2 and y2 exclusive; None where there are none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
