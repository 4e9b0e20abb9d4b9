"""How well scene boundaries are found: precision, recall and F1 against labelled ones, for videos and for frames."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from serve_app.annotation.scenes import DETECTORS, SIZE, SceneDetector
from serve_app.errors import Problem
from serve_app.media.frames import Painter
from serve_app.media.video import Video

Boundary = tuple[int, int]
"""The first and the last frame that may be taken for a scene's beginning: equal for a cut, a span for a dissolve."""


@dataclass(frozen=True)
class Score:
    """Boundaries that were found, that there are, and that are both; each labelled one is found at most once."""

    found: int = 0
    labelled: int = 0
    right: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(self.found + other.found, self.labelled + other.labelled, self.right + other.right)

    @property
    def precision(self) -> float:
        """1 where nothing was found: nothing of it is false."""
        return self.right / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        """1 where there is nothing to find."""
        return self.right / self.labelled if self.labelled else 1.0

    @property
    def f1(self) -> float:
        """1 where there is nothing to find and nothing was found."""
        every = self.found + self.labelled
        return 2 * self.right / every if every else 1.0


@dataclass(frozen=True)
class Splits:
    """Where each detector says that scenes begin in a video of ``frames`` frames; their ``times_s``, one a frame."""

    times_s: list[float]
    boundaries: dict[str, list[int]]

    @property
    def frames(self) -> int:
        return len(self.times_s)


def score(found: Iterable[int], labelled: Iterable[Boundary], tolerance: int = 0) -> Score:
    """Pairs the most found frames with labelled boundaries, one to one, at most ``tolerance`` frames outside of them.

    Each boundary, in the order in which they end, takes the first frame that is left: no other choice pairs more.
    """
    frames, boundaries = sorted(set(found)), sorted(labelled, key=lambda boundary: boundary[::-1])
    left, right = list(frames), 0
    for first, last in boundaries:
        match = next((frame for frame in left if first - tolerance <= frame <= last + tolerance), None)
        if match is not None:
            left.remove(match)
            right += 1
    return Score(len(frames), len(boundaries), right)


def read_labels(text: str) -> dict[str, list[Boundary]]:
    """Lines ``name<TAB>frames``: frames separated by commas, each the first of a scene or a span such as 360-394;
    none for a video of one scene. Lines that begin with # are left out. Raises ``Problem`` (bad_request)."""
    labels: dict[str, list[Boundary]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, frames = line.partition("\t")
        labels[name.strip()] = [_boundary(part, number) for part in frames.split(",") if part.strip()]
    return labels


def split(video: Video, detectors: Mapping[str, SceneDetector]) -> Splits:
    """One pass over ``video``, seen by every detector."""
    painter, times = Painter(), []
    boundaries: dict[str, list[int]] = {name: [] for name in detectors}
    for frame in video:
        times.append(frame.time_s)
        thumbnail = painter.thumbnail(frame, SIZE)
        for name, detector in detectors.items():
            boundaries[name] += detector.push(thumbnail)
    for name, detector in detectors.items():
        boundaries[name] += detector.finish()
    return Splits(times, boundaries)


def split_files(paths: Sequence[Path], names: Sequence[str]) -> Iterator[tuple[Path, Splits | Problem]]:
    """Each video with its splits by the detectors ``names``, or with why it cannot be read."""
    for path in paths:
        try:
            with closing(Video(str(path))) as video:
                yield path, split(video, {name: DETECTORS[name]() for name in names})
        except Problem as problem:
            yield path, problem


def _boundary(text: str, line: int) -> Boundary:
    match = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if last < first or first == 0:
        remedy = "write name<TAB>frames, such as: film.mp4<TAB>30,180,360-394"
        raise Problem("bad_request", f"line {line}: {text.strip()!r} is neither a frame nor a span of frames", remedy)
    return first, last
