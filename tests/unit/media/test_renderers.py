"""Renderers agree with PyTorch3D's own rasteriser and shader, and with what geometry says."""

from __future__ import annotations

import threading
from importlib import util
from pathlib import Path

import numpy as np
import pytest
import trimesh

from serve_app.media import cameras, renderers
from serve_app.media.embree import EmbreeRenderer, covered
from serve_app.media.meshes import Material, Mesh
from serve_app.media.rendering import Camera, Renderer, Style, Views
from serve_app.media.shading import Lighting
from tests import meshes, renders

FLAT = Lighting(lights=(), ambient=1.0)
"""Shows surfaces in their own colours."""
WITH_PYTORCH3D = [
    pytest.param("embree"),
    pytest.param("pytorch3d", marks=pytest.mark.skipif(not util.find_spec("pytorch3d"), reason="no pytorch3d")),
]


def made(name: str, lighting: Lighting) -> Renderer:
    if name == "embree":
        return EmbreeRenderer(lighting)
    from serve_app.media.pytorch3d_renderer import PyTorch3DRenderer

    return PyTorch3DRenderer("cpu", lighting)


@pytest.fixture(params=WITH_PYTORCH3D)
def flat(request: pytest.FixtureRequest) -> Renderer:
    return made(request.param, FLAT)


def squares(*depths: float, materials: tuple[Material, ...] = (Material(),), half: float = 0.5) -> Mesh:
    """Squares that face +Z at z = ``depths``, the n-th of the n-th material (or all of the only one)."""
    corners = np.array([(-half, -half), (half, -half), (half, half), (-half, half)])
    points = np.concatenate([np.column_stack([corners, np.full(4, depth)]) for depth in depths])
    faces = np.concatenate([np.array([(0, 1, 2), (0, 2, 3)]) + 4 * number for number in range(len(depths))])
    owners = np.repeat(np.arange(len(depths)), 2) % len(materials)
    uv = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
    return Mesh(
        points.astype(np.float32),
        faces.astype(np.int32),
        uvs=np.tile(uv[[[0, 1, 2], [0, 2, 3]]], (len(depths), 1, 1)),
        face_materials=owners.astype(np.int32),
        materials=materials,
    )


def turned_over(mesh: Mesh) -> Mesh:
    return Mesh(mesh.vertices, np.ascontiguousarray(mesh.faces[:, ::-1]), materials=mesh.materials)


FRONT = Camera((0.0, 0.0, 2.0))
AT = 30, 37
"""A pixel that is on no edge: PyTorch3D draws neither of two triangles on the line between them."""


def drawn(renderer: Renderer, mesh: Mesh, camera: Camera = FRONT, size: int = 64, cull: bool = False) -> Views:
    return renderer.render(mesh, [camera], Style(size, cull_back_faces=cull))


def agrees(views: Views, golden: renders.Golden) -> None:
    for number, mask in enumerate(golden.mask):
        both = views.mask[number] & mask
        assert both.sum() / (views.mask[number] | mask).sum() >= 0.998
        away = np.abs(views.colour[number].astype(int) - golden.colour[number]).max(axis=-1)[both]
        assert (away <= 2).mean() >= 0.995
        assert away.mean() < 0.3
        depth = np.abs(views.depth[number][both] - np.repeat(np.repeat(golden.depth[number], 2, 0), 2, 1)[both])
        depth = depth[(np.indices(mask.shape) % 2 == 0).all(axis=0)[both]]
        assert (depth < 2e-3).mean() >= 0.998


@pytest.mark.parametrize("name", renders.GENERATED)
@pytest.mark.parametrize("kind", WITH_PYTORCH3D)
def test_made_meshes_look_as_pytorch3d_draws_them(kind: str, name: str) -> None:
    mesh = renders.GENERATED[name]()
    views = made(kind, renders.LIGHTING).render(mesh, renders.CAMERAS, renders.style(mesh))
    agrees(views, renders.golden(name))


@pytest.mark.parametrize("name", renders.SHARED)
def test_real_meshes_look_as_pytorch3d_draws_them(shared: Path, name: str) -> None:
    mesh = renders.of_shared(shared, name)
    views = EmbreeRenderer(renders.LIGHTING).render(mesh, renders.CAMERAS, renders.style(mesh))
    agrees(views, renders.golden(name))


def test_perspective_is_that_of_a_pinhole(flat: Renderer) -> None:
    views = drawn(flat, squares(1.0, half=0.3), size=101)
    reach = 0.3 / 1.0 / np.tan(np.radians(30))
    places = (np.arange(101) + 0.5) / 101 * 2 - 1
    inside = np.abs(places) < reach
    edge = np.eye(101, dtype=bool) | np.eye(101, dtype=bool)[::-1]
    np.testing.assert_array_equal(views.mask[0][~edge], (inside[:, None] & inside[None])[~edge])
    np.testing.assert_allclose(views.depth[0][views.mask[0]], 1.0, atol=1e-5)


def test_texture_coordinates_are_perspective_correct(flat: Renderer) -> None:
    """A floor whose texture goes from black at x = -1 to white at x = 1, seen from aside at a grazing angle."""
    ramp = np.zeros((2, 256, 4), np.uint8)
    ramp[..., :3], ramp[..., 3] = np.arange(256)[None, :, None], 255
    mesh = squares(0.0, materials=(Material(texture=ramp),), half=1.0)
    camera = Camera((3.0, 0.0, 0.5))
    views = drawn(flat, mesh, camera, size=96)
    axes = cameras.basis(camera)
    places = ((np.arange(96) + 0.5) / 96 * 2 - 1) * axes.half
    ways = axes.forward + places[None, :, None] * axes.right - places[:, None, None] * axes.up
    x = 3.0 - 0.5 / ways[..., 2] * ways[..., 0]
    seen = views.mask[0] & (np.abs(x) < 0.98)
    assert seen.sum() > 100
    np.testing.assert_allclose(views.colour[0][seen][:, 0], ((x + 1) / 2 * 256 - 0.5)[seen], atol=1.0)


def test_the_texture_stands_upright(flat: Renderer) -> None:
    texture = np.dstack([meshes.quarters(), np.full((2, 2), 255, np.uint8)])
    colour = drawn(flat, squares(0.0, materials=(Material(texture=texture),)), size=64).colour[0]
    across = [32 - 6, 32 + 6]
    found = [colour[row, column].tolist() for row in across for column in across]
    nearest = [np.abs(meshes.quarters().reshape(-1, 3).astype(int) - one).sum(axis=1).argmin() for one in found]
    assert nearest == [0, 1, 2, 3]


def test_transparent_surfaces_cover_what_is_behind_them(flat: Renderer) -> None:
    glass = [Material((r, g, b, 0.5), alpha="blend") for r, g, b in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
    views = drawn(flat, squares(0.4, 0.0, -0.4, materials=tuple(glass)))
    middle = 255 * (np.eye(3) @ (0.5, 0.25, 0.125) + 0.125)
    np.testing.assert_allclose(views.colour[0][AT], middle, atol=1)
    assert views.alpha[0][AT] == pytest.approx(255 * (1 - 0.125), abs=1)
    assert views.depth[0][AT] == pytest.approx(1.6, abs=1e-4)
    assert views.alpha[0, 0, 0] == 0


def test_many_transparent_layers_end(flat: Renderer) -> None:
    glass = Material((0.0, 0.0, 0.0, 0.1), alpha="blend")
    views = drawn(flat, squares(*np.linspace(0.5, -0.5, 40), materials=(glass,)), size=16)
    assert views.alpha[0, 8, 8] == pytest.approx(255 * (1 - 0.9**8), abs=1)


def test_holes_of_a_mask_show_what_is_behind(flat: Renderer) -> None:
    texture = np.full((1, 2, 4), 255, np.uint8)
    texture[0, 1, 3] = 100
    fence = Material((1, 0, 0, 1), texture, "mask", cutoff=0.5)
    views = drawn(flat, squares(0.4, -0.4, materials=(fence, Material((0, 0, 1, 1)))), size=64)
    left, right = views.colour[0, 32, 26].tolist(), views.colour[0, 32, 38].tolist()
    assert (left, right) == ([255, 0, 0], [0, 0, 255])
    assert views.alpha[0, 32, 38] == 255
    assert views.depth[0, 32, 38] == pytest.approx(2.4, abs=1e-4)


def test_an_opaque_material_ignores_alpha(flat: Renderer) -> None:
    assert drawn(flat, squares(0.0, materials=(Material((1, 1, 1, 0.2)),))).alpha[0][AT] == 255


@pytest.mark.parametrize("by", ["material", "style"])
def test_backs_are_left_out(flat: Renderer, by: str) -> None:
    front = squares(0.0, materials=(Material(double_sided=by == "style"),))
    back, cull = turned_over(front), by == "style"
    assert drawn(flat, front, cull=cull).mask[0][AT]
    assert not drawn(flat, back, cull=cull).mask.any()
    assert drawn(flat, back, Camera((0, 0, -2.0)), cull=cull).mask[0][AT]


def test_a_front_in_the_same_place_as_a_back_is_seen(flat: Renderer) -> None:
    paint = (Material((1, 0, 0, 1), double_sided=False), Material((0, 1, 0, 1), double_sided=False))
    both = squares(0.0, 0.0, materials=paint)
    faces = both.faces.copy()
    faces[:2] = faces[:2, ::-1]
    mesh = Mesh(both.vertices, np.ascontiguousarray(faces), face_materials=both.face_materials, materials=paint)
    assert drawn(flat, mesh).colour[0][AT].tolist() == [0, 255, 0]
    assert drawn(flat, mesh, Camera((0, 0, -2.0))).colour[0][AT].tolist() == [255, 0, 0]


def test_one_sees_into_a_box_whose_near_walls_are_left_out(flat: Renderer) -> None:
    inwards = renders.of_trimesh(meshes.room(2.0, 2.0, 2.0), smooth=False)
    wall = 1 / np.sqrt(3)
    middle = drawn(flat, inwards, cull=True).depth[0][AT]
    assert middle == pytest.approx(2 + wall, abs=1e-4)
    assert drawn(flat, inwards).depth[0][AT] == pytest.approx(2 - wall, abs=1e-4)


def test_from_inside_a_mesh_is_everywhere(flat: Renderer) -> None:
    box = renders.of_trimesh(meshes.solid("box"), smooth=False)
    wall = 1 / np.sqrt(3)
    views = drawn(flat, box, Camera((0.1, 0.1, 0.1), (1.0, 0.1, 0.1), field_deg=80))
    assert views.mask.all()
    assert views.depth[0][AT] == pytest.approx(wall - 0.1, abs=1e-4)


def test_fine_meshes_have_no_holes(flat: Renderer) -> None:
    sphere = renders.of_trimesh(trimesh.creation.icosphere(subdivisions=4))
    mask = drawn(flat, sphere, cameras.ring(2.2, azimuths_deg=(30,))[0], size=160).mask[0]
    for row in mask:
        covered = np.flatnonzero(row)
        assert not len(covered) or len(covered) == np.ptp(covered) + 1


def test_nothing_is_drawn_of_what_is_behind_the_camera(flat: Renderer) -> None:
    views = drawn(flat, squares(0.0), Camera((0, 0, 2.0), target=(0, 0, 4.0)))
    assert not views.mask.any()
    assert not views.alpha.any()
    assert (views.colour == 255).all()


def test_views_of_one_call_are_as_those_of_many() -> None:
    mesh, style = renders.papered(1.0), Style(48, (9, 80, 200))
    together = EmbreeRenderer(threads=3).render(mesh, cameras.ring(), style)
    for number, camera in enumerate(cameras.ring()):
        alone = EmbreeRenderer(threads=1).render(mesh, [camera], style)
        np.testing.assert_array_equal(together.colour[number], alone.colour[0])
        np.testing.assert_array_equal(together.depth[number], alone.depth[0])
    assert together.colour[0, 0, 0].tolist() == [9, 80, 200]


@pytest.mark.parametrize("seed", range(20))
def test_no_pixel_that_shows_the_mesh_is_left_out(seed: int) -> None:
    rng, size = np.random.default_rng(seed), 50
    points = rng.normal(0, 0.5, (12, 3)).astype(np.float32)
    mesh = Mesh(points, rng.integers(0, 12, (6, 3)).astype(np.int32))
    aside = tuple(float(value) for value in rng.normal(0, 0.7, 3))
    camera = Camera((0.3, 0.2, rng.choice([0.6, 2.5])), (aside[0], aside[1], 0.0))
    axes = cameras.basis(camera)
    places = ((np.arange(size) + 0.5) * 2 / size - 1) * axes.half
    rays = axes.forward - places[:, None, None] * axes.up + places[None, :, None] * axes.right
    # A ray o + t d meets a triangle a + u (b - a) + v (c - a) where the solution has t > 0 and u, v, 1 - u - v >= 0.
    shown = np.zeros((size, size), np.bool_)
    for a, b, c in points[mesh.faces].astype(np.float64):
        system = np.stack(np.broadcast_arrays(-rays, b - a, c - a), axis=-1)
        good = np.abs(np.linalg.det(system)) > 1e-9
        t, u, v = np.linalg.solve(system[good], (axes.eye - a)[None, :, None])[..., 0].T
        shown[good] |= (t > 0) & (u >= 0) & (v >= 0) & (u + v <= 1)
    assert not (shown & ~covered(axes, mesh, size)).any()


def test_a_small_mesh_needs_few_rays() -> None:
    small = squares(0.0, half=0.01)
    assert covered(cameras.basis(FRONT), small, 1024).sum() <= 9 * 64
    assert not covered(cameras.basis(Camera((0, 0, 2.0), (9.0, 0, 1.0))), small, 1024).any()


def test_drawing_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    EmbreeRenderer(threads=2).render(squares(0.0), cameras.ring(), Style(16))
    assert threading.active_count() == before


def test_a_processor_draws_with_embree_and_so_does_a_gpu_without_pytorch3d(monkeypatch: pytest.MonkeyPatch) -> None:
    assert renderers.choose("cpu").name == "embree"
    monkeypatch.setattr(renderers, "find_spec", lambda name: None)
    assert renderers.choose("cuda").name == "embree"


@pytest.mark.parametrize("there", [True, False])
def test_a_gpu_is_looked_for_where_no_device_is_named(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    looked: list[str] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    monkeypatch.setattr(renderers, "find_spec", looked.append)
    assert renderers.choose().name == "embree"
    assert looked == ["pytorch3d"] * there


@pytest.mark.skipif(not util.find_spec("pytorch3d"), reason="no pytorch3d")
def test_a_gpu_draws_with_pytorch3d_in_bounded_memory() -> None:
    from serve_app.media.pytorch3d_renderer import views_at_once

    assert renderers.choose("cuda").name == "pytorch3d"
    assert views_at_once(100_000, 1024, 1) >= 8
    assert views_at_once(2_000_000, 1024, 8) < 8
    assert views_at_once(10**9, 1024, 8) == 1


@pytest.mark.skipif(not util.find_spec("pytorch3d"), reason="no pytorch3d")
@pytest.mark.parametrize("size", [64, 1000])
def test_room_is_made_for_the_fullest_bin(size: int) -> None:
    """PyTorch3D loses faces where a bin meets more than it was told: never too few, and not many too many."""
    import torch
    from pytorch3d.structures import Meshes

    from serve_app.media.pytorch3d_renderer import fullest_bin

    rng = np.random.default_rng(2)
    places = rng.uniform(-1.2, 1.2, (2, 300, 1, 3)) + rng.normal(scale=0.08, size=(2, 300, 3, 3))
    places[..., 2] = 1
    corners = torch.tensor(places.reshape(2, -1, 3), dtype=torch.float32)
    faces = torch.arange(900).view(-1, 3)
    side = -(-size // 16)
    width = 2 * side / size
    low, high = places[..., :2].min(axis=2), places[..., :2].max(axis=2)
    starts = np.arange(-(-size // side)) * width - 1
    over = [(low[..., axis, None] < starts + width) & (high[..., axis, None] > starts) for axis in (0, 1)]
    exact = np.einsum("nfx,nfy->nxy", *(one.astype(int) for one in over)).max()
    found = fullest_bin(Meshes([*corners], [faces, faces]), width)
    assert exact <= found <= 1.5 * exact
