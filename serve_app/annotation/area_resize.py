"""Shrinking by the mean of areas, for many sizes and crops of one picture: four look-ups a pixel, whatever the area.

The summed-area table is Crow's (1984, "Summed-area tables for texture mapping"). The areas are those of torch's
``interpolate(mode="area")``: of ``size`` values, the i-th of ``count`` means covers ``floor(i * size / count)`` to
``ceil((i + 1) * size / count)``, so that neighbours may overlap by one pixel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Sums = NDArray[np.int32]


def summed(pixels: NDArray[np.uint8]) -> Sums:
    """The table [3, H + 1, W + 1] of a picture uint8 [H, W, 3]: at (y, x) the sum of all that is above and left.

    The sums of a large picture wrap around; the difference of two is right all the same while an area is below 2^23
    pixels.
    """
    height, width, channels = pixels.shape
    table = np.zeros((channels, height + 1, width + 1), np.int32)
    table[:, 1:, 1:] = pixels.transpose(2, 0, 1)
    for row in range(2, height + 1):  # whole rows at once: numpy's own sum along columns goes value by value
        table[:, row] += table[:, row - 1]
    return table.cumsum(axis=2, dtype=np.int32, out=table)


def resized(table: Sums, height: int, width: int) -> Floats:
    """The whole picture as float32 [3, height, width], its values still in 0..255."""
    top, bottom = _edges(table.shape[1] - 1, height)
    left, right = _edges(table.shape[2] - 1, width)
    bands = table.take(bottom, axis=1)
    bands -= table.take(top, axis=1)
    sums = bands.take(right, axis=2)
    sums -= bands.take(left, axis=2)
    means = sums.astype(np.float32)
    means *= _weight(bottom - top)[:, None]
    means *= _weight(right - left)
    return means


def crops(table: Sums, corners: Ints, side: int) -> Floats:
    """Areas [n, 4] (x1, y1, x2, y2 in whole pixels inside the picture, none empty) as float32 [n, 3, side, side]."""
    x1, y1, x2, y2 = corners.T[:, :, None]
    left, right = _edges(x2 - x1, side)
    top, bottom = _edges(y2 - y1, side)
    weight = _weight(bottom - top)[:, :, None] * _weight(right - left)[:, None, :]
    left, right = (x1 + left)[:, None, :], (x1 + right)[:, None, :]
    line = table.shape[2]
    top, bottom = ((y1 + top) * line)[:, :, None], ((y1 + bottom) * line)[:, :, None]
    values = table.reshape(len(table), -1)
    sums = values.take(bottom + right, axis=1)
    sums -= values.take(top + right, axis=1)
    sums -= values.take(bottom + left, axis=1)
    sums += values.take(top + left, axis=1)
    means: Floats = sums.transpose(1, 0, 2, 3).astype(np.float32, order="C")
    means *= weight[:, None]
    return means


def _edges(size: int | Ints, count: int) -> tuple[Ints, Ints]:
    """Where each of ``count`` areas of ``size`` values starts, and where it ends."""
    steps = np.arange(count + 1)
    return steps[:-1] * size // count, -(-steps[1:] * size // count)


def _weight(sides: Ints) -> Floats:
    return (1 / sides).astype(np.float32)
