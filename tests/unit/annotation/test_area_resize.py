"""Means of areas against torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from serve_app.annotation.area_resize import crops, resized, summed


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def expected(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float32]:
    tensor = torch.from_numpy(pixels.astype(np.float32).transpose(2, 0, 1).copy())[None]
    return interpolate(tensor, size=(height, width), mode="area")[0].numpy()


@settings(max_examples=60)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 90), st.integers(1, 90))
def test_the_whole_picture_at_any_size(height: int, width: int, to_height: int, to_width: int) -> None:
    pixels = noise(height, width, height + width)
    found = resized(summed(pixels), to_height, to_width)
    np.testing.assert_allclose(found, expected(pixels, to_height, to_width), atol=1e-3)


@pytest.mark.parametrize("side", [24, 48])
def test_crops_of_many_sizes(side: int) -> None:
    pixels = noise(90, 130)
    areas = np.array(
        [[0, 0, 130, 90], [0, 0, 1, 1], [129, 89, 130, 90], [3, 5, 27, 29], [7, 0, 18, 61], [5, 5, 101, 90]]
    )
    found = crops(summed(pixels), areas, side)
    assert found.shape == (6, 3, side, side)
    assert found.flags.c_contiguous
    for crop, (x1, y1, x2, y2) in zip(found, areas, strict=True):
        np.testing.assert_allclose(crop, expected(pixels[y1:y2, x1:x2], side, side), atol=1e-3)


def test_sums_that_wrap_around_still_give_means() -> None:
    bright = np.full((3000, 3000, 3), 255, np.uint8)  # the last sum is 2.3e9, above 2^31
    table = summed(bright)
    assert table[0, -1, -1] < 0
    np.testing.assert_allclose(resized(table, 5, 3), 255, rtol=1e-6)
    np.testing.assert_allclose(crops(table, np.array([[100, 200, 3000, 3000]]), 2), 255, rtol=1e-6)
