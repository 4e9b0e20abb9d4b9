"""Solids to pixels with panda3d's software renderer: no display, no GL library.

Passes over the same camera: the lit picture, what glossy solids mirror (only where there are some), and one flat colour
per solid, from which the visible extents follow exactly. Mirroring is a sphere map (Miller and Hoffman, 1984), a
picture of the surroundings looked up by the direction of the normal; normals are bent outwards a little, so that flat
faces show more than one point of it.
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
FINISHES = ("shiny", "metal")
_BEND = 0.7  # how far the normals of mirroring faces lean outwards
_LIFT = 0.05  # of white added to every colour, without which the faces of black solids would all be black
_ID_STEP = 16  # distance between two flat colours, far more than the renderer's rounding


@dataclass(frozen=True)
class Solid:
    """One solid of a scene: where its centre falls in the picture (fractions), its radius as a fraction of the side.

    ``tilt`` turns it towards the viewer after ``turn`` (heading, pitch, roll) turned it about its own axes, in degrees.
    ``texture`` is uint8 [64, 64, 3], multiplied with ``rgb``; metal shows none. ``finish`` is matte or one of FINISHES.
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
    finish: str = "matte"


@dataclass(frozen=True)
class Light:
    """``heading`` and ``pitch`` of a directional light in degrees, its strength and that of the ambient light.

    ``fill`` is the strength of a second directional light, from the other side. A face right before the light shows
    its nominal colour where strength and ambient add up to 1.
    """

    heading: float
    pitch: float
    strength: float
    ambient: float
    fill: float = 0.12


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


def _bent(mesh: Mesh) -> Mesh:
    """The mesh with normals that lean away from its centre, as if its faces bulged."""
    vertices = mesh.vertices.copy()
    normal = vertices[:, 3:6] + _BEND * vertices[:, :3]
    vertices[:, 3:6] = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    return Mesh(vertices, mesh.triangles)


def _studio() -> dict[str, NDArray[np.uint8]]:
    """Sphere maps uint8 [64, 64, 3], lower row first: the room that metal multiplies with its colour, and the lights on
    black that add to metal and to shiny paint."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    bands = np.interp(y, [-1, -0.6, -0.12, 0.0, 0.3, 0.55, 0.7, 1], [0.9, 0.6, 0.38, 0.95, 1.0, 0.6, 0.9, 0.95])
    lamps = np.zeros_like(x)
    window = (abs(x + 0.36) < 0.2) & (abs(y - 0.42) < 0.22) & (abs(x + 0.36) > 0.03) & (abs(y - 0.42) > 0.03)
    lamps[window] = 0.95
    lamps[(abs(x - 0.5) < 0.07) & (abs(y - 0.1) < 0.45)] = 0.6
    lamps[(abs(x + 0.3) < 0.3) & (abs(y + 0.3) < 0.07)] = 0.45
    gleam = 0.8 * np.exp(-(((y - 0.14) / 0.07) ** 2)) + 0.7 * np.exp(-(((y - 0.75) / 0.09) ** 2))
    maps = {"room": bands, "metal": gleam, "shiny": lamps}
    return {name: np.repeat((255 * grey)[..., None], 3, axis=2).astype(np.uint8) for name, grey in maps.items()}


def _texture(pixels: NDArray[np.uint8]) -> core.Texture:
    texture = core.Texture("pattern")
    height, width = pixels.shape[:2]
    texture.setup2dTexture(width, height, core.Texture.TUnsignedByte, core.Texture.FRgb)
    texture.setRamImage(np.ascontiguousarray(pixels[..., ::-1]).tobytes())
    texture.setMinfilter(core.SamplerState.FTLinear)
    return texture


def _mirror(node: core.NodePath, surroundings: core.Texture, priority: int = 0) -> None:
    node.setTexture(surroundings, priority)
    node.setTexGen(core.TextureStage.getDefault(), core.TexGenAttrib.MEyeSphereMap, priority)


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
        self._fill = self._root.attachNewNode(core.DirectionalLight("fill"))
        self._sky = self._root.attachNewNode(core.AmbientLight("sky"))
        self._meshes = {name: core.NodePath(_geometry(mesh)) for name, mesh in MESHES.items()}
        self._mirrors = {name: core.NodePath(_geometry(_bent(mesh))) for name, mesh in MESHES.items()}
        studio = _studio()
        self._studio = {name: _texture(pixels) for name, pixels in studio.items()}
        self._studio_from_right = {name: _texture(pixels[:, ::-1]) for name, pixels in studio.items()}
        self._engine.renderFrame()  # the first frames of a new buffer come out empty
        self._engine.renderFrame()

    def _frame(self) -> NDArray[np.uint8]:
        self._engine.renderFrame()
        full = self.side * SUPERSAMPLE
        data = np.frombuffer(self._pixels.getRamImageAs("RGBA"), np.uint8)
        return data.reshape(full, full, 4)[::-1]

    def _small_frame(self) -> NDArray[np.float32]:
        small = np.asarray(Image.fromarray(self._frame(), "RGBX").reduce(SUPERSAMPLE)).astype(np.float32)
        cells = SUPERSAMPLE**2
        small[..., 3] = np.round(small[..., 3] * cells / 255) / cells  # interpolation leaves 254 here and there
        return small

    def _place(self, solid: Solid) -> core.NodePath:
        reach = solid.depth * float(np.tan(np.radians(FIELD_OF_VIEW / 2)))  # half the picture's side at that depth
        frame = self._root.attachNewNode("solid")
        frame.setPos((2 * solid.x - 1) * reach, solid.depth, (1 - 2 * solid.y) * reach)
        frame.setP(solid.tilt)
        node = (self._meshes if solid.finish == "matte" else self._mirrors)[solid.shape].copyTo(frame)
        node.setHpr(*solid.turn)
        node.setScale(2 * solid.radius * reach)
        colour = (*((1 - _LIFT) * channel + _LIFT for channel in solid.rgb), 1)
        if solid.finish == "metal":
            node.setColor(*colour)
            node.setLightOff()
            _mirror(node, self._studio["room"])
            return frame
        paint = core.Material()  # a plain colour would enter twice: into the lighting and once more over it
        paint.setDiffuse(colour)
        paint.setAmbient(colour)
        node.setMaterial(paint)
        node.setColor(1, 1, 1, 1)
        if solid.texture is not None:
            node.setTexture(_texture(solid.texture))
        return frame

    def _illuminate(self, light: Light) -> None:
        self._sun.setHpr(light.heading, light.pitch, 0)
        self._fill.setHpr(light.heading + (-100 if light.heading > 0 else 100), -10, 0)
        for lamp, strength in ((self._sun, light.strength), (self._fill, light.fill), (self._sky, light.ambient)):
            lamp.node().setColor((strength,) * 3 + (1,))
            self._root.setLight(lamp)

    def render(self, solids: list[Solid], light: Light) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """The solids on nothing: RGBA float32 [side, side, 4] with premultiplied colour in 0..255 and coverage in 0..1,
        and identities uint8 [2 * side, 2 * side]: 0 where nothing shows, i + 1 where solid i does.
        """
        self._illuminate(light)
        placed = [self._place(solid) for solid in solids]
        try:
            lit = self._small_frame()
            self._root.clearLight()
            if any(solid.finish != "matte" for solid in solids):
                for solid, node in zip(solids, placed, strict=True):
                    if solid.finish == "matte":
                        node.setTextureOff(1)
                        node.setColor(0, 0, 0, 1, 1)
                    else:
                        node.setColor(1, 1, 1, 1, 1)
                        _mirror(node, (self._studio_from_right if light.heading > 0 else self._studio)[solid.finish], 1)
                lit[..., :3] = np.minimum(lit[..., :3] + self._small_frame()[..., :3], 255 * lit[..., 3:])
            for number, node in enumerate(placed):
                node.setTextureOff(2)
                node.setColor((number + 1) * _ID_STEP / 255, 0, 0, 1, 1)
            flat = self._frame()
        finally:
            for node in placed:
                node.removeNode()
        identity = ((flat[..., 0] + _ID_STEP // 2) // _ID_STEP).astype(np.uint8)
        return lit, identity


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
