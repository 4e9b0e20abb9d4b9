"""Which meshes are rooms, and where one stands in them; scenes made of boxes, in metres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from serve_app.media.cameras import basis
from serve_app.media.enclosure import Enclosure, Rings, cameras_of, dollhouse, judge, views_of
from serve_app.media.mesh_loading import read_mesh
from serve_app.media.mesh_parts import MeshLimits
from serve_app.media.meshes import Material, Mesh
from serve_app.media.rays import Rays
from tests.meshes import room, solid

Solid = trimesh.Trimesh
Solids = list[Solid]
WIDTH, HEIGHT, DEPTH = 5.0, 2.6, 4.0


def made(*parts: Solid | Solids, one_sided: bool = False) -> Mesh:
    """The parts as one mesh, normalised."""
    flat = [solid for part in parts for solid in (part if isinstance(part, list) else [part])]
    whole = trimesh.util.concatenate(flat)
    vertices, _ = normalised(np.asarray(whole.vertices))
    return Mesh(vertices, np.asarray(whole.faces, np.int32), materials=(Material(double_sided=not one_sided),))


def normalised(vertices: NDArray[np.float64]) -> tuple[NDArray[np.float32], float]:
    """The vertices about the origin within radius 1, and the radius that they had."""
    vertices = vertices - (vertices.min(0) + vertices.max(0)) / 2
    radius = float(np.linalg.norm(vertices, axis=1).max())
    return np.ascontiguousarray(vertices / radius, np.float32), radius


def box(width: float, height: float, depth: float, x: float = 0, y: float = 0, z: float = 0) -> Solid:
    """A box that stands at that place of the floor."""
    return solid("box", extents=(width, height, depth)).apply_translation((x, y + height / 2, z))


def table(x: float, z: float) -> Solids:
    legs = [box(0.06, 0.72, 0.06, x + dx, 0, z + dz) for dx in (-0.6, 0.6) for dz in (-0.3, 0.3)]
    return [box(1.4, 0.05, 0.8, x, 0.72, z), *legs]


def furniture() -> Solids:
    sofa = [box(2, 0.4, 0.8, 1.2, 0, -1.4), box(2, 0.5, 0.2, 1.2, 0.4, -1.7)]
    lamp = solid("sphere", radius=0.2, subdivisions=2).apply_translation((2, 1.6, 1.5))
    return [*table(-1, 0.6), *sofa, lamp, box(0.06, 1.4, 0.06, 2, 0, 1.5), box(0.8, 1.9, 0.5, -2, 0, -1.7)]


def thick(width: float, height: float, depth: float, wall: float, ceiling: bool = True) -> Solids:
    """Walls, a floor and perhaps a ceiling as six or five slabs."""
    wide, deep = width + 2 * wall, depth + 2 * wall
    sides = [box(wall, height, deep, x) for x in (-(width + wall) / 2, (width + wall) / 2)]
    ends = [box(width, height, wall, 0, 0, z) for z in (-(depth + wall) / 2, (depth + wall) / 2)]
    return [box(wide, wall, deep, 0, -wall), *sides, *ends, *([box(wide, wall, deep, 0, height)] if ceiling else [])]


def without(mesh: Solid, axis: int, place: float) -> Solid:
    """``mesh`` without the faces in that plane."""
    kept = mesh.copy()
    kept.update_faces(~np.isclose(mesh.vertices[mesh.faces][:, :, axis], place).all(axis=1))
    return kept


def inverted(mesh: Solid) -> Solid:
    turned = mesh.copy()
    turned.invert()
    return turned


def mug() -> Solid:
    wall = [(0, 0), (1, 0), (1, 2.4), (0.85, 2.4), (0.85, 0.15), (0, 0.15)]
    turned: Solid = trimesh.creation.revolve(wall, sections=32)
    return turned.apply_transform(trimesh.transformations.rotation_matrix(-np.pi / 2, (1, 0, 0)))


def yawed(parts: Solids, degrees: float) -> Solids:
    turn = trimesh.transformations.rotation_matrix(np.radians(degrees), (0, 1, 0))
    return [part.copy().apply_transform(turn) for part in parts]


@pytest.mark.parametrize("kind", ["box", "sphere", "cylinder", "cone", "torus", "pyramid"])
def test_solids_are_seen_from_outside(kind: str) -> None:
    named = views_of(made(solid(kind)))
    assert [view.azimuth for view in named] == [0, 45, 90, 135, 180, 225, 270, 315]
    assert not any(view.inside for view in named)


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([*table(0, 0)], id="table"),
        pytest.param(furniture(), id="furniture alone"),
        pytest.param([box(4, 1, 4), box(4, 1, 4, 0, 1)], id="stacked boxes"),
        pytest.param([box(4, 4, 4), box(2, 2, 2, 0, 1)], id="a box in a box"),
        pytest.param([without(box(1, 1, 1), 1, 1.0)], id="open box of single walls"),
        pytest.param(thick(1, 1, 1, 0.05, ceiling=False), id="open box of thick walls"),
        pytest.param([mug()], id="mug"),
        pytest.param([box(1, 0.4, 1), box(0.2, 0.7, 1, -0.5), box(0.2, 0.7, 1, 0.5), box(1, 1, 0.2, 0, 0, -0.5)],
                     id="armchair"),
        pytest.param([box(3, 0.1, 2), box(3, 2, 0.1, 0, 0, -1)], id="laptop"),
    ],
)  # fmt: skip
def test_things_are_seen_from_outside(parts: Solids) -> None:
    found = judge(made(parts))
    assert found.kind == "outside", found.reason
    assert found.place is None
    assert found.reason


@pytest.mark.parametrize("degrees", [0, 30, 45])
@pytest.mark.parametrize("ceiling", [True, False])
def test_a_furnished_room_of_single_walls_is_seen_from_inside(ceiling: bool, degrees: float) -> None:
    mesh = made(yawed([room(WIDTH, HEIGHT, DEPTH, ceiling), *furniture()], degrees))
    found = judge(mesh)
    assert found.kind == "inside", found.reason
    assert dollhouse(mesh, found)
    assert all(view.inside for view in views_of(mesh))


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([room()], id="empty, of single walls"),
        pytest.param([inverted(room()), *furniture()], id="walls that face outward"),
        pytest.param(thick(WIDTH, HEIGHT, DEPTH, 0.2), id="empty, of thick walls"),
        pytest.param([*thick(WIDTH, HEIGHT, DEPTH, 0.2), *furniture()], id="of thick walls"),
        pytest.param([*thick(WIDTH, HEIGHT, DEPTH, 0.2, ceiling=False), *furniture()], id="thick, no ceiling"),
        pytest.param([*thick(WIDTH, HEIGHT, DEPTH, 0.2), *thick(7, 4, 6, 0.2), *furniture()], id="in a shell"),
        pytest.param([without(room(), 2, 2.0), *furniture()], id="open at the front"),
        pytest.param([without(without(without(room(), 2, 2.0), 0, 2.5), 1, 2.6), *furniture()], id="a corner"),
    ],
)
def test_rooms_with_something_to_see_from_outside_or_in_doubt_are_seen_from_both(parts: Solids) -> None:
    mesh = made(parts)
    found = judge(mesh)
    assert found.kind == "both", found.reason
    assert not dollhouse(mesh, found)
    assert [view.inside for view in cameras_of(found)] == [False] * 8 + [True] * 8


def test_an_empty_room_is_no_doubt_where_its_walls_are_only_drawn_from_within() -> None:
    assert judge(made(room(), one_sided=True)).kind == "inside"
    assert judge(made(inverted(room()), one_sided=True)).kind == "outside"


@pytest.mark.parametrize("kind", ["box", "sphere", "cylinder"])
def test_a_shell_of_which_half_is_turned_inside_out_is_seen_from_outside(kind: str) -> None:
    mesh = made(solid(kind).subdivide())
    faces = mesh.faces.copy()
    turned = np.random.default_rng(0).random(len(faces)) < 0.5
    faces[turned] = faces[turned, ::-1]
    assert judge(Mesh(mesh.vertices, faces)).kind == "outside"


def test_a_flat_of_several_rooms_is_a_room() -> None:
    flat: Solids = thick(12, HEIGHT, 8, 0.2)
    flat += [box(0.1, HEIGHT, 8, x) for x in (-2, 2)] + [box(12, HEIGHT, 0.1)]
    for x in (-4, 0, 4):
        for z in (-2, 2):
            flat += table(x, z)
    assert judge(made(flat)).kind != "outside"


def test_one_stands_in_the_middle_at_eye_height() -> None:
    vertices, radius = normalised(np.asarray(room(WIDTH, HEIGHT, DEPTH).vertices))
    found = judge(Mesh(vertices, np.asarray(room().faces, np.int32)))
    assert found.place is not None
    x, y, z = np.array(found.place) * radius
    assert abs(x) < WIDTH / 20
    assert abs(z) < DEPTH / 20
    assert y + HEIGHT / 2 == pytest.approx(0.6 * HEIGHT, abs=0.01)


def test_one_stands_away_from_walls_and_furniture() -> None:
    """Half a metre at least, in a room whose middle is taken."""
    parts = [room(WIDTH, HEIGHT, DEPTH), box(1.5, 2.5, 4, 0.2), box(0.5, 2.5, 0.5, -2), *furniture()]
    mesh = made(parts)
    _, radius = normalised(np.asarray(trimesh.util.concatenate(parts).vertices))
    cameras = [view.camera for view in views_of(mesh) if view.inside]
    forward = np.array([basis(camera).forward for camera in cameras], np.float32)
    level = forward * (1, 0, 1) / np.linalg.norm(forward * (1, 0, 1), axis=1, keepdims=True)
    _, distance = Rays(mesh).cast(np.array([camera.eye for camera in cameras], np.float32), level)
    assert len(cameras) == 8
    assert distance.min() * radius > 0.5


def test_cameras_inside_look_outward_and_slightly_down() -> None:
    named = [view for view in views_of(made(room(), furniture())) if view.inside]
    for view in named:
        x, y, z = basis(view.camera).forward
        assert np.degrees(np.arctan2(x, z)) % 360 == pytest.approx(view.azimuth, abs=1e-6)
        assert np.degrees(np.arcsin(y)) == pytest.approx(view.elevation)
        assert view.camera.field_deg == 75
    assert len({view.camera.eye for view in named}) == 1


def test_rings_are_as_told() -> None:
    rings = Rings(distance=3, elevation_deg=30, azimuths_deg=(10, 100), field_deg=40, inside_field_deg=90)
    outside, _, inside, _ = views_of(made(room()), rings)
    assert np.linalg.norm(outside.camera.eye) == pytest.approx(3)
    assert outside.camera.eye[1] == pytest.approx(1.5)
    assert (outside.camera.field_deg, inside.camera.field_deg) == (40, 90)
    assert (outside.azimuth, inside.azimuth) == (10, 10)


def stage(up: str) -> Mesh:
    parts = [box(10, 0.2, 10, 0, -0.2), *table(0, 0), box(2, 2, 2, 2.4, 0, -1.4)]
    if up == "z":
        turn = trimesh.transformations.rotation_matrix(np.pi / 2, (1, 0, 0))
        parts = [part.apply_transform(turn) for part in parts]
    return made(parts)


@pytest.mark.parametrize(("up", "axis"), [("y", (0, 1, 0)), ("z", (0, 0, 1))])
def test_things_on_a_floor_without_walls_are_seen_from_among_them(up: str, axis: tuple[int, int, int]) -> None:
    found = judge(stage(up))
    assert found.kind == "both", found.reason
    assert found.up == axis
    assert found.place is not None
    low = basis(cameras_of(found)[-1].camera)
    assert np.dot(low.forward, axis) == pytest.approx(np.sin(np.radians(-15)))
    assert np.dot(low.up, axis) > 0


def test_one_thing_on_a_floor_is_seen_from_outside() -> None:
    assert judge(made(box(10, 0.2, 10, 0, -0.2), box(2, 2, 2))).kind == "outside"


@pytest.mark.parametrize("corners", [[], [(0, 0, 0)] * 3, [(0, 0, 0), (1, 0, 0), (2, 0, 0)]])
def test_nothing_to_see_is_looked_at_from_outside(corners: list[tuple[float, float, float]]) -> None:
    vertices = np.array(corners, np.float32).reshape(-1, 3)
    faces = np.arange(len(vertices), dtype=np.int32).reshape(-1, 3)
    assert judge(Mesh(vertices, faces)) == Enclosure("outside", None, "it has no surface")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("simple_room.glb", "both"),  # It has neither walls nor a ceiling, and its floor stands upright.
        ("no_indices_3storybuilding.glb", "outside"),
        ("CesiumMilkTruck.glb", "outside"),
        ("BoxTextured.glb", "outside"),
        ("bunny.ply", "outside"),
        ("teapot.obj", "outside"),
        ("chair_model.obj", "outside"),
        ("kitchen_counter.glb", "outside"),
        ("unit_sphere.STL", "outside"),
    ],
)
def test_real_files(shared: Path, name: str, kind: str) -> None:
    assert judge(read_mesh(str(shared / "media" / "3d" / name), MeshLimits()).mesh).kind == kind


def test_rays_meet_the_nearest_face() -> None:
    mesh = made(box(2, 2, 2))
    half = 3**-0.5
    origins = np.array([(0, 0, 2), (0, 0, 0), (0, 2, 2)], np.float32)
    directions = np.array([(0, 0, -1), (0, 0, 1), (0, 0, -1)], np.float32)
    rays = Rays(mesh)
    faces, distances = rays.cast(origins, directions)
    assert distances == pytest.approx([2 - half, half, np.inf])
    assert rays.fronts(faces, directions).tolist() == [True, False, False]
    assert faces[2] == -1
    assert rays.areas == pytest.approx(np.full(12, 2 / 3))
