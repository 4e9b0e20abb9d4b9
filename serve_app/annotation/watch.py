"""One pass over a video: it splits scenes, chooses frames and clips, and says so as events while frames still come.

Pure: frames in, events out. The process that decodes is in ``watch_process.py``. Choices are random but seeded: the
same frames and seed give the same events. Pixels are converted only when a frame is finally sent.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serve_app.annotation.clip_ring import ClipRing
from serve_app.annotation.scenes import DEFAULT, DETECTORS, SIZE, SceneDetector
from serve_app.errors import Problem
from serve_app.media.frames import Frame, Painter, memory, stored
from serve_app.media.video import Limits, VideoInfo

HELD_BYTES = 192 << 20
"""Decoded frames whose scene is not yet known may take this much; larger ones are shrunk while they wait."""
PROGRESS_S = 0.2
"""Between two signs of progress."""
_EPSILON_S = 1e-6


@dataclass(frozen=True)
class Clips:
    """What an action network looks at: ``frames`` frames of every ``window_s`` of a scene, or of the scene as one where
    that is None; of each the middle ``crop`` x ``crop`` pixels after its shorter side was made ``short_side``."""

    frames: int
    short_side: int
    crop: int
    window_s: float | None = None

    def __post_init__(self) -> None:
        if (
            self.frames < 1
            or not 1 <= self.crop <= self.short_side
            or (self.window_s is not None and self.window_s <= 0)
        ):
            raise ValueError(f"no clips can be made as {self}")

    def windows(self, length_s: float) -> int:
        return max(1, math.ceil(length_s / self.window_s - _EPSILON_S)) if self.window_s else 1


@dataclass(frozen=True)
class Plan:
    """What is wanted of a video."""

    seed: int = 0
    detector: str = DEFAULT
    """A name in ``scenes.DETECTORS``."""
    max_scene_s: float = 10.0
    """Longer scenes are cut; only a single frame may be shown longer than that."""
    stills: bool = True
    """One random frame of each scene."""
    seconds: bool = True
    """One random frame of each second."""
    clips: Clips | None = None
    max_side: int = 1920
    """Pixels of the longer side of the pictures that are sent."""
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.detector not in DETECTORS or self.max_scene_s <= 0 or self.max_side < 1:
            raise ValueError(f"no video can be watched by {self}")


@dataclass(frozen=True)
class Opened:
    info: VideoInfo


@dataclass(frozen=True)
class Progress:
    """``position_s`` is the last frame's time in the file."""

    frames: int
    expected: int | None
    position_s: float


@dataclass(frozen=True)
class Scene:
    """Frames ``start_frame`` to ``end_frame`` (exclusive). A scene ends where the next begins, the last one with its
    last frame's duration; times are the file's own."""

    index: int
    start_s: float
    end_s: float
    start_frame: int
    end_frame: int


@dataclass(frozen=True)
class Still:
    """One frame of a scene. ``picture`` is a binary PPM, upright; the file's frame is ``scale`` times as wide."""

    scene: int
    frame: int
    timestamp_s: float
    picture: bytes
    scale: float


@dataclass(frozen=True)
class Second:
    """One frame of a second of the file's own time; ``picture`` as in :class:`Still`."""

    frame: int
    timestamp_s: float
    picture: bytes
    scale: float


@dataclass(frozen=True)
class Clip:
    """``pixels``: uint8 [frames, crop, crop, 3], RGB, upright, uniform over the window, repeated where it has fewer."""

    scene: int
    start_s: float
    end_s: float
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Done:
    """``errors``: what could not be read or was damaged; ``complete``: nothing that was declared is missing.
    ``decode_s``: wall clock without the time the receiver took; ``duration_s``: from the first frame to the last's end.
    """

    frames: int
    expected: int | None
    errors: int
    complete: bool
    decode_s: float
    duration_s: float


Event = Opened | Progress | Scene | Still | Second | Clip | Done


class Source(Protocol):
    """Frames in the order of showing; ``errors`` and ``complete`` hold for what was read so far."""

    info: VideoInfo
    errors: int

    @property
    def complete(self) -> bool: ...

    def __iter__(self) -> Iterator[Frame]: ...


def watch_frames(source: Source, plan: Plan, clock: Callable[[], float] = time.perf_counter) -> Iterator[Event]:
    """The events of one pass, in the order of time; a scene's ``Scene`` is followed by its ``Still`` and ``Clip``\\ s.

    Raises ``Problem`` with ``unprocessable`` after ``max_decode_s`` of work, and whatever ``source`` raises.
    """
    work = _Stopwatch(clock)
    for event in _events(source, plan, work):
        work.stop()
        yield event
        work.start()


def _events(source: Source, plan: Plan, work: _Stopwatch) -> Iterator[Event]:
    painter = Painter()
    scenes, seconds = _Scenes(plan, painter), _Seconds(plan, painter)
    first = last = None
    told_s = 0.0
    frames = 0
    yield Opened(source.info)
    for frame in source:
        first, last, frames = first or frame, frame, frames + 1
        yield from seconds.push(frame)
        yield from scenes.push(frame)
        spent_s = work.seconds()
        if spent_s > plan.limits.max_decode_s:
            text = f"decoding has taken more than the {plan.limits.max_decode_s:g} s it may take"
            raise Problem("unprocessable", text, "send a shorter or smaller video")
        if spent_s - told_s >= PROGRESS_S:
            told_s = spent_s
            yield Progress(frames, source.info.frames, frame.time_s)
    yield from seconds.finish()
    yield from scenes.finish()
    duration_s = last.time_s + last.duration_s - first.time_s if first and last else 0.0
    yield Done(frames, source.info.frames, source.errors, source.complete, work.seconds(), duration_s)


class _Stopwatch:
    """Runs while frames are worked on and stands while the receiver of the events works."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._before = 0.0
        self._since = clock()

    def seconds(self) -> float:
        return self._before + self._clock() - self._since

    def stop(self) -> None:
        self._before = self.seconds()

    def start(self) -> None:
        self._since = self._clock()


class _Reservoir:
    """One of the frames offered since the last :meth:`take`, each as likely as the others (Vitter's algorithm R)."""

    def __init__(self, seed: int, stream: int) -> None:
        self._random = np.random.default_rng([seed & 0xFFFFFFFFFFFFFFFF, stream]).random
        self._seen = 0
        self._frame: Frame | None = None

    def offer(self, frame: Frame) -> None:
        self._seen += 1
        if self._random() * self._seen < 1.0:
            self._frame = frame

    def take(self) -> Frame | None:
        frame, self._frame, self._seen = self._frame, None, 0
        return frame


class _Seconds:
    """One frame of each second in which the file shows any."""

    def __init__(self, plan: Plan, painter: Painter) -> None:
        self._plan, self._painter = plan, painter
        self._second = 0
        self._chosen = _Reservoir(plan.seed, 1)

    def push(self, frame: Frame) -> Iterator[Second]:
        if not self._plan.seconds:
            return
        if math.floor(frame.time_s) != self._second:
            yield from self.finish()
            self._second = math.floor(frame.time_s)
        self._chosen.offer(frame)

    def finish(self) -> Iterator[Second]:
        if frame := self._chosen.take():
            picture, scale = self._painter.picture(frame, self._plan.max_side)
            yield Second(frame.index, frame.time_s, picture, scale)


class _Scenes:
    """Frames wait until the detector can no longer say that a scene begins with them, and then join their scene."""

    def __init__(self, plan: Plan, painter: Painter) -> None:
        self._plan, self._painter = plan, painter
        self._detector: SceneDetector = DETECTORS[plan.detector]()
        self._begins: set[int] = set()
        self._waiting: deque[Frame] = deque()
        self._still = _Reservoir(plan.seed, 0)
        self._ring: ClipRing | None = None
        self._scene = 0
        self._first: Frame | None = None
        self._fits: dict[tuple[int, int], bool] = {}

    def push(self, frame: Frame) -> Iterator[Event]:
        self._begins.update(self._detector.push(self._painter.thumbnail(frame, SIZE)))
        self._waiting.append(self._held(frame))
        while len(self._waiting) > max(1, self._detector.latency):
            yield from self._settle(self._waiting.popleft(), self._waiting[0].time_s)

    def finish(self) -> Iterator[Event]:
        self._begins.update(self._detector.finish())
        end_s, end_frame = 0.0, 0
        while self._waiting:
            frame = self._waiting.popleft()
            end_s = self._waiting[0].time_s if self._waiting else frame.time_s + frame.duration_s
            end_frame = frame.index + 1
            yield from self._settle(frame, end_s)
        if self._first is not None:
            yield from self._end(end_s, end_frame)

    def _settle(self, frame: Frame, end_s: float) -> Iterator[Event]:
        """``frame``, shown until ``end_s``, begins a scene or goes on with the one before."""
        first = self._first
        begins = frame.index in self._begins
        self._begins.discard(frame.index)
        if first and (begins or end_s - first.time_s > self._plan.max_scene_s + _EPSILON_S):
            yield from self._end(frame.time_s, frame.index)
        if self._first is None:
            self._first = replace(frame, image=None)
            if clips := self._plan.clips:
                self._ring = ClipRing(clips.frames * clips.windows(self._plan.max_scene_s))
        if self._plan.stills:
            self._still.offer(frame)
        if self._ring and (clips := self._plan.clips):
            self._ring.push(frame.time_s, lambda: self._painter.crop(frame, clips.short_side, clips.crop))

    def _end(self, end_s: float, end_frame: int) -> Iterator[Event]:
        first = self._first
        assert first is not None
        yield Scene(self._scene, first.time_s, end_s, first.index, end_frame)
        if frame := self._still.take():
            picture, scale = self._painter.picture(frame, self._plan.max_side)
            yield Still(self._scene, frame.index, frame.time_s, picture, scale)
        if self._ring and (clips := self._plan.clips):
            count = clips.windows(min(end_s - first.time_s, self._plan.max_scene_s))
            edges = [*np.linspace(first.time_s, end_s, count, endpoint=False).tolist(), end_s]
            for part, pixels in enumerate(self._ring.windows(first.time_s, end_s, count, clips.frames)):
                yield Clip(self._scene, edges[part], edges[part + 1], pixels)
        self._first = self._ring = None
        self._scene += 1

    def _held(self, frame: Frame) -> Frame:
        """The frame as it can wait: without pixels where none are wanted, shrunk where many would take too much."""
        if not self._plan.stills and not self._plan.clips:
            return replace(frame, image=None)
        size = stored(frame).width, stored(frame).height
        if size not in self._fits:
            self._fits = {size: memory(frame) * (self._detector.latency + 2) <= HELD_BYTES}
        return frame if self._fits[size] else self._painter.shrunk(frame, self._plan.max_side)
