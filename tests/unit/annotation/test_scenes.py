"""Where scenes begin: closed-form correlations, real clips with known cuts, and what must change nothing."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from serve_app.annotation.scenes import DETECTORS, SIZE
from serve_app.annotation.scenes_correlation import centred_grey, correlation

Thumbnails = NDArray[np.uint8]


def found(name: str, thumbnails: Iterable[NDArray[np.uint8]]) -> list[int]:
    detector = DETECTORS[name]()
    return [start for thumbnail in thumbnails for start in detector.push(thumbnail)] + detector.finish()


def stripes(degrees: float, deviation: float = 50.0) -> NDArray[np.uint8]:
    """A grey wave, two periods high: waves of phases a and b correlate at cos(a - b), by trigonometry."""
    wave = np.cos(np.arange(SIZE) * 4 * np.pi / SIZE - np.radians(degrees))
    grey = np.rint(128 + deviation * np.sqrt(2) * wave).astype(np.uint8)
    return np.broadcast_to(grey[:, None, None], (SIZE, SIZE, 3)).copy()


def flat(level: int) -> NDArray[np.uint8]:
    return np.full((SIZE, SIZE, 3), level, np.uint8)


@pytest.mark.parametrize("degrees", [0, 30, 60, 90, 180])
def test_waves_correlate_at_the_cosine_of_their_phase(degrees: float) -> None:
    got = correlation(centred_grey(stripes(10)), centred_grey(stripes(10 + degrees)))
    assert got == pytest.approx(np.cos(np.radians(degrees)), abs=4e-3)


def test_a_cut_is_its_first_frame() -> None:
    clip = [stripes(0)] * 7 + [stripes(90)] * 5 + [stripes(200)] * 9
    assert found("correlation", clip) == [7, 12]
