"""Long 1080p files that cost little to make: a minute of pans over photographs, and its packets over and over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from tests.benchmarks.samples import PHOTOGRAPHS

WIDTH, HEIGHT, FPS = 1920, 1080, 25
SCENE_S = 5
MARGIN = 320
"""Pixels that the view moves during a scene."""


def film(path: Path, seconds: int) -> None:
    """H.264 in MP4, a hard cut every ``SCENE_S`` seconds."""
    with av.open(path, "w") as out:
        stream = out.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "28"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for pixels in _views(seconds * FPS):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        out.mux(stream.encode())


def repeat(source: Path, path: Path, times: int) -> None:
    """The packets of ``source`` ``times`` over, without encoding anew: as much work a second, for longer."""
    with av.open(path, "w") as out:
        copy = None
        for turn in range(times):
            with av.open(source) as given:
                stream = given.streams.video[0]
                copy = copy or out.add_stream_from_template(stream)
                for packet in given.demux(stream):
                    if packet.dts is None:  # the flush at the end
                        continue
                    packet.pts += turn * stream.duration
                    packet.dts += turn * stream.duration
                    packet.stream = copy
                    out.mux(packet)


def _views(count: int) -> Iterator[NDArray[np.uint8]]:
    scene = SCENE_S * FPS
    for start in range(0, count, scene):
        photograph = getattr(data, PHOTOGRAPHS[start // scene % len(PHOTOGRAPHS)])()
        picture = Image.fromarray(photograph).convert("RGB").resize((WIDTH + MARGIN, HEIGHT))
        pixels = np.asarray(picture)
        for number in range(min(scene, count - start)):
            left = MARGIN * number // scene
            yield np.ascontiguousarray(pixels[:, left : left + WIDTH])
