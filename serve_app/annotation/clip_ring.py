"""Evenly spaced small frames of a scene whose length is not known before its end, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

PER_SAMPLE = 8
"""Frames kept for each that is wanted, so that the nearest is at most 1/8 of the samples' spacing away: thinned out,
the ring holds at least half its capacity, every s-th of n frames with s <= n / (4 samples), and is off by s / 2."""


class ClipRing:
    """Keeps every frame until it is full, then every second, every fourth and so on, and always the last."""

    def __init__(self, samples: int) -> None:
        """``samples``: how many frames will be asked for over the whole scene."""
        self._capacity = PER_SAMPLE * samples
        self._stride = 1
        self._count = 0
        self._times: list[float] = []
        self._kept: list[Pixels] = []
        self._last: tuple[float, Callable[[], Pixels]] | None = None

    def push(self, time_s: float, paint: Callable[[], Pixels]) -> None:
        """``paint`` gives the frame's pixels; it is called for the frames that are kept."""
        self._last = None
        if self._count % self._stride == 0:
            self._times.append(time_s)
            self._kept.append(paint())
            if len(self._kept) > self._capacity:
                del self._times[1::2], self._kept[1::2]
                self._stride *= 2
        else:
            self._last = (time_s, paint)
        self._count += 1

    def windows(self, start_s: float, end_s: float, count: int, samples: int) -> list[Pixels]:
        """``count`` equal parts of the scene from ``start_s`` to ``end_s``, each as uint8 [samples, H, W, 3].

        A part's samples lie uniformly from its first frame to its last. Where it has fewer frames they repeat.
        """
        if self._last is not None:
            self._times.append(self._last[0])
            self._kept.append(self._last[1]())
            self._last = None
        times = np.array(self._times)
        step = (end_s - start_s) / count
        last_frame = (times[-1] - start_s) / max(1, self._count - 1) if self._count > 1 else 0.0
        clips = []
        for part in range(count):
            begin = start_s + part * step
            end = max(begin, times[-1] if part == count - 1 else begin + step - last_frame)
            nearest = np.abs(times - np.linspace(begin, end, samples)[:, None]).argmin(axis=1)
            clips.append(np.stack([self._kept[at] for at in nearest]))
        return clips
