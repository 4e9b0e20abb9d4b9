"""Decoded video frames, and pixels of them: upright, shrunk and in RGB, made only when somebody asks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av import VideoFrame

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Turn:
    """How stored pixels become upright ones: rows and columns swapped first, then mirrored."""

    swap: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @classmethod
    def of_matrix(cls, matrix: bytes) -> Turn:
        """The right angle (and mirroring) nearest to a display matrix: nine int32, of which (a, b, u, c, d, ...) map
        (x, y) to (a x + c y, b x + d y), as in ISO/IEC 14496-12, 6.2.2, and libavutil/display.h."""
        a, b, _, c, d = (int(value) for value in np.frombuffer(matrix[:20], np.int32))
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    def upright(self, pixels: Pixels) -> Pixels:
        """[H, W] or [H, W, 3] as stored -> the same upright, a view."""
        if self.swap:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1]


@dataclass(frozen=True)
class Frame:
    """A frame as the file shows it. ``width`` x ``height`` is the upright size of the file's own frame, although
    ``image`` (stored pixels) may have been shrunk, or let go, since."""

    index: int
    time_s: float
    duration_s: float
    image: VideoFrame | None
    turn: Turn
    width: int
    height: int


class Painter:
    """Pixels of frames. One scaler for each use, as a scaler is built anew whenever its sizes change."""

    def __init__(self) -> None:
        from av.video.reformatter import Interpolation, VideoReformatter

        self._thumbnails, self._pictures, self._crops, self._copies = (VideoReformatter() for _ in range(4))
        self._area, self._bilinear = Interpolation.AREA, Interpolation.BILINEAR

    def thumbnail(self, frame: Frame, size: int) -> Pixels:
        """[size, size] greys, each the average of its area, whatever the frame's proportions.

        A video's own luma: half the work of RGB, as chroma is neither scaled nor converted.
        """
        image = self._thumbnails.reformat(stored(frame), size, size, "gray", interpolation=self._area, threads=1)
        return frame.turn.upright(_array(image))

    def picture(self, frame: Frame, max_side: int) -> tuple[bytes, float]:
        """A binary PPM with sides of at most ``max_side``, and how much wider the file's own frame is."""
        width, height = _fitted(stored(frame), max_side)
        pixels = self._rgb(self._pictures, frame, width, height, self._area)
        head = b"P6\n%d %d\n255\n" % (pixels.shape[1], pixels.shape[0])
        return head + pixels.tobytes(), frame.width / pixels.shape[1]

    def crop(self, frame: Frame, short_side: int, crop: int) -> Pixels:
        """[crop, crop, 3], the middle of the frame scaled so that its shorter side is ``short_side``."""
        width, height = stored(frame).width, stored(frame).height
        scale = short_side / min(width, height)
        width, height = (max(short_side, int(side * scale)) for side in (width, height))
        pixels = self._rgb(self._crops, frame, width, height, self._bilinear)
        top, left = ((side - crop + 1) // 2 for side in pixels.shape[:2])
        return np.ascontiguousarray(pixels[top : top + crop, left : left + crop])

    def shrunk(self, frame: Frame, max_side: int) -> Frame:
        """The same frame in 8 bits, in less memory."""
        width, height = _fitted(stored(frame), max_side)
        small = self._copies.reformat(stored(frame), width, height, "yuv420p", interpolation=self._area, threads=1)
        return replace(frame, image=small)

    def _rgb(self, scaler: Any, frame: Frame, width: int, height: int, how: Any) -> Pixels:
        # One thread: the decoder keeps the others busy, and several cost three times as much on small pictures.
        image = scaler.reformat(stored(frame), width, height, "rgb24", interpolation=how, threads=1)
        return frame.turn.upright(_array(image))


def stored(frame: Frame) -> VideoFrame:
    """The stored pixels of a frame that still has them."""
    if frame.image is None:
        raise ValueError(f"the pixels of frame {frame.index} were let go")
    return frame.image


def memory(frame: Frame) -> int:
    """Bytes that the pixels take as they are."""
    return sum(plane.buffer_size for plane in stored(frame).planes)


def _array(image: VideoFrame) -> Pixels:
    pixels: Pixels = image.to_ndarray()  # type: ignore[assignment]
    return pixels


def _fitted(image: VideoFrame, max_side: int) -> tuple[int, int]:
    scale = min(1.0, max_side / max(image.width, image.height))
    return max(1, round(image.width * scale)), max(1, round(image.height * scale))
