"""Small video files made by FFmpeg's encoders, for tests that need what no real file has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
TICKS = 12800
"""Of a second; what ``times`` are rounded to."""


def write_video(
    path: Path, frames: Iterable[Pixels], rate: int = 25, times: Sequence[float] | None = None, codec: str = "libx264",
    pixels: str = "yuv420p", turn: dict[str, Any] | None = None, container: dict[str, str] | None = None,
    **options: str,
) -> Path:  # fmt: skip
    """``frames`` (RGB [H, W, 3]) at ``times`` seconds, or ``rate`` a second. ``turn``: what a display matrix says."""
    pictures = list(frames)
    tick = Fraction(1, TICKS if times else rate)
    if codec == "libx264":
        options = {"preset": "ultrafast", "crf": "12", **options}
    with av.open(str(path), "w", options=container or {}) as output:
        stream: Any = output.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        stream.time_base = stream.codec_context.time_base = tick
        if turn:
            stream.set_display_rotation(**turn)
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.time_base = tick
            frame.pts = round(times[index] * TICKS) if times else index
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def repeat_video(source: Path, target: Path, times: int) -> Path:
    """The packets of ``source``, ``times`` over, one after the other."""
    with av.open(str(target), "w") as output:
        out: Any = None
        for round_ in range(times):
            with av.open(str(source)) as whole:
                stream = whole.streams.video[0]
                out = out or output.add_stream_from_template(stream)
                for packet in whole.demux(stream):
                    if packet.dts is not None and packet.pts is not None and stream.duration:
                        packet.pts += round_ * stream.duration
                        packet.dts += round_ * stream.duration
                        packet.stream = out
                        output.mux(packet)
    return target


def write_sound(path: Path) -> Path:
    """A second of silence."""
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("aac", rate=44100)
        for start in range(0, 44100, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.rate, frame.pts = 44100, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def noise(count: int, size: tuple[int, int] = (96, 64), seed: int = 0) -> list[Pixels]:
    """``count`` pictures of coarse moving noise, ``size`` = (width, height): something for an encoder to do."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (size[1] // 8 + 1, size[0] // 8 + 1, 3), np.uint8)
    fine = np.kron(coarse, np.ones((8, 8, 1), np.uint8))[: size[1], : size[0]]
    return [np.roll(fine, index * 2, axis=1) for index in range(count)]


def greys(count: int, size: tuple[int, int] = (32, 24)) -> list[Pixels]:
    """``count`` flat pictures, each 4 grey levels lighter than the last."""
    return [np.full((size[1], size[0], 3), 4 * index, np.uint8) for index in range(count)]


def corners(size: tuple[int, int] = (64, 48)) -> Pixels:
    """Red upper left, green upper right, blue lower left, white lower right."""
    width, height = size
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = 255, 0, 0
    picture[: height // 2, width // 2 :] = 0, 255, 0
    picture[height // 2 :, : width // 2] = 0, 0, 255
    picture[height // 2 :, width // 2 :] = 255
    return picture
