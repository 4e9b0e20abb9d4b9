"""Small pictures of a whole film on one sheet, for the place that a viewer points at on the time line.

Players read the sheet by WebVTT whose cues name parts of it (``#xywh=``, W3C Media Fragments).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

SHEET, CUES = "thumbnails.jpg", "thumbnails.vtt"
COLUMNS = ROWS = 10
SHORTEST_S = 2
"""Seconds that a picture stands for, at least."""
SIDE = 160
"""Pixels of its longer side."""


@dataclass(frozen=True)
class Sprite:
    """A sheet of ``COLUMNS`` x ``ROWS`` pictures of ``width`` x ``height``, one for every ``interval_s`` seconds."""

    width: int
    height: int
    interval_s: Fraction

    @classmethod
    def of(cls, width: int, height: int, duration_s: float | None) -> Sprite:
        """For a film of this length; of unknown length, the first minutes are shown."""
        interval = max(SHORTEST_S, ceil((duration_s or 0) / (COLUMNS * ROWS)))
        return cls(width, height, Fraction(interval))

    def places(self, duration_s: float) -> Iterator[tuple[float, float, int, int]]:
        """Start and end in seconds, left and top in pixels, of each picture."""
        count = min(COLUMNS * ROWS, max(1, ceil(duration_s / self.interval_s)))
        for number in range(count):
            row, column = divmod(number, COLUMNS)
            start, end = number * self.interval_s, min((number + 1) * self.interval_s, Fraction(duration_s))
            yield float(start), float(end), column * self.width, row * self.height


def cues(sprite: Sprite, duration_s: float) -> str:
    """The text of ``CUES``."""
    lines = ["WEBVTT", ""]
    for start, end, left, top in sprite.places(duration_s):
        lines += [f"{_clock(start)} --> {_clock(end)}", f"{SHEET}#xywh={left},{top},{sprite.width},{sprite.height}", ""]
    return "\n".join(lines)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}.{rest % 1000:03}"
