"""The key frame that shows best what a video is: neither dark nor flat nor blurred, the sharpest of some.

Key frames alone are decoded, at places spread over the whole video, so that a long film takes no longer than a short
one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serve_app.errors import Problem
from serve_app.media.tracks import Source
from serve_app.media.video import opened

if TYPE_CHECKING:
    from av import VideoFrame

LOOKS = 24
"""Places at which a key frame is looked for."""
SIDE = 192
"""Pixels of the squares in which frames are compared: sharpness is that of what a thumbnail shows."""
DARK, LIGHT = 24, 232
"""Luma below and above which a pixel shows nothing."""
MOST_EMPTY = 0.9
"""The share of such pixels that makes a frame one of the beginning or end of a fade."""
FLAT = 6.0
"""Standard deviation of luma below which there is nothing to see."""
_PACKETS = 600
"""Read behind a place in search of a key frame."""


@dataclass(frozen=True)
class Look:
    """What was seen at one place."""

    time_s: float
    sharpness: float
    """Variance of the Laplacian (Pech-Pacheco and others, 2000)."""
    shows: bool
    """Neither dark, nor light, nor flat."""


def best_time(path: str, source: Source) -> float:
    """When the best key frame is shown, in seconds from the start of the file.

    Raises Problem("undecodable_media") where none can be decoded.
    """
    looks = list(looks_at(path, source))
    if not looks:
        raise Problem("undecodable_media", "no key frame of the video can be decoded")
    return max(looks, key=lambda look: (look.shows, look.sharpness)).time_s


def looks_at(path: str, source: Source) -> Iterator[Look]:
    """One look at each place that has a key frame of its own."""
    import cv2

    seen: set[float] = set()
    for image, time_s in _frames(path, source):
        if time_s in seen:
            continue
        seen.add(time_s)
        grey = np.asarray(image.reformat(SIDE, SIDE, "gray").to_ndarray(), np.uint8)
        yield Look(time_s, float(cv2.Laplacian(grey, cv2.CV_64F).var()), _shows(grey))


def _shows(grey: NDArray[np.uint8]) -> bool:
    empty = np.mean((grey < DARK) | (grey > LIGHT))
    return bool(empty < MOST_EMPTY and grey.std() >= FLAT)


def _frames(path: str, source: Source) -> Iterator[tuple[VideoFrame, float]]:
    """Key frames, and when they are shown."""
    assert source.video is not None
    container = opened(path, source.demuxer)
    try:
        stream: Any = next(each for each in container.streams.video if each.index == source.video.index)
        stream.codec_context.skip_frame = "NONKEY"
        stream.codec_context.thread_type = "AUTO"
        first = (container.start_time or 0) / 1_000_000
        for number in range(LOOKS):
            place = first + (source.duration_s or 0.0) * (number + 0.5) / LOOKS
            if (image := _next(container, stream, place)) is not None:
                yield image, max(0.0, float(image.time or 0.0) - first)
    finally:
        container.close()


def _next(container: Any, stream: Any, place: float) -> VideoFrame | None:
    """The key frame at or before a place in seconds, or the next one behind it."""
    from av.error import FFmpegError

    try:
        container.seek(int(place / stream.time_base), stream=stream)
        for number, packet in enumerate(container.demux(stream)):
            for image in stream.codec_context.decode(packet):
                found: VideoFrame = image
                return found
            if number > _PACKETS:
                return None
    except (FFmpegError, ValueError):
        return None
    return None
