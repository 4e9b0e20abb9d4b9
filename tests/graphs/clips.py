"""Small videos whose scenes are known, since they are drawn here."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

RATE = 10
SIZE = (96, 64)


def texture(seed: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """Coarse random blocks, as different from those of another seed as two places are."""
    blocks = np.random.default_rng(seed).integers(0, 255, (size[1] // 8, size[0] // 8, 3), np.uint8)
    return blocks.repeat(8, 0).repeat(8, 1)


def video(path: Path, *seconds: float, rate: int = RATE, size: tuple[int, int] = SIZE) -> Path:
    """Write a video of one still scene for each length given."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "18"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, rate)
        for number, length in enumerate(seconds):
            for _ in range(round(length * rate)):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(texture(number, size), "rgb24")))
        container.mux(stream.encode())
    return path
