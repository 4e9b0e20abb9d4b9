"""Folders of photographs, and what happens to a picture before someone looks for its original."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serve_app.evaluation.photographs import CHANGES, MAX_SIDE, changed, read_photographs


def test_a_folder_is_read_upright_and_what_is_no_picture_is_named(tmp_path: Path) -> None:
    turned = Image.new("RGB", (40, 20))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "b.jpg", exif=exif)
    Image.new("RGB", (3 * MAX_SIDE, MAX_SIDE)).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    (tmp_path / "below").mkdir()
    found = read_photographs(tmp_path)
    assert {name: pixels.shape[:2] for name, pixels in found.pictures.items()} == {
        "a.png": (pytest.approx(MAX_SIDE / 3, abs=1), MAX_SIDE),
        "b.jpg": (40, 20),
    }
    assert found.skipped == ("cut.png", "notes.txt")


def test_without_a_folder_there_are_the_eight_photographs_that_no_training_sees() -> None:
    assert len(read_photographs().pictures) == 8


def test_changes_by_hand() -> None:
    y, x = np.mgrid[0:100, 0:200]
    pixels = np.stack([x, y + 100, np.full_like(x, 90)], axis=-1).astype(np.uint8)
    crop = changed(pixels, "centre crop, 80 % of each side")
    assert np.array_equal(crop, pixels[10:90, 20:180])
    assert np.array_equal(changed(pixels, "lower right crop, 80 % of each side"), pixels[20:, 40:])
    assert changed(pixels, "half-size JPEG, quality 40").shape == (50, 100, 3)
    grey = changed(pixels, "grey").astype(int)
    luma = pixels @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    assert np.abs(grey - luma[..., None]).max() <= 1


def test_a_rotated_picture_has_black_corners_or_none() -> None:
    white = np.full((120, 200, 3), 255, np.uint8)
    cropped = changed(white, "rotated by 10 degrees, cropped")
    assert cropped.min() == 255
    assert cropped.shape[1] / cropped.shape[0] == pytest.approx(200 / 120, abs=0.03)
    assert cropped.shape[0] > 0.7 * 120
    whole = changed(white, "rotated by 10 degrees, black corners")
    assert whole[0, 0].max() == whole[-1, -1].max() == 0
    assert (whole.min(axis=2) > 127).sum() == pytest.approx(120 * 200, rel=0.01)


def test_every_change_of_a_tiny_picture_is_a_picture() -> None:
    for change in CHANGES:
        assert changed(np.zeros((2, 3, 3), np.uint8), change).ndim == 3
