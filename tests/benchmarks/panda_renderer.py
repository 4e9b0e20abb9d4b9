"""Panda3D's software renderer behind the renderer's interface, for comparison: its own rasteriser, textures and light.

It knows no depth here and lights corners, not pixels. Needs neither display nor GL (`p3tinydisplay`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from panda3d import core
from PIL import Image

from serve_app.media.cameras import basis
from serve_app.media.meshes import Material, Mesh
from serve_app.media.rendering import Camera, Style, Views
from serve_app.media.shading import planes

_SETTINGS = "load-display p3tinydisplay\nwindow-type offscreen\naudio-library-name null\nnotify-level fatal"


class PandaRenderer:
    """One light at the camera, as ``tests.renders.LIGHTING``."""

    name = "panda3d"

    def render(self, mesh: Mesh, cameras: Sequence[Camera], style: Style) -> Views:
        core.loadPrcFileData("", _SETTINGS)
        engine, pipe = core.GraphicsEngine.getGlobalPtr(), core.GraphicsPipeSelection.getGlobalPtr().makeDefaultPipe()
        frame = core.FrameBufferProperties()
        frame.setRgbColor(True)
        frame.setAlphaBits(8)
        frame.setDepthBits(24)
        size = core.WindowProperties.size(style.size, style.size)
        buffer = engine.makeOutput(pipe, "views", 0, frame, size, core.GraphicsPipe.BFRefuseWindow)
        buffer.setClearColor((*(value / 255 for value in style.background), 0))
        pixels = core.Texture()
        buffer.addRenderTexture(pixels, core.GraphicsOutput.RTMCopyRam)
        root = _scene(mesh, style)
        eye = root.attachNewNode(core.Camera("camera"))
        buffer.makeDisplayRegion().setCamera(eye)
        _light(root, eye)
        pictures = []
        for camera in cameras:
            _place(eye, camera)
            for _ in range(1 if pictures else 3):  # the first frames of a new buffer come out empty
                engine.renderFrame()
            data = np.frombuffer(pixels.getRamImageAs("RGBA"), np.uint8)
            pictures.append(data.reshape(style.size, style.size, 4)[::-1].copy())
        engine.removeWindow(buffer)
        drawn = np.stack(pictures)
        depth = np.where(drawn[..., 3] > 127, np.float32(0), np.float32(np.inf))
        return Views(np.ascontiguousarray(drawn[..., :3]), drawn[..., 3].copy(), depth)


def _scene(mesh: Mesh, style: Style) -> core.NodePath:
    root = core.NodePath("root")
    white = core.Material()  # without one, light is multiplied with the corners' colours twice
    white.setAmbient((1, 1, 1, 1))
    white.setDiffuse((1, 1, 1, 1))
    root.setMaterial(white)
    owners = np.zeros(len(mesh.faces), np.int32) if mesh.face_materials is None else mesh.face_materials
    for number, material in enumerate(mesh.materials):
        part = root.attachNewNode(_geometry(mesh, owners == number, material))
        part.setTwoSided(material.double_sided and not style.cull_back_faces)
        if material.texture is not None:
            part.setTexture(_texture(material.texture))
    return root


def _geometry(mesh: Mesh, which: NDArray[np.bool_], material: Material) -> core.GeomNode:
    """The faces of one material, each corner a vertex."""
    count = 3 * int(which.sum())
    normals = planes(mesh)[:, None, :3].repeat(3, axis=1) if mesh.normals is None else mesh.normals
    colours = np.full((len(mesh.faces), 3, 4), 255, np.uint8) if mesh.colours is None else mesh.colours
    corners = np.zeros(count, np.dtype([("place", "f4", 3), ("normal", "f4", 3), ("colour", "u1", 4), ("uv", "f4", 2)]))
    corners["place"] = mesh.vertices[mesh.faces[which]].reshape(-1, 3)
    corners["normal"] = normals[which].reshape(-1, 3)
    corners["colour"] = (colours[which].reshape(-1, 4) * np.array(material.colour) + 0.5).astype(np.uint8)
    if mesh.uvs is not None:
        corners["uv"] = mesh.uvs[which].reshape(-1, 2)
    layout = core.GeomVertexFormat.getV3n3c4t2()
    data = core.GeomVertexData("corners", layout, core.Geom.UHStatic)
    data.uncleanSetNumRows(count)
    data.modifyArrayHandle(0).copyDataFrom(corners.tobytes())
    triangles = core.GeomTriangles(core.Geom.UHStatic)
    triangles.addConsecutiveVertices(0, count)
    geom = core.Geom(data)
    geom.addPrimitive(triangles)
    node = core.GeomNode("part")
    node.addGeom(geom)
    return node


def _texture(pixels: NDArray[np.uint8]) -> core.Texture:
    # It draws only textures whose sides are powers of two.
    sides = [1 << max(side - 1, 1).bit_length() for side in pixels.shape[1::-1]]
    pixels = np.asarray(Image.fromarray(pixels).resize(sides, Image.Resampling.BILINEAR))
    texture = core.Texture()
    texture.setup2dTexture(pixels.shape[1], pixels.shape[0], core.Texture.TUnsignedByte, core.Texture.FRgb)
    texture.setRamImageAs(np.ascontiguousarray(pixels[::-1, :, :3]).tobytes(), "RGB")
    texture.setWrapU(core.Texture.WMRepeat)
    texture.setWrapV(core.Texture.WMRepeat)
    texture.setMinfilter(core.Texture.FTLinear)
    texture.setMagfilter(core.Texture.FTLinear)
    return texture


def _light(root: core.NodePath, eye: core.NodePath) -> None:
    lamp, air = core.DirectionalLight("lamp"), core.AmbientLight("air")
    lamp.setColor((0.7, 0.7, 0.7, 1))
    air.setColor((0.3, 0.3, 0.3, 1))
    for node in (eye.attachNewNode(lamp), root.attachNewNode(air)):
        root.setLight(node)


def _place(eye: core.NodePath, camera: Camera) -> None:
    """Panda3D's cameras look along their Y, with Z up."""
    axes = basis(camera)
    rows = [(*axes.right, 0), (*axes.forward, 0), (*axes.up, 0), (*axes.eye, 1)]
    eye.setMat(core.LMatrix4f(*(float(value) for row in rows for value in row)))
    lens = core.PerspectiveLens()
    lens.setFov(camera.field_deg, camera.field_deg)
    lens.setNearFar(0.01, 100)
    eye.node().setLens(lens)
