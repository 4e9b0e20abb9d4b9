"""The shader: lights that hang on the camera, normals that face it, textures between and beyond their texels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from serve_app.media import cameras, shading
from serve_app.media.embree import EmbreeRenderer
from serve_app.media.meshes import Material, Mesh
from serve_app.media.rendering import Camera, Style
from serve_app.media.shading import Canvas, Fragments, Lighting, Surface
from tests import meshes, renders

FLAT = Lighting(lights=(), ambient=1.0)


def triangle(material: Material, uv: tuple[float, float] = (0.0, 0.0)) -> Mesh:
    """One that faces +Z, all of whose corners have the texture coordinates ``uv``."""
    points = np.array([(-1, -1, 0), (1, -1, 0), (0, 1, 0)], np.float32)
    uvs = np.full((1, 3, 2), uv, np.float32)
    return Mesh(points, np.array([(0, 1, 2)], np.int32), uvs=uvs, materials=(material,))


def one(face: int = 0, weights: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)) -> Fragments:
    return Fragments(
        torch.tensor([0]), torch.tensor([face]), torch.tensor([weights], dtype=torch.float32), torch.tensor([2.0])
    )


def shown(mesh: Mesh, lighting: Lighting = FLAT, camera: Camera | None = None) -> list[int]:
    """The colour that one pixel gets of the first face's middle."""
    canvas = Canvas(Surface(mesh), camera or Camera((0, 0, 2)), Style(1), lighting)
    canvas.paint(one())
    return [int(value) for value in canvas.finish()[0][0, 0]]


def checks() -> NDArray[np.uint8]:
    """2 x 2 texels: 0, 80 above; 160, 240 below."""
    texture = np.full((2, 2, 4), 255, np.uint8)
    texture[..., :3] = np.array([(0, 80), (160, 240)])[..., None]
    return texture


@pytest.mark.parametrize(
    ("uv", "value"),
    [
        ((0.25, 0.75), 0),
        ((0.75, 0.75), 80),
        ((0.25, 0.25), 160),
        ((0.5, 0.75), 40),
        ((0.5, 0.5), 120),
        ((1.25, 0.75), 0),
        ((-0.75, -3.25), 0),
        ((0.0, 0.75), 40),
        ((0.25, 1.0), 80),
        ((7.0, -2.0), 120),
    ],
)
def test_textures_are_bilinear_and_repeat(uv: tuple[float, float], value: int) -> None:
    assert shown(triangle(Material(texture=checks()), uv)) == pytest.approx([value] * 3, abs=1)


def test_the_texture_of_each_material_is_its_own() -> None:
    grey = np.full((3, 1, 4), 99, np.uint8)
    grey[..., 3] = 255
    mesh = triangle(Material(texture=checks()), (0.25, 0.25))
    for number, value in enumerate((160, 99, 255, 160)):
        materials = (Material(texture=checks()), Material(texture=grey), Material(), Material(texture=checks()))
        owned = replace(mesh, materials=materials, face_materials=np.array([number], np.int32))
        assert shown(owned) == [value] * 3


def test_colour_texture_and_corner_colours_multiply() -> None:
    corners = np.array([[(255, 0, 0, 255), (0, 255, 0, 255), (0, 0, 255, 255)]], np.uint8)
    mesh = replace(triangle(Material((0.5, 1.0, 1.0, 1.0), checks()), (0.25, 0.25)), colours=corners)
    assert shown(mesh) == pytest.approx([160 / 6, 160 / 3, 160 / 3], abs=1)


def test_light_follows_the_camera() -> None:
    key = Lighting(lights=(((-1.0, 0.0, 0.0), 0.5),), ambient=0.2)
    sphere = renders.of_trimesh(meshes.solid("sphere"))
    white = Mesh(sphere.vertices, sphere.faces, sphere.normals)
    views = EmbreeRenderer(key).render(white, cameras.ring(2.5, azimuths_deg=(0, 130)), Style(61))
    for colour in views.colour:
        assert colour[30, 20, 0] > colour[30, 30, 0] + 30
        assert colour[30, 40].tolist() == pytest.approx([51] * 3, abs=1)


def test_a_sphere_is_lit_as_lambert_says() -> None:
    front = Lighting(lights=(((0.0, 0.0, 1.0), 0.7),), ambient=0.3)
    sphere = renders.of_trimesh(meshes.solid("sphere", subdivisions=4))
    views = EmbreeRenderer(front).render(
        Mesh(sphere.vertices, sphere.faces, sphere.normals), [Camera((0, 0, 3))], Style(65)
    )
    depth = views.depth[0]
    seen = views.mask[0] & (3 - depth > 0.4)
    # The light comes from +Z, so that the cosine is a unit sphere's z: 3 minus the depth.
    np.testing.assert_allclose(views.colour[0][seen][:, 0], (255 * (0.3 + 0.7 * (3 - depth)))[seen], atol=2)


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("change", ["winding", "normals"])
def test_neither_winding_nor_normals_turned_inside_out_make_a_mesh_dark(smooth: bool, change: str) -> None:
    good = renders.of_trimesh(meshes.solid("torus"), smooth)
    if change == "winding":
        flip = None if good.normals is None else np.ascontiguousarray(good.normals[:, ::-1])
        assert good.colours is not None
        faces = np.ascontiguousarray(good.faces[:, ::-1])
        bad = Mesh(good.vertices, faces, flip, colours=np.ascontiguousarray(good.colours[:, ::-1]))
    else:
        bad = replace(good, normals=None if good.normals is None else -good.normals)
    one, other = (EmbreeRenderer().render(mesh, [cameras.framed(good)], Style(64)) for mesh in (good, bad))
    assert np.abs(one.colour[0].astype(int) - other.colour[0]).max() <= 1


def test_white_never_reaches_white_and_black_faces_are_told_apart() -> None:
    """A white mesh on a white background keeps an edge, whatever way its faces look."""
    sphere = renders.of_trimesh(meshes.solid("sphere"))
    white = Mesh(sphere.vertices, sphere.faces, sphere.normals)
    views = EmbreeRenderer().render(white, [Camera((0, 0, 2.5))], Style(64))
    light = views.colour[0][views.mask[0]][:, 0]
    assert 215 <= light.max() <= 245
    assert light.min() >= 50
    assert light.std() > 20


def test_zero_area_faces_and_zero_normals_leave_no_trace() -> None:
    points = np.array([(-1, -1, 0), (1, -1, 0), (0, 1, 0), (0, 0, 0.5)], np.float32)
    faces = np.array([(0, 1, 2), (3, 3, 3), (0, 3, 0)], np.int32)
    mesh = Mesh(points, faces, np.zeros((3, 3, 3), np.float32))
    views = EmbreeRenderer().render(mesh, [Camera((0, 0, 2))], Style(32))
    assert np.isfinite(shading.planes(mesh)).all()
    assert views.mask[0].sum() > 100
    assert (views.alpha[0] == np.where(views.mask[0], 255, 0)).all()


def test_what_lies_behind_an_opaque_pixel_is_not_asked_for() -> None:
    canvas = Canvas(Surface(triangle(Material())), Camera((0, 0, 2)), Style(1))
    assert canvas.paint(one()).tolist() == [False]
    glass = Canvas(Surface(triangle(Material((1, 1, 1, 0.5), alpha="blend"))), Camera((0, 0, 2)), Style(1))
    assert glass.paint(one()).tolist() == [True]
    assert [int(value) for value in glass.finish()[1].ravel()] == [128]
