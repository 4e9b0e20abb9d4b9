"""Thumbnails and turntables are whole, centred, smooth at their edges, and play in a loop."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from serve_app.media import cameras, previews
from serve_app.media.embree import EmbreeRenderer
from serve_app.media.meshes import Material, Mesh
from tests import meshes, renders

RENDERER = EmbreeRenderer()


def solid(kind: str) -> Mesh:
    return renders.of_trimesh(meshes.solid(kind), smooth=kind != "box")


@pytest.mark.parametrize("kind", ["box", "torus", "cone"])
def test_a_thumbnail_is_centred_and_fills_its_frame(kind: str) -> None:
    picture = previews.thumbnail(RENDERER, solid(kind), 96)
    assert picture.shape == (96, 96, 4)
    rows, columns = (np.flatnonzero((picture[..., 3] > 127).any(axis=axis)) for axis in (1, 0))
    for covered in (rows, columns):
        assert covered[0] == pytest.approx(95 - covered[-1], abs=1)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(96 * cameras.FILLED, abs=1.5)


def test_the_edges_of_a_thumbnail_are_smooth_and_carry_no_background() -> None:
    red = renders.of_trimesh(meshes.solid("sphere"))
    red = Mesh(red.vertices, red.faces, red.normals, materials=(Material((1, 0, 0, 1)),))
    picture = previews.thumbnail(RENDERER, red, 64)
    alpha = picture[..., 3]
    partly = (alpha > 20) & (alpha < 235)
    assert partly.sum() > 30
    assert picture[partly][:, 1:3].max() <= 12
    assert picture[0, 0, 3] == 0


def test_a_thumbnail_may_stand_on_a_plain_background() -> None:
    picture = previews.thumbnail(RENDERER, solid("box"), 32, background=(10, 200, 30))
    assert picture[0, 0].tolist() == [10, 200, 30, 255]
    assert picture[16, 16].tolist() != [10, 200, 30, 255]


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_a_still_keeps_its_transparency(kind: str) -> None:
    picture = previews.thumbnail(RENDERER, solid("cone"), 48)
    with Image.open(BytesIO(previews.still(picture, kind))) as image:  # type: ignore[arg-type]
        assert image.format == kind.upper()
        read = np.asarray(image.convert("RGBA"))
    np.testing.assert_array_equal(read[..., 3], picture[..., 3])


def test_a_turntable_keeps_everything_in_frame_at_one_scale() -> None:
    pictures = previews.turntable(RENDERER, solid("box"), frames=12, size=64)
    assert pictures.shape == (12, 64, 64, 3)
    drawn = (pictures != 255).any(axis=-1)
    for edge in (drawn[:, 0], drawn[:, -1], drawn[:, :, 0], drawn[:, :, -1]):
        assert not edge.any()
    tops = [np.flatnonzero(frame.any(axis=1))[0] for frame in drawn]
    assert np.ptp(tops) <= 4
    # A box looks the same after a quarter turn but for its colours.
    np.testing.assert_array_equal(drawn[0], drawn[3])
    assert (pictures[0] != pictures[3]).any()


def test_a_turntable_goes_all_around_in_equal_steps() -> None:
    eyes = np.array([camera.eye for camera in cameras.around(solid("cone"), 8)])
    angles = (np.degrees(np.arctan2(eyes[:, 0], eyes[:, 2])) + 1) % 360 - 1
    np.testing.assert_allclose(angles, np.arange(8) * 45, atol=1e-6)
    assert np.ptp(eyes[:, 1]) < 1e-9


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_a_turntable_plays_without_end(kind: str) -> None:
    pictures = previews.turntable(RENDERER, solid("box"), frames=6, size=48)
    with Image.open(BytesIO(previews.moving(pictures, kind))) as image:  # type: ignore[arg-type]
        assert image.format == kind.upper()
        assert image.info["loop"] == 0
        assert image.n_frames == 6
        shown = []
        for number in range(6):
            image.seek(number)
            shown.append(np.asarray(image.convert("RGB")).astype(int))
    assert np.abs(np.array(shown) - pictures).mean() < 4


def test_what_stands_still_does_not_flicker_in_a_gif() -> None:
    """One palette for all frames: a pixel that never changes has one colour in all of them."""
    rng = np.random.default_rng(1)
    pictures = np.repeat(rng.integers(0, 256, (1, 40, 40, 3), dtype=np.uint8), 5, axis=0)
    pictures[:, :8] = rng.integers(0, 256, (5, 8, 40, 3), dtype=np.uint8)
    with Image.open(BytesIO(previews.moving(pictures, "gif"))) as image:
        shown = []
        for number in range(5):
            image.seek(number)
            shown.append(np.asarray(image.convert("RGB"))[8:])
    assert all((frame == shown[0]).all() for frame in shown)
