"""The renderer, its meshes, surfaces and type: right in geometry and colour."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np
import pytest
import trimesh

from serve_app.models.embedded.backgrounds import SURFACES, background, boards, heap, surface
from serve_app.models.embedded.print_text import Page, page, place_text
from serve_app.models.embedded.rendering import FIELD_OF_VIEW, SUPERSAMPLE, Light, Solid, renderer, visible_box
from serve_app.models.embedded.solids import EVERYDAY, MESHES, SOLIDS
from serve_app.models.embedded.words import COLOURS

SUN = Light(heading=-30, pitch=-40, strength=0.55, ambient=0.5)


@pytest.mark.parametrize("radius", [0.08, 0.2])
def test_a_sphere_reaches_as_far_as_geometry_says(radius: float) -> None:
    depth = 6.0
    sphere = Solid("sphere", (1, 0, 0), 0.5, 0.5, radius, depth, 0.0, (0.0, 0.0, 0.0))
    _, identity = renderer(128).render([sphere], SUN)
    half_view = np.tan(np.radians(FIELD_OF_VIEW / 2))
    true_radius = 2 * radius * depth * half_view
    reach = np.tan(np.arcsin(true_radius / depth)) / half_view / 2  # the silhouette of a sphere is its tangent cone
    box = visible_box(identity == 1)
    assert box is not None
    assert np.array(box) / (128 * SUPERSAMPLE) == pytest.approx([0.5 - reach] * 2 + [0.5 + reach] * 2, abs=0.01)


def test_boxes_agree_with_what_the_pixels_show() -> None:
    places = [(x, y) for y in (0.2, 0.5, 0.8) for x in (0.25, 0.75)]
    green, turn = (0.2, 0.9, 0.3), (30.0, 0.0, 0.0)
    shapes = [Solid(shape, green, *place, 0.1, 7, 25, turn) for shape, place in zip(SOLIDS, places, strict=True)]
    _, identity = renderer(128).render(shapes, SUN)
    for number, solid in enumerate(shapes):
        alone, _ = renderer(128).render([solid], SUN)
        rows, columns = np.nonzero(alone[..., 3] > 0)
        box = visible_box(identity == number + 1)
        assert box is not None
        seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert np.array(box) / SUPERSAMPLE == pytest.approx(seen, abs=1.0)
        red, shown, blue = alone[rows, columns, :3].mean(axis=0)
        assert shown > 2 * max(red, blue), "green solids look green"


def test_a_hidden_part_is_not_in_the_box() -> None:
    behind = Solid("cube", (1, 1, 1), 0.5, 0.5, 0.2, 8, 0, (0, 0, 0))
    before = Solid("cube", (1, 0, 0), 0.65, 0.5, 0.2, 5, 0, (0, 0, 0))
    alone = visible_box(renderer(128).render([behind], SUN)[1] == 1)
    covered = visible_box(renderer(128).render([behind, before], SUN)[1] == 1)
    assert alone is not None
    assert covered is not None
    assert covered[0] == alone[0]
    assert covered[2] < alone[2] - 5


def test_there_are_six_solids_and_eight_everyday_things() -> None:
    assert tuple(MESHES) == (*SOLIDS, *EVERYDAY)


@pytest.mark.parametrize("name", MESHES)
def test_meshes_are_closed_small_and_face_outwards(name: str) -> None:
    mesh = MESHES[name]
    places, triangles = mesh.vertices[:, :3], mesh.triangles
    assert np.linalg.norm(places, axis=1).max() < (1.4 if name in SOLIDS else 1.1)
    across = np.cross(
        places[triangles[:, 1]] - places[triangles[:, 0]], places[triangles[:, 2]] - places[triangles[:, 0]]
    )
    solid_ones = np.linalg.norm(across, axis=1) > 1e-6
    agreement = (across * mesh.vertices[triangles, 3:6].mean(axis=1)).sum(axis=1)
    assert (agreement[solid_ones] > 0).all(), "counter-clockwise triangles and normals point the same way"
    assert np.linalg.norm(mesh.vertices[:, 3:6], axis=1) == pytest.approx(1, abs=1e-4)
    welded = trimesh.Trimesh(places.round(4), triangles)
    welded.merge_vertices(merge_norm=True, merge_tex=True)
    welded.update_faces(welded.nondegenerate_faces())
    assert welded.volume > 0.2
    if name not in ("mug", "chair"):  # a handle ends inside the mug's wall; a chair's boxes touch
        assert welded.is_watertight


def _shown(solid: Solid, light: Light = SUN) -> np.ndarray:
    drawn, _ = renderer(96).render([solid], light)
    return drawn[drawn[..., 3] == 1][:, :3]


def test_a_face_right_before_the_light_shows_its_colour() -> None:
    face = _shown(Solid("cube", (0.8, 0.4, 0.2), 0.5, 0.5, 0.2, 7, 0, (0, 0, 0)), Light(0, 0, 0.5, 0.5, fill=0))
    assert np.median(face, axis=0) == pytest.approx([204, 102, 51], abs=14)


@pytest.mark.parametrize("colour", ["black", "white", "brown", "green"])
def test_lit_and_shaded_faces_differ(colour: str) -> None:
    rgb = tuple(np.array(COLOURS[colour]) / 255)
    level = _shown(Solid("cube", rgb, 0.5, 0.5, 0.3, 6, 30, (35, 0, 0))).mean(axis=1)
    low, high = np.percentile(level, [5, 95])
    assert 1.2 * low < high
    assert high - low > 6
    assert 0.4 * np.mean(COLOURS[colour]) < low
    assert high < np.mean(COLOURS[colour]) + 20


@pytest.mark.parametrize("shape", ["cube", "sphere", "cylinder", "mug"])
def test_finishes_differ_visibly_and_keep_the_hue(shape: str) -> None:
    for colour in ("red", "yellow", "green", "blue", "purple"):
        rgb = tuple(np.array(COLOURS[colour]) / 255)
        hue = colorsys.rgb_to_hsv(*rgb)[0]
        shown = {
            finish: _shown(Solid(shape, rgb, 0.5, 0.5, 0.3, 6, 25, (30, 0, 0), None, finish))
            for finish in ("matte", "shiny", "metal")
        }
        for one, other in (("matte", "shiny"), ("matte", "metal"), ("shiny", "metal")):
            changed = np.abs(shown[one] - shown[other]).max(axis=1) > 40
            assert changed.mean() > 0.03, (colour, one, other)
        for finish, pixels in shown.items():
            seen = colorsys.rgb_to_hsv(*np.median(pixels, axis=0) / 255)[0]
            assert min(abs(seen - hue), 1 - abs(seen - hue)) < 0.04, (colour, finish)


def test_textures_show_and_leave_the_colour_true() -> None:
    red = (0.8, 0.1, 0.1)
    plain = _shown(Solid("cube", red, 0.5, 0.5, 0.3, 6, 25, (30, 0, 0)))
    for name in SURFACES:
        pattern = surface(np.random.default_rng(4), name)
        assert (pattern.shape, pattern.dtype) == ((64, 64, 3), np.uint8)
        assert pattern.max() > 220 > 120 > pattern.min()
        assert pattern.mean() > 110, "mostly the colour, less the pattern"
        patterned = _shown(Solid("cube", red, 0.5, 0.5, 0.3, 6, 25, (30, 0, 0), pattern))
        assert (plain - patterned).max(axis=1).mean() > 5
        assert (patterned[:, 0] >= patterned[:, 1:].max(axis=1)).all()


@pytest.mark.parametrize(
    "draw", [heap, boards, lambda rng, side: background(rng, side)[0], lambda rng, _: surface(rng, "marbled")]
)
def test_a_seed_gives_the_same_picture(draw: Callable[[np.random.Generator, int], np.ndarray]) -> None:
    one, again, other = (draw(np.random.default_rng(seed), 64) for seed in (5, 5, 6))
    assert one.shape == (64, 64, 3)
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_boards_are_brown() -> None:
    for seed in range(10):
        red, green, blue = boards(np.random.default_rng(seed), 96).reshape(-1, 3).mean(axis=0)
        assert red > 1.2 * green > 1.2 * blue > 20


def test_the_box_of_text_is_the_extent_of_what_changed() -> None:
    free = np.zeros((144, 144), bool)
    flat = np.full((144, 144, 3), (200, 205, 210), np.uint8)
    checked = 0
    for seed in range(60):
        printed = place_text(np.random.default_rng(seed), flat, free)
        again = place_text(np.random.default_rng(seed), flat, free)
        assert printed
        assert again
        assert np.array_equal(printed[0], again[0])
        changed = visible_box((np.abs(printed[0].astype(int) - flat) > 25).any(axis=-1))
        assert changed
        x1, y1, x2, y2 = printed[1]
        inside = printed[0][int(y1) : int(y2), int(x1) : int(x2)].astype(int).mean(axis=-1)
        assert np.ptp(inside) > 50, "legible"
        assert changed[0] <= x1 + 1
        assert changed[1] <= y1 + 1
        checked += np.abs(np.array(changed) - printed[1]).max() <= 1
    assert checked > 25, "all but shadows and strips of paper, which reach further than the ink"


def test_text_keeps_off_what_is_taken() -> None:
    taken = np.zeros((96, 96), bool)
    taken[:, :60] = True
    flat = np.full((96, 96, 3), 90, np.uint8)
    printed = [place_text(np.random.default_rng(seed), flat, taken) for seed in range(40)]
    assert sum(one is not None for one in printed) > 5
    for one in printed:
        assert one is None or one[1][0] >= 60
    assert place_text(np.random.default_rng(0), flat, np.ones((96, 96), bool)) is None


def test_pages_are_what_they_say() -> None:
    pages = [page(np.random.default_rng(seed), 144) for seed in range(80)]
    for one in pages:
        sheet = np.median(one.pixels.reshape(-1, 3), axis=0) / 255
        hue, saturation, value = colorsys.rgb_to_hsv(*sheet)
        if one.facts.paper in ("white", "grey", "black"):
            assert saturation < 0.25
            assert {"white": 0.8, "grey": 0.4, "black": 0.0}[one.facts.paper] <= value
            assert value <= {"white": 1.0, "grey": 0.85, "black": 0.25}[one.facts.paper]
        else:
            named = colorsys.rgb_to_hsv(*np.array(COLOURS[one.facts.paper]) / 255)[0]
            assert min(abs(hue - named), 1 - abs(hue - named)) < 0.06, one.facts.paper
            assert saturation > 0.15
        assert one.facts.ink != one.facts.paper
        x1, y1, x2, y2 = (int(edge) for edge in one.box)
        assert 0 <= x1 < x2 <= 144
        assert 0 <= y1 < y2 <= 144
        assert np.ptp(one.pixels[y1:y2, x1:x2].mean(axis=-1)) > 25
    for field, values in {
        "size": {"", "small", "large"},
        "columns": {1, 2},
        "heading": {True, False},
        "tilted": {True, False},
    }.items():
        assert {getattr(one.facts, field) for one in pages} == values
    assert len({one.facts.paper for one in pages}) > 6


def _rows_of_print(one: Page) -> int:
    grey = one.pixels.astype(float).mean(axis=-1)
    marked = np.abs(grey - np.median(grey, axis=1, keepdims=True)).mean(axis=1) > 4
    return int((np.diff(marked.astype(int)) > 0).sum())


def test_small_print_has_more_lines_than_large() -> None:
    pages = [page(np.random.default_rng(seed), 144) for seed in range(150)]
    straight = [one for one in pages if not one.facts.tilted and not one.facts.heading and one.facts.columns == 1]
    small, large = ([_rows_of_print(one) for one in straight if one.facts.size == size] for size in ("small", "large"))
    assert len(small) > 5
    assert len(large) > 5
    assert np.median(small) > 1.4 * np.median(large)
