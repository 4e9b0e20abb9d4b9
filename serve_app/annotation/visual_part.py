"""The visual part of a meme: the largest rectangle without text, which "visual part utilisation" trains on.

Koutlis, Schinas and Papadopoulos 2022, "MemeTector", search a grid over area share p in [.1, .9], aspect
r in [sqrt p, 1/sqrt p] and centre for a rectangle W sqrt(p)/r by H r sqrt(p) that no text box touches. These bounds on
r say just that the rectangle fits into the picture, so this is the problem of the largest empty rectangle, which has an
exact solution by a sweep (Naamad, Lee and Hsu 1984, "On the maximum empty rectangle problem"): a largest rectangle
starts at the picture's left side or where some box ends. From each such start the boxes are met from left to right,
and each cuts the free spans of rows that it covers; a span that is cut ends one candidate. Spans too small for what is
already found are dropped, so there are never more than 1 / .1 of them: n boxes take O(n^2) steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import ceil, floor, isfinite
from random import Random

Box = tuple[float, float, float, float]

LEAST, MOST = 0.1, 0.9
"""Shares of the picture's area that the visual part may have."""
SAME = 1 - 1e-9
"""Areas this close are equal: rounding must not decide between them."""


def visual_part(width: float, height: float, boxes: Iterable[Sequence[float]], seed: int = 0) -> Box | None:
    """The largest x1, y1, x2, y2 within ``width`` x ``height`` that overlaps none of ``boxes`` (each x1, y1, x2, y2).

    It may share an edge with a box; its corners need not be whole pixels (see :func:`whole_pixels`). Its area is at
    most .9 of the picture's; None where less than .1 is free. Of several equally large ones ``seed`` chooses, and so it
    does among those of .9 where there is room for more. Raises ValueError for a picture without area and for boxes
    that are not finite or end before they begin.
    """
    if not (0 < width < float("inf") and 0 < height < float("inf")):
        raise ValueError(f"a picture of {width} x {height} has no area")
    obstacles = sorted({_clipped(box, width, height) for box in boxes})
    largest = _largest(width, height, obstacles)
    if not largest:
        return None
    random = Random(seed)  # noqa: S311  (seeded, no secret)
    chosen = largest[0] if len(largest) == 1 else random.choice(largest)
    most = MOST * width * height
    return chosen if _area(chosen) <= most else _shrunk(chosen, most, random)


def whole_pixels(box: Box) -> tuple[int, int, int, int]:
    """The pixels that lie within ``box`` entirely: what may be cropped without taking a sliver of text along."""
    x1, y1, x2, y2 = box
    return ceil(x1 - 1e-6), ceil(y1 - 1e-6), floor(x2 + 1e-6), floor(y2 + 1e-6)


def _clipped(box: Sequence[float], width: float, height: float) -> Box:
    x1, y1, x2, y2 = map(float, box)
    if not all(map(isfinite, (x1, y1, x2, y2))) or x2 < x1 or y2 < y1:
        raise ValueError(f"{(x1, y1, x2, y2)} is no box x1, y1, x2, y2")
    return min(max(x1, 0), width), min(max(y1, 0), height), min(max(x2, 0), width), min(max(y2, 0), height)


def _largest(width: float, height: float, obstacles: Sequence[Box]) -> list[Box]:
    """Every empty rectangle of the largest area, or of at least .9 of the picture where there is one."""
    most = MOST * width * height
    enough, largest = LEAST * width * height * SAME, list[Box]()
    for left in sorted({0.0, *(box[2] for box in obstacles)}):
        if (width - left) * height < enough:
            break
        for found in _from(left, width, height, obstacles, enough):
            area = min(_area(found), most)
            if area * SAME > enough:
                largest = []
            if area >= enough:
                enough = max(enough, area * SAME)
                largest.append(found)
    return largest


def _from(left: float, width: float, height: float, obstacles: Sequence[Box], enough: float) -> Iterator[Box]:
    """The empty rectangles that start at ``left`` and end at a box or the right side; ``obstacles`` sorted by x1."""
    least = enough / (width - left)
    spans = [(0.0, float(height))]
    for x1, y1, x2, y2 in obstacles:
        if x2 <= left:
            continue
        right, kept = max(x1, left), []
        for top, bottom in spans:
            if y2 <= top or y1 >= bottom:
                kept.append((top, bottom))
                continue
            if (right - left) * (bottom - top) >= enough:
                yield left, top, right, bottom
            kept += [span for span in ((top, y1), (y2, bottom)) if span[1] - span[0] >= least]
        if not kept:
            return
        spans = kept
    yield from ((left, top, float(width), bottom) for top, bottom in spans)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _shrunk(box: Box, area: float, random: Random) -> Box:
    """A rectangle of ``area`` within the larger ``box``: its width, then its place, at random."""
    x1, y1, x2, y2 = box
    width = random.uniform(area / (y2 - y1), x2 - x1)
    height = min(area / width, y2 - y1)
    left, top = random.uniform(x1, x2 - width), random.uniform(y1, y2 - height)
    return left, top, min(left + width, x2), min(top + height, y2)
