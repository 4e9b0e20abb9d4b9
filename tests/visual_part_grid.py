"""The grid that Koutlis et al. 2022 search for a visual part (SPEC.md, section 1), in loops as they describe it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

Box = tuple[float, float, float, float]


def candidates(width: float, height: float) -> Iterator[tuple[float, Box]]:
    """Area share and rectangle: 17 shares, and 10 each of aspects and places across and down."""
    for share in np.linspace(0.1, 0.9, 17):
        root = np.sqrt(share)
        for aspect in np.linspace(root, 1 / root, 10):
            for across in np.linspace(root / (2 * aspect), 1 - root / (2 * aspect), 10):
                for down in np.linspace(aspect * root / 2, 1 - aspect * root / 2, 10):
                    half_width, half_height = width * root / aspect / 2, height * root * aspect / 2
                    x, y = width * across, height * down
                    yield float(share), (x - half_width, y - half_height, x + half_width, y + half_height)


def overlaps(one: Box, other: Sequence[float]) -> bool:
    return one[0] < other[2] and one[2] > other[0] and one[1] < other[3] and one[3] > other[1]


def search(width: float, height: float, boxes: Sequence[Box]) -> list[Box]:
    """Every rectangle of the grid's largest share that overlaps no box."""
    free = [(share, one) for share, one in candidates(width, height) if not any(overlaps(one, box) for box in boxes)]
    most = max((share for share, _ in free), default=0.0)
    return [one for share, one in free if share == most]


def search_at_once(width: float, height: float, boxes: Sequence[Box]) -> Box | None:
    """One of them, by array operations and from the largest share down: the fastest that the grid can be here."""
    obstacles = np.asarray(boxes, np.float64).reshape(-1, 4)
    for share in np.linspace(0.9, 0.1, 17):
        root = np.sqrt(share)
        aspect = np.linspace(root, 1 / root, 10)[:, None, None]
        steps = np.linspace(0, 1, 10)
        w, h = root / aspect, root * aspect
        x1, y1 = np.broadcast_arrays(width * (1 - w) * steps[:, None], height * (1 - h) * steps)
        x2, y2 = x1 + width * w, y1 + height * h
        taken = np.zeros(x1.shape, bool)
        for left, top, right, bottom in obstacles:
            taken |= (x1 < right) & (x2 > left) & (y1 < bottom) & (y2 > top)
        free = np.argwhere(~taken)
        if len(free):
            at = tuple(free[0])
            return float(x1[at]), float(y1[at]), float(x2[at]), float(y2[at])
    return None
