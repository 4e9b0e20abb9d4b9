"""The generated memes: the same for a seed, their words within their boxes, written so that a run can go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serve_app.models.memes.captions import labels, macro
from serve_app.models.memes.lettering import FACES, Style, fitted, font, letters, wrapped
from serve_app.models.memes.world import BOXES, KINDS, draw, write_world


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_the_same_for_a_seed_and_another_for_another(kind: str) -> None:
    pixels, boxes = draw(kind, 3, 1, 120)
    again, same = draw(kind, 3, 1, 120)
    other, _ = draw(kind, 4, 1, 120)
    assert pixels.shape == (120, 120, 3)
    assert np.array_equal(pixels, again)
    assert boxes == same
    assert not np.array_equal(pixels, other)
    assert bool(boxes) == (kind == "memes")


@pytest.mark.parametrize("style", [macro, labels])
def test_words_set_over_a_picture_lie_within_their_boxes(style: Callable[..., list[tuple[int, ...]]]) -> None:
    for seed in range(12):
        image = Image.new("RGB", (200, 200), (90, 140, 90))
        before = np.asarray(image).copy()
        boxes = style(np.random.default_rng(seed), image)
        changed = (np.asarray(image) != before).any(axis=2)
        assert changed.any()
        for x1, y1, x2, y2 in boxes:
            assert changed[max(0, y1) : y2, max(0, x1) : x2].mean() > 0.05
            changed[max(0, y1) : y2, max(0, x1) : x2] = False
        assert not changed.any()


def test_every_meme_has_words_within_the_picture() -> None:
    for number in range(10):
        _, boxes = draw("memes", 0, number, 100)
        assert boxes
        assert all(0 <= x1 < x2 <= 100 and 0 <= y1 < y2 <= 100 for x1, y1, x2, y2 in boxes)


def test_ink_and_outline_of_several_lines_stay_together() -> None:
    """Every pixel of ink lies within the outline, on each line."""
    ink, edge = letters("HELLO\nWORLD\nAGAIN", Style("900", 24, 3))
    assert ink.size == edge.size
    inside, around = np.asarray(ink) > 128, np.asarray(edge) > 64
    assert inside.any()
    assert around[inside].all()
    rows = np.flatnonzero(inside.any(axis=1))
    assert np.flatnonzero(around.any(axis=1))[0] <= rows[0] <= 6
    assert rows[-1] >= ink.height - 12


def test_text_is_made_to_fit() -> None:
    ink, edge = fitted("A LONG LINE OF WORDS", Style("700", 60, 4), 100, 40)
    assert max(ink.width, edge.width) <= 100
    assert edge.height <= 40


def test_words_are_wrapped_into_lines() -> None:
    assert wrapped(["a", "b", "c"], 2) == "a b\nc"
    assert wrapped(["a"], 3) == "a"


def test_every_face_draws_and_an_unknown_one_falls_back() -> None:
    widths = {face: font(face, 40).getlength("Memes") for face in (*FACES, "no such face")}
    assert all(width > 40 for width in widths.values())
    assert widths["no such face"] == widths["own"]


def test_a_world_is_written_once_and_goes_on(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_world(tmp_path, {"memes": 2, "with-text": 1}, 0, lambda *done: seen.append(done))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    first = tmp_path / "memes" / "000000.jpg"
    at = first.stat().st_mtime_ns
    write_world(tmp_path, {"memes": 3, "with-text": 1}, 0)
    assert first.stat().st_mtime_ns == at
    known = json.loads((tmp_path / "memes" / BOXES).read_text())
    assert sorted(known) == ["000000.jpg", "000001.jpg", "000002.jpg"]
    assert [list(box) for box in draw("memes", 0, 2)[1]] == known["000002.jpg"]
    with Image.open(first) as picture:
        assert picture.size == (300, 300)
