"""Faces are cut out where they are, as each kind of network wants them, and again from what is kept of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from facenet_pytorch.models.utils.detect_face import extract_face
from numpy.typing import NDArray
from PIL import Image

from serve_app.annotation.face_crops import KEPT_SIDE, Opened
from serve_app.annotation.labels import FoundFace
from serve_app.errors import Problem
from serve_app.models.manifest import Descriptor

Png = Callable[..., bytes]
TEMPLATE = ((20.0, 24.0), (44.0, 24.0), (32.0, 36.0), (23.0, 48.0), (41.0, 48.0))
BOX: dict[str, Any] = {
    "side": 64, "colour": "rgb", "mean": [0] * 3, "std": [1] * 3, "align": "box", "margin": 0, "dim": 3,
    "thresholds": {1: 1.0},
}  # fmt: skip


def spec(**changes: Any) -> Descriptor:
    return Descriptor.model_validate({**BOX, **changes})


def by_points(**changes: Any) -> Descriptor:
    return spec(align="five_points", margin=None, template=TEMPLATE, **changes)


def plane(width: int, height: int) -> NDArray[np.uint8]:
    """Red tells x and green tells y, 255 at the far edge; blue waves softly."""
    y, x = np.mgrid[:height, :width]
    red, green = (x + 0.5) / width * 255, (y + 0.5) / height * 255
    return np.rint(np.stack([red, green, 127 + 100 * np.sin((x + y) / 25)], axis=-1)).astype(np.uint8)


def turned(degrees: float, scale: float, about: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    """The template, turned and made larger, its middle at ``about``."""
    points = np.array([complex(x, y) for x, y in TEMPLATE]) - (32 + 36j)
    moved = points * scale * np.exp(1j * np.radians(degrees)) + complex(*about)
    return tuple((float(z.real), float(z.imag)) for z in moved)


def test_a_box_is_cut_out_as_facenet_pytorch_does(png: Png) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (320, 260, 3), np.uint8)
    box = (60.0, 14.0, 60.0 + 146, 14.0 + 2 * 146)  # a margin of 14 in 160 pixels is 14 / 146 of the box
    expected = np.asarray(extract_face(Image.fromarray(pixels), np.array(box), 160, margin=14)).transpose(1, 2, 0)
    found = Opened(png(pixels)).cut(FoundFace(box, 1), spec(side=160, margin=14 / 146)).astype(int)
    assert found.shape == (160, 160, 3)
    assert np.abs(found - expected).max() <= 1


def test_a_square_is_the_middle_of_the_box(png: Png) -> None:
    cut = Opened(png(plane(200, 200))).cut(FoundFace((50, 20, 150, 180), 1), spec(align="square")).astype(float)
    # 100 wide: x from 50 to 150, y from 50 to 150, of 200 pixels in 255 levels.
    for channel, axis in ((0, 0), (1, 1)):
        along = cut[..., channel].mean(axis=axis)
        np.testing.assert_allclose(along, 255 * (50 + (np.arange(64) + 0.5) * 100 / 64) / 200, atol=1)


@pytest.mark.parametrize("align", ["box", "square"])
def test_a_box_over_the_edge_ends_at_the_edge(png: Png, align: str) -> None:
    cut = Opened(png(plane(100, 100))).cut(FoundFace((-30, -30, 50, 50), 1), spec(align=align, margin=0.2))
    assert cut[0, 0, 0] <= 2
    assert abs(int(cut[-1, -1, 0]) - 255 * 58 / 100) <= 2


@pytest.mark.parametrize(("degrees", "scale"), [(0, 1), (25, 0.5), (-40, 1.7), (90, 3.4), (170, 9.3)])
def test_landmarks_come_to_lie_on_the_template(png: Png, degrees: float, scale: float) -> None:
    side = 1000
    landmarks = turned(degrees, scale, (505, 495))
    cut = Opened(png(plane(side, side))).cut(FoundFace((400, 400, 600, 600), 1, landmarks), by_points())
    for (x, y), (seen_x, seen_y) in zip(TEMPLATE, landmarks, strict=True):
        around = cut[int(y) - 1 : int(y) + 1, int(x) - 1 : int(x) + 1].reshape(-1, 3).mean(0)
        np.testing.assert_allclose(around[:2], (255 * seen_x / side, 255 * seen_y / side), atol=1.2)


def test_shrinking_much_averages_instead_of_skipping(png: Png) -> None:
    """Noise becomes nearly grey: its deviation of 74 shrinks by 8, as the means of 64 pixels do."""
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), np.uint8)
    cut = Opened(png(noise)).cut(FoundFace((300, 300, 900, 900), 1, turned(10, 8.2, (600, 600))), by_points())
    assert cut[8:-8, 8:-8].std() < 12


def test_least_squares_fit_landmarks_that_are_no_similarity_of_the_template(png: Png) -> None:
    """Umeyama's closed form by singular values, written out here, gives the same crop."""
    random = np.random.default_rng(3)
    landmarks = np.array(turned(15, 2.0, (150, 150))) + random.normal(0, 4, (5, 2))
    target = np.array(TEMPLATE)
    seen, wanted = landmarks - landmarks.mean(0), target - target.mean(0)
    u, values, v = np.linalg.svd(wanted.T @ seen / 5)
    sign = np.diag([1, np.sign(np.linalg.det(u) * np.linalg.det(v))])
    turn, scale = u @ sign @ v, np.trace(np.diag(values) @ sign) / (seen**2).sum(1).mean()
    middle = landmarks.mean(0) + np.linalg.inv(scale * turn) @ (np.array([32, 32]) - target.mean(0))
    face = FoundFace((100, 100, 200, 200), 1, tuple((float(x), float(y)) for x, y in landmarks))
    cut = Opened(png(plane(300, 300))).cut(face, by_points())
    np.testing.assert_allclose(cut[31:33, 31:33, :2].reshape(-1, 2).mean(0), 255 * middle / 300, atol=1)


def test_what_lies_outside_the_picture_is_black(png: Png) -> None:
    white = np.full((100, 100, 3), 255, np.uint8)
    cut = Opened(png(white)).cut(FoundFace((0, 0, 30, 30), 1, turned(0, 1, (5, 5))), by_points())
    assert cut[:20, :20].max() == 0
    assert cut[40:, 40:].min() == 255
    away = FoundFace((0, 0, 30, 30), 1, turned(0, 1, (-500, -500)))
    assert Opened(png(white)).cut(away, by_points()).max() == 0


@pytest.mark.parametrize("align", ["box", "square", "five_points"])
@pytest.mark.parametrize(
    ("middle", "scale", "degrees"),
    [((700, 600), 1.5, 20), ((700, 600), 9, -30), ((60, 80), 1.5, 45), ((40, 900), 3, 0)],
)
def test_a_kept_face_gives_the_same_crop_again(
    png: Png, align: str, middle: tuple[float, float], scale: float, degrees: float
) -> None:
    landmarks = turned(degrees, scale, middle)
    half = 24 * scale
    face = FoundFace((middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half), 0.9, landmarks)
    wanted = by_points() if align == "five_points" else spec(align=align, margin=0.3)
    opened = Opened(png(plane(1400, 1200)))
    kept = opened.keep(face)
    again = Opened(kept.picture).cut(kept.face, wanted).astype(int)
    assert np.abs(again - opened.cut(face, wanted)).mean() < 1.5
    with Image.open(io.BytesIO(kept.picture)) as picture:
        assert picture.format == "JPEG"
        assert max(picture.size) <= KEPT_SIDE
        assert not picture.getexif()


def test_boxes_are_in_pixels_of_the_full_upright_picture(png: Png) -> None:
    """Larger than what is worked on, and lying on its side."""
    wide = Image.fromarray(plane(6000, 300))
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise: 300 wide, 6000 high
    wide.save(buffer, "PNG", exif=exif)
    cut = Opened(buffer.getvalue()).cut(FoundFace((100, 3000, 200, 3100), 1), spec()).astype(float)
    # Upright, red tells y of 6000 and green tells x of 300 from the right.
    assert abs(cut[..., 0].mean() - 255 * 3050 / 6000) < 1
    assert abs(cut[..., 1].mean() - 255 * 150 / 300) < 1


@pytest.mark.parametrize(
    ("face", "align", "detail"),
    [
        (FoundFace((200, 0, 300, 50), 1), "box", "no part in the picture"),
        (FoundFace((10, 10, 10, 50), 1), "box", "no part in the picture"),
        (FoundFace((float("nan"), 0, 30, 50), 1), "box", "not finite"),
        (FoundFace((10, 10, 50, 50), 1, ((20.0, 20.0),) * 5), "five_points", "do not tell how it lies"),
        (FoundFace((10, 10, 50, 50), 1, ((float("inf"), 20.0),) * 5), "five_points", "nowhere near"),
        (FoundFace((10, 10, 50, 50), 1, ((float("nan"), 20.0),) * 5), "five_points", "nowhere near"),
        (FoundFace((10, 10, 50, 50), 1, ((1e308, 20.0), *turned(0, 1, (9, 9))[1:])), "five_points", "nowhere near"),
    ],
)
def test_a_face_that_cannot_be_cut_out_is_a_problem(png: Png, face: FoundFace, align: str, detail: str) -> None:
    wanted = by_points() if align == "five_points" else spec()
    with pytest.raises(Problem, match=detail) as problem:
        Opened(png(plane(100, 100))).cut(face, wanted)
    assert problem.value.code == "unprocessable"


def test_a_detector_without_landmarks_is_named_as_what_is_missing(png: Png) -> None:
    with pytest.raises(Problem, match="by 5 landmarks, and the detector gave 0") as problem:
        Opened(png(plane(100, 100))).cut(FoundFace((10, 10, 50, 50), 1), by_points())
    assert problem.value.code == "unavailable"
    assert "mtcnn" in str(problem.value.remedy)
