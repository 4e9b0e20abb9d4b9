"""The three verbs of the object detector on a network whose right answers are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colour_network import SPEC, colour_network
from PIL import Image

from serve_app.annotation.labels import Label
from serve_app.annotation.objects import MAX_OBJECTS, Geometry, ObjectDetector, load_detector
from serve_app.errors import Problem
from serve_app.models.manifest import Model

Make = Callable[..., ObjectDetector]
Png = Callable[..., bytes]
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def picture(width: int, height: int, **patches: tuple[int, int, int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A black picture with patches (x1, y1, x2, y2) named by their colour."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for colour, (x1, y1, x2, y2) in patches.items():
        pixels[y1:y2, x1:x2] = {"red": RED, "green": GREEN, "blue": BLUE}[colour]
    return pixels


def detect(detector: ObjectDetector, data: bytes) -> list[Label]:
    prepared = detector.prepare(data)
    return detector.finish(detector.run([prepared.tensor])[0], prepared.geometry)


@pytest.mark.parametrize("resize", ["stretch", "area"])
def test_boxes_are_in_pixels_of_the_picture(colour_detector: Make, png: Png, resize: str) -> None:
    seen = detect(colour_detector(resize=resize), png(picture(128, 64, red=(32, 16, 64, 32), green=(96, 48, 128, 64))))
    assert {label.label: label.box for label in seen} == {"red": (32, 16, 64, 32), "green": (96, 48, 128, 64)}
    assert all(label.confidence > 0.9 for label in seen)


def test_letterbox_keeps_the_aspect_and_pads(colour_detector: Make, png: Png) -> None:
    detector = colour_detector(resize="letterbox", pad=114)
    wide = png(picture(64, 32, red=(32, 16, 48, 32)))
    assert [label.box for label in detect(detector, wide)] == [(32, 16, 48, 32)]
    tensor = detector.prepare(wide).tensor
    assert tensor.shape == (3, 32, 32)
    assert np.allclose(tensor[:, 16:], 114 / 255)
    tall = png(picture(32, 64, green=(16, 32, 32, 48)))
    assert [label.box for label in detect(detector, tall)] == [(16, 32, 32, 48)]


def test_boxes_are_those_of_the_upright_picture(colour_detector: Make, png: Png) -> None:
    upright = picture(64, 128, red=(16, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.ascontiguousarray(np.rot90(upright))
    assert [label.box for label in detect(colour_detector(), png(stored, exif=exif))] == [(16, 0, 32, 32)]


def test_boxes_of_a_reduced_picture_are_in_full_pixels(colour_detector: Make, png: Png) -> None:
    large = png(picture(2560, 1280, red=(640, 320, 1280, 640)))
    assert [label.box for label in detect(colour_detector(), large)] == [pytest.approx((640, 320, 1280, 640), abs=1)]


def test_colour_order_and_normalisation(colour_detector: Make, png: Png) -> None:
    blue = png(picture(32, 32, blue=(0, 0, 8, 8)))
    assert detect(colour_detector(colour="rgb"), blue) == []
    assert [label.label for label in detect(colour_detector(colour="bgr"), blue)] == ["red"]
    red = png(picture(32, 32, red=(0, 0, 32, 32)))
    means = colour_detector(colour="bgr", mean=(1, 2, 3), std=(2, 4, 5)).prepare(red).tensor[:, 0, 0]
    assert means.tolist() == pytest.approx([-0.5, -0.5, (255 - 3) / 5])


@pytest.mark.parametrize("batch", ["N", 1])
def test_a_batch_is_split_per_picture(colour_detector: Make, png: Png, batch: int | str) -> None:
    detector = colour_detector(batch)
    prepared = [detector.prepare(png(picture(32, 32, red=(8 * at, 0, 8 * at + 8, 8)))) for at in range(3)]
    outputs = detector.run(np.stack([one.tensor for one in prepared]))
    boxes = [detector.finish(out, one.geometry)[0].box for out, one in zip(outputs, prepared, strict=True)]
    assert boxes == [(0, 0, 8, 8), (8, 0, 16, 8), (16, 0, 24, 8)]
    assert detector.run([]) == []


def test_boxes_are_clipped_and_those_outside_dropped(colour_detector: Make) -> None:
    rows = np.array([[0, 0, 10, 10, 0.9, 0], [40, 5, 4, 4, 0.9, 0], [30, 30, 8, 8, 0, 0.85]], np.float32)
    labels = colour_detector().finish([rows.T], Geometry(32, 32, 1.0, 1.0))
    assert labels == [
        Label("red", pytest.approx(0.9), (0, 0, 5, 5)),
        Label("green", pytest.approx(0.85), (26, 26, 32, 32)),
    ]


def test_suppression_is_per_class_and_best_first(colour_detector: Make) -> None:
    rows = [[16, 16, 8, 8, 0.85, 0], [16, 17, 8, 8, 0.95, 0], [16, 16, 8, 8, 0, 0.9], [4, 4, 4, 4, 0.99, 0]]
    labels = colour_detector().finish([np.array(rows, np.float32).T], Geometry(32, 32, 1.0, 1.0))
    assert [(label.label, round(label.confidence, 2)) for label in labels] == [
        ("red", 0.99),
        ("red", 0.95),
        ("green", 0.9),
    ]


def test_numbers_that_overflowed_and_floods_are_survived(colour_detector: Make) -> None:
    rows = np.tile(np.array([0, 0, 1, 1, 0.9, 0], np.float32), (5000, 1))
    rows[:, :2] = np.random.default_rng(0).uniform(1, 31, (5000, 2))
    rows[0, 0], rows[1, 4] = np.nan, np.inf
    labels = colour_detector().finish([rows.T], Geometry(32, 32, 1.0, 1.0))
    assert len(labels) == MAX_OBJECTS
    assert all(np.isfinite(label.box).all() and label.confidence <= 1 for label in labels)
    assert colour_detector().finish([rows[:0].T], Geometry(32, 32, 1.0, 1.0)) == []


@pytest.mark.parametrize("data", [b"", b"words", b"\x89PNG\r\n\x1a\n"])
def test_what_cannot_be_decoded_is_a_problem(colour_detector: Make, data: bytes) -> None:
    with pytest.raises(Problem):
        colour_detector().prepare(data)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (33, 31)])
def test_odd_sizes_are_read(colour_detector: Make, png: Png, size: tuple[int, int]) -> None:
    data = png(np.full((size[1], size[0], 3), RED, np.uint8))
    for resize in ("stretch", "area"):
        seen = detect(colour_detector(resize=resize), data)
        assert {label.label for label in seen} == {"red"}
        assert len(seen) == 16
    prepared = colour_detector(resize="letterbox", pad=0).prepare(data)
    used = [max(1, round(32 * side / max(size))) for side in size]
    assert prepared.tensor[0].sum() == used[0] * used[1]


def test_a_network_that_does_not_fit_its_row_is_refused(colour_detector: Make) -> None:
    with pytest.raises(ValueError, match="the manifest says"):
        colour_detector(input=(64, 32))
    with pytest.raises(ValueError, match="the network takes"):
        colour_detector(batch=2)


def test_labels_may_stand_in_a_file(tmp_path: Path, png: Png) -> None:
    (tmp_path / "network.onnx").write_bytes(colour_network("N"))
    (tmp_path / "names.txt").write_text("rouge\nvert\n", encoding="utf-8")
    model = Model.model_validate({
        "name": "colours", "task": "object_detection", "revision": "1", "licence": "none", "source": "made here",
        "files": {"weights": {"url": "https://example.org/network.onnx"}, "names": {"url": "https://example.org/n.txt"}},
        "detector": {**SPEC, "labels": {"file": "names"}},
    })  # fmt: skip
    files = {"weights": tmp_path / "network.onnx", "names": tmp_path / "names.txt"}
    seen = detect(load_detector(model, files, threads=1), png(picture(32, 32, green=(0, 0, 8, 8))))
    assert [label.label for label in seen] == ["vert"]
