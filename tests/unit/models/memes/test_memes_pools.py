"""Reading the folders: any colour mode, sorted, boxes known or found, kept on the disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serve_app.annotation.visual_part import visual_part
from serve_app.errors import Problem
from serve_app.models.memes.pools import MEME, PART, WITH_TEXT, WITHOUT_TEXT, Pools, covered, read_pools

Box = tuple[float, float, float, float]
SIDE, GRID = 40, 4
MODES = ("L", "RGB", "RGBA", "P", "CMYK", "1", "LA", "I;16")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Red memes 80 x 40 with a white upper half, and grey pictures of every colour mode."""
    made = tuple(tmp_path / name for name in ("memes", "with", "without"))
    for folder in made:
        folder.mkdir()
    meme = np.full((40, 80, 3), (200, 0, 0), np.uint8)
    meme[:20] = 255
    for name in ("b.png", "a.png"):
        Image.fromarray(meme).save(made[0] / name)
    (made[0] / "boxes.json").write_text(json.dumps({name: [[0, 0, 80, 20]] for name in ("a.png", "b.png")}))
    (made[0] / "notes.txt").write_text("no picture")
    for number, mode in enumerate(MODES):
        tones = np.full((30, 30), 120 * (257 if mode == "I;16" else 1), np.uint16 if mode == "I;16" else np.uint8)
        picture = Image.fromarray(tones) if mode == "I;16" else Image.fromarray(tones).convert(mode)
        picture.save(made[1] / f"{number}.{'tif' if mode == 'CMYK' else 'png'}")
    Image.new("RGB", (30, 30), (0, 0, 255)).save(made[2] / "z.png")
    Image.new("RGB", (30, 30), (0, 255, 0)).save(made[2] / "a.png")
    return made[0], made[1], made[2]


def read(folders: tuple[Path, Path, Path], cache: Path, **more: object) -> Pools:
    return read_pools(folders, SIDE, GRID, cache, visual_part, **more)  # type: ignore[arg-type]


def test_pictures_of_any_mode_come_sorted_and_stretched(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    pools = read(folders, tmp_path / "cache")
    assert [pools.count(kind) for kind in (MEME, PART, WITH_TEXT, WITHOUT_TEXT)] == [2, 2, len(MODES), 2]
    assert pools.pixels[WITHOUT_TEXT][:, 0, 0].tolist() == [[0, 255, 0], [0, 0, 255]]
    greys = pools.pixels[WITH_TEXT].astype(int)
    dithered = MODES.index("1")
    assert np.ptp(np.delete(greys, dithered, axis=0), axis=3).max() <= 3
    assert np.abs(np.delete(greys, dithered, axis=0) - 120).max() <= 6
    assert pools.pixels[MEME].shape == (2, SIDE, SIDE, 3)
    assert pools.pixels[MEME][0, 5, 5].tolist() == [255, 255, 255]


def test_a_part_is_what_the_words_leave(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    pools = read(folders, tmp_path / "cache")
    assert pools.parted.all()
    assert (pools.pixels[PART] == (200, 0, 0)).all()
    assert pools.text[0].tolist() == [[1] * 4, [1] * 4, [0] * 4, [0] * 4]


def test_a_meme_that_is_all_words_has_no_part(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    (folders[0] / "boxes.json").write_text(json.dumps({"a.png": [[0, 0, 80, 40]], "b.png": []}))
    assert read(folders, tmp_path / "cache").parted.tolist() == [False, True]


def test_boxes_are_found_where_none_are_known_and_kept(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    (folders[0] / "boxes.json").unlink()
    asked: list[bytes] = []

    def find(data: bytes) -> Sequence[Box]:
        asked.append(data)
        return [(0.0, 0.0, 80.0, 20.0)]

    pools = read(folders, tmp_path / "cache", find_text=find)
    assert (pools.pixels[PART] == (200, 0, 0)).all()
    read(folders, tmp_path / "cache", find_text=find)
    assert len(asked) == 2
    with pytest.raises(Problem, match="no boxes for 2 memes"):
        read(folders, tmp_path / "other")


def test_the_second_reading_takes_what_is_kept_and_a_changed_file_anew(
    folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    told: list[str] = []
    for _ in range(2):
        read(folders, tmp_path / "cache", tell=lambda what, done, every: told.append(what))
    assert told == ["memes"] * 2 + ["with"] * len(MODES) + ["without"] * 2
    Image.new("RGB", (31, 31), (255, 255, 0)).save(folders[2] / "a.png")
    assert read(folders, tmp_path / "cache").pixels[WITHOUT_TEXT][0, 0, 0].tolist() == [255, 255, 0]


def test_what_is_no_picture_is_named(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    (folders[1] / "broken.jpg").write_bytes(b"no picture at all")
    with pytest.raises(Problem, match=r"broken\.jpg"):
        read(folders, tmp_path / "cache")
    for path in folders[2].iterdir():
        path.unlink()
    with pytest.raises(Problem, match="holds no pictures"):
        read(folders, tmp_path / "cache")


def test_coverage_agrees_with_counting_pixels() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        x1, y1 = rng.integers(0, 40, 2)
        x2, y2 = x1 + rng.integers(1, 41 - x1), y1 + rng.integers(1, 41 - y1)
        drawn = np.zeros((40, 40))
        drawn[y1:y2, x1:x2] = 1
        counted = drawn.reshape(4, 10, 4, 10).mean(axis=(1, 3))
        np.testing.assert_allclose(covered([(x1, y1, x2, y2)], 40, 40, 4), counted, atol=1e-6)
    assert covered([], 10, 10, 3).sum() == 0
