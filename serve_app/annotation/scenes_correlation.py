"""Scenes as the report finds them: Pearson correlation of consecutive thumbnails, smoothed, under a threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float64]

SHARED_VARIANCE = 1.0


def centred(thumbnail: NDArray[np.uint8]) -> Pixels:
    """Greys uint8 [H, W], flattened to [H * W], less their mean."""
    greys = thumbnail.reshape(-1).astype(np.float64)
    greys -= greys.mean()
    return greys


def correlation(before: Pixels, after: Pixels) -> float:
    """Pearson correlation of two centred pictures as if both carried one more picture of one grey level deviation.

    Without it a flat picture has none (0 / 0) and a black one's compression noise decides. With it two flat pictures
    correlate at 1 whatever their greys, a flat and a contrasty one near 0, and two pictures of ordinary contrast as
    Pearson says to three digits. So black to black is no cut, nor is a slow fade, but a jump out of black is.
    """
    size = len(before)
    covariance = before @ after / size + SHARED_VARIANCE
    return float(
        covariance / np.sqrt((before @ before / size + SHARED_VARIANCE) * (after @ after / size + SHARED_VARIANCE))
    )


class CorrelationDetector:
    """The report's method: a boundary where the moving average (order 2) of the correlation falls below a threshold.

    The average smears a cut over two frames, so that a dip - consecutive averages below the threshold - is one
    boundary: at the frame that is least like the one before it. A dip that does not end within ``LONGEST_DIP`` frames
    (noise, a strobe) is decided by these; what follows, until it ends, begins no scene.

    The threshold lies between the shallowest cut and the deepest camera move of real clips, 0.724 and 0.743.
    """

    THRESHOLD = 0.735
    LONGEST_DIP = 30
    latency = LONGEST_DIP + 1

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self.threshold = threshold
        self._frames = 0
        self._before: Pixels | None = None
        self._last: tuple[float, int] | None = None
        self._lowest: tuple[float, int] | None = None  # correlation and frame, inside a dip
        self._dip = 0

    def push(self, thumbnail: NDArray[np.uint8]) -> list[int]:
        grey = centred(thumbnail)
        found: list[int] = []
        if self._before is not None:
            found = self._value((correlation(self._before, grey), self._frames))
        self._before = grey
        self._frames += 1
        return found

    def finish(self) -> list[int]:
        return self._close()

    def _value(self, value: tuple[float, int]) -> list[int]:
        last, self._last = self._last or value, value
        if (last[0] + value[0]) / 2 >= self.threshold:
            found = self._close()
            self._dip = 0
            return found
        self._dip += 1
        if self._dip == 1:
            self._lowest = min(last, value)
        elif self._lowest is not None:
            self._lowest = min(self._lowest, value)
        return self._close() if self._dip == self.LONGEST_DIP else []

    def _close(self) -> list[int]:
        lowest, self._lowest = self._lowest, None
        return [lowest[1]] if lowest else []
