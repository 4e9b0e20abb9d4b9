"""The pyramid of a picture in tiles of a few fixed shapes, for a network that looks at every window of 12 pixels.

A tile is a piece of one scale; each is seen with what its windows need of its neighbours, so that all windows are as if
the scale had been seen whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serve_app.annotation.area_resize import Sums, resized

FACTOR = 0.709
"""From one scale of the pyramid to the next: the area halves."""
WINDOW, STEP = 12, 2
"""Pixels of a window, and between two of them."""
PIECE, GRAIN = 96, 16
"""Windows along a side of a tile: at most, and a multiple of; with ends of odd sides there are 144 shapes of tiles."""


@dataclass(frozen=True)
class Level:
    """One scale of one picture, given by its summed-area table; ``base`` is its first row on the lattice that holds the
    windows of all scales of all pictures."""

    table: Sums
    picture: int
    scale: float
    base: int

    @property
    def sides(self) -> tuple[int, int]:
        """Its height and width in pixels."""
        height, width = (int((side - 1) * self.scale + 1) for side in self.table.shape[1:])
        return height, width

    @property
    def windows(self) -> tuple[int, int]:
        """How many rows and columns of windows it has; the last of a row or column may reach outside by a pixel."""
        height, width = self.sides
        return (height + 1) // 2 - 5, (width + 1) // 2 - 5


@dataclass(frozen=True)
class Tile:
    """``pixels`` float32 [3, H, W]; ``first`` is the row and the column of its first window in its ``level``, below 0
    where the tile begins before the picture."""

    pixels: NDArray[np.float32]
    level: Level
    first: tuple[int, int]


def levels(tables: Sequence[Sums], min_face: int, gap: int) -> Iterator[Level]:
    """All scales of all pictures at which a face of ``min_face`` pixels or more fills a window; none for a picture
    whose shorter side is below that. ``gap`` rows of the lattice stay free between two."""
    base = 0
    for picture, table in enumerate(tables):
        scale = WINDOW / min_face
        least = (min(table.shape[1:]) - 1) * scale
        while least >= WINDOW:
            level = Level(table, picture, scale, base)
            yield level
            base += level.windows[0] + gap
            scale, least = scale * FACTOR, least * FACTOR


def tiles(level: Level) -> list[Tile]:
    """One scale of a picture in tiles of one shape, but that those at the end of an odd side are a pixel shorter.

    They are laid from the end, for what the network makes of a side's end depends on its being odd; so what is over,
    and stays black, is before the start.
    """
    height, width = level.sides
    pixels = resized(level.table, height, width)
    rows, columns = level.windows
    down, across = piece(rows), piece(columns)
    found = []
    for row in range(rows - down, -down, -down):
        top, bottom = STEP * row, min(STEP * (row + down) + WINDOW - STEP, height)
        for column in range(columns - across, -across, -across):
            left, right = STEP * column, min(STEP * (column + across) + WINDOW - STEP, width)
            tile = np.zeros((3, bottom - top, right - left), np.float32)
            tile[:, max(-top, 0) :, max(-left, 0) :] = pixels[:, max(top, 0) : bottom, max(left, 0) : right]
            found.append(Tile(tile, level, (row, column)))
    return found


def piece(windows: int) -> int:
    """Windows along a side of a tile: as many tiles as needed, all equal, with little to spare."""
    pieces = -(-windows // PIECE)
    return -(-windows // (pieces * GRAIN)) * GRAIN
