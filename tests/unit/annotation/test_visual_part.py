"""The largest rectangle without text, against the published grid and against trying every pair of edges."""

from __future__ import annotations

from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.annotation.visual_part import Box, visual_part, whole_pixels
from tests.visual_part_grid import overlaps, search, search_at_once

sides = st.integers(1, 900)


@st.composite
def pictures(draw: st.DrawFn, most: int = 8) -> tuple[int, int, list[Box]]:
    """A picture and text boxes, some outside it, some without area, some over each other."""
    width, height = draw(sides), draw(sides)
    across = st.tuples(*[st.integers(-width // 4, width * 5 // 4)] * 2).map(sorted)
    down = st.tuples(*[st.integers(-height // 4, height * 5 // 4)] * 2).map(sorted)
    box = st.tuples(across, down).map(lambda pair: (pair[0][0], pair[1][0], pair[0][1], pair[1][1]))
    return width, height, draw(st.lists(box, max_size=most))


def area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def largest_of_all(width: float, height: float, boxes: list[Box]) -> float:
    """The largest area between any two vertical and any two horizontal edges that nothing overlaps."""
    xs = sorted({0.0, width, *(min(max(x, 0), width) for box in boxes for x in (box[0], box[2]))})
    ys = sorted({0.0, height, *(min(max(y, 0), height) for box in boxes for y in (box[1], box[3]))})
    pairs = product(combinations(xs, 2), combinations(ys, 2))
    tried = ((x1, y1, x2, y2) for (x1, x2), (y1, y2) in pairs)
    return max((area(one) for one in tried if not any(overlaps(one, box) for box in boxes)), default=0.0)


@given(pictures(), st.integers(0, 9))
def test_it_lies_in_the_picture_free_of_text_and_of_an_allowed_size(
    picture: tuple[int, int, list[Box]], seed: int
) -> None:
    width, height, boxes = picture
    found = visual_part(width, height, boxes, seed)
    if found is not None:
        x1, y1, x2, y2 = found
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        assert not any(overlaps(found, box) for box in boxes)
        share = area(found) / (width * height)
        assert 0.1 - 1e-9 <= share <= 0.9 + 1e-9
        root = share**0.5
        aspect = (y2 - y1) / (height * root)
        assert root - 1e-9 <= aspect <= 1 / root + 1e-9


@given(pictures(most=5))
def test_nothing_larger_is_free(picture: tuple[int, int, list[Box]]) -> None:
    width, height, boxes = picture
    found, best = visual_part(width, height, boxes), largest_of_all(width, height, boxes) / (width * height)
    if found is None:
        assert best < 0.1
    else:
        assert area(found) / (width * height) == pytest.approx(min(best, 0.9))


@settings(max_examples=12)
@given(pictures())
def test_the_published_grid_is_never_better(picture: tuple[int, int, list[Box]]) -> None:
    width, height, boxes = picture
    grid, found = search(width, height, boxes), visual_part(width, height, boxes)
    if grid:
        assert found is not None
        assert area(found) >= area(grid[0]) * (1 - 1e-9)
    at_once = search_at_once(width, height, boxes)
    assert (at_once is None) == (not grid)
    assert at_once is None or area(at_once) == pytest.approx(area(grid[0]))


def test_between_captions() -> None:
    assert visual_part(640, 480, [(20, 10, 600, 90), (50, 400, 600, 470)]) == (0, 90, 640, 400)


def test_a_corner_is_left() -> None:
    assert visual_part(100, 100, [(0, 0, 100, 40), (0, 0, 30, 100)]) == (30, 40, 100, 100)


@pytest.mark.parametrize("boxes", [[], [(0, 0, 100, 4)], [(50, 0, 50, 2)]])
def test_no_more_than_nine_tenths(boxes: list[Box]) -> None:
    found = {visual_part(100, 200, boxes, seed) for seed in range(20)}
    assert len(found) == 20
    assert all(one is not None and area(one) == pytest.approx(18000) for one in found)


def test_too_little_is_left() -> None:
    assert visual_part(100, 100, [(0, 0, 100, 91)]) is None
    assert visual_part(100, 100, [(0, 0, 100, 90)]) == (0, 90, 100, 100)


def test_the_seed_chooses_among_equals() -> None:
    halves = {(0, 0, 45, 100), (55, 0, 100, 100)}
    chosen = [visual_part(100, 100, [(45, 0, 55, 100)], seed) for seed in range(30)]
    assert set(chosen) == halves
    assert chosen == [visual_part(100, 100, [(45, 0, 55, 100)], seed) for seed in range(30)]


def test_the_order_of_boxes_does_not_matter() -> None:
    boxes = [(45.0, 0.0, 55.0, 100.0), (0.0, 45.0, 100.0, 55.0)]
    assert [visual_part(100, 100, boxes, seed) for seed in range(9)] == [
        visual_part(100, 100, boxes[::-1], seed) for seed in range(9)
    ]


@pytest.mark.parametrize("size", [(0, 9), (9, -1), (float("nan"), 9), (float("inf"), 9)])
def test_a_picture_has_area(size: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="has no area"):
        visual_part(*size, [])


@pytest.mark.parametrize("box", [(3, 0, 2, 9), (0, 3, 9, 2), (0, 0, float("nan"), 9)])
def test_a_box_ends_after_it_begins(box: Box) -> None:
    with pytest.raises(ValueError, match="is no box"):
        visual_part(9, 9, [box])


def test_whole_pixels_lie_within() -> None:
    assert whole_pixels((0.2, 3.0, 9.9, 7.0)) == (1, 3, 9, 7)
    assert whole_pixels((0.1 + 0.2 - 0.3, 0, 9.999999999, 1)) == (0, 0, 10, 1)


def test_a_page_of_text_is_searched_too() -> None:
    boxes = [(10.0 * (at % 40), 12.0 * (at // 40), 10.0 * (at % 40) + 9, 12.0 * (at // 40) + 10) for at in range(1000)]
    assert visual_part(400, 350, boxes, 0) == (0, 298, 400, 350)
