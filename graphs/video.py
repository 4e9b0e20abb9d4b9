"""A video is decoded once; the frames and clips chosen on the way go to every annotator while decoding goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from math import inf
from typing import Any

from graphs.annotators import Annotators
from graphs.calls import call, stream
from graphs.image import parse
from graphs.looking import ANNOTATORS, ON_STILLS, Look
from graphs.places import Places
from graphs.uploads import check_video, near, passing
from graphs.video_answers import annotation
from serve_app.annotation.watch import Clip, Clips, Done, Event, Opened, Plan, Progress, Scene, Second, Still
from serve_app.annotation.watch_process import probe, watch
from serve_app.catalog import Job, LeaseLostError
from serve_app.errors import Problem
from serve_app.media.video import Limits, VideoInfo
from serve_app.wire import ports, schemas

CHECK_S = 1.0
REQUEST_S = 570.0
"""A request is answered within this, just below the proxy's own limit; jobs have no such bound."""
LONG = "post it as an asset: a job takes the time it needs"
SILENT_S = 120.0
"""Without any progress for so long, a video is given up."""

Update = schemas.VideoProgress | schemas.VideoAnnotation


@dataclass(frozen=True)
class Request:
    """A stored video to annotate: its path among the files, its hash, and what is asked of it.

    A reader cannot see its caller die, so the request says how it knows: by the ``job`` that somebody holds, or after
    ``within_s``.
    """

    file: str
    sha256: str
    annotators: tuple[str, ...]
    seed: int = 0
    job: Job | None = None
    within_s: float = inf
    model: str | None = None
    """Another encoder than the configured one, for vectors."""


@dataclass(frozen=True)
class Reading:
    """How videos are read: the scene detector, the longest scene and what a file may ask for."""

    detector: str
    max_scene_s: float
    limits: Limits


@dataclass(frozen=True)
class VideoGraph:
    """Annotation of stored videos; it runs where the decoder runs, with the annotators' handles.

    ``actions`` is None where no model of this application can tell.
    """

    annotators: Annotators
    actions: object
    places: Places
    reading: Reading

    async def probe(self, file: str) -> VideoInfo:
        """The facts of a stored video; raises ``Problem`` where it cannot be read."""
        async with near(self.places.files, file) as descriptor:
            return await probe(descriptor, self.reading.limits)

    async def annotate(self, request: Request) -> AsyncIterator[Update]:
        """Progress while it lasts, the annotation as the last item. The same file and seed give the same answer."""
        course = Course(Look(self.annotators, self.actions, request.annotators, request.model))
        try:
            async with (
                near(self.places.files, request.file) as descriptor,
                aclosing(watch(descriptor, self._plan(request))) as events,
            ):
                async for event in events:
                    await course.take(event)
                    if isinstance(event, Opened | Progress):
                        await self._check(request, course)
                        yield course.progress()
            async for _ in course.look.crew.drained():
                await self._check(request, course)
                yield course.progress()
        finally:
            course.look.crew.stop()
        yield course.annotation(request.sha256)

    async def _check(self, request: Request, course: Course) -> None:
        """Raises where nobody waits for the answer any more; looks once a second."""
        now = time.perf_counter()
        if now - course.started > request.within_s:
            raise Problem("deadline", f"the video was not annotated within {request.within_s:g} s", LONG)
        if request.job and now - course.checked > CHECK_S:
            course.checked = now
            if not await asyncio.to_thread(self.places.catalog.jobs.held, request.job):
                raise LeaseLostError(f"job {request.job.id} is no longer held by {request.job.worker}")

    def _plan(self, request: Request) -> Plan:
        row, clips = self.annotators.models.rows.get("video_action_recognition"), None
        if row and row.video and self.actions and "actions" in request.annotators:
            clips = Clips(row.video.frames, row.video.short_side, row.video.crop, row.video.window_s)
        return Plan(
            seed=request.seed, detector=self.reading.detector, max_scene_s=self.reading.max_scene_s,
            stills=not set(ON_STILLS).isdisjoint(request.annotators),
            seconds="faces" in request.annotators, clips=clips, limits=self.reading.limits,
        )  # fmt: skip


@dataclass
class Course:
    """One video on its way through the graph."""

    look: Look
    started: float = field(default_factory=time.perf_counter)
    checked: float = 0.0
    decoded: float = 0.0
    info: VideoInfo | None = None
    frames: Progress | None = None
    scenes: list[Scene] = field(default_factory=list)
    done: Done | None = None

    async def take(self, event: Event) -> None:
        """Note an event, or send its frames off; that waits while all hands are full and so holds the decoder back."""
        match event:
            case Opened():
                self.info = event.info
            case Progress():
                self.frames = event
            case Scene():
                self.scenes.append(event)
            case Still():
                await self.look.at_still(event)
            case Second():
                await self.look.at_second(event)
            case Clip():
                await self.look.at_clip(event)
            case Done():
                self.done, self.decoded = event, time.perf_counter()

    def progress(self) -> schemas.VideoProgress:
        """How much is decoded; by time where the file does not say how many frames it has."""
        told = self.done or self.frames
        frames, expected = (told.frames, told.expected) if told else (0, self.info.frames if self.info else None)
        share = frames / expected if expected else None
        if share is None and self.frames and self.info and self.info.duration_s:
            share = (self.frames.position_s - self.info.start_s) / self.info.duration_s
        if share is not None:
            share = min(1.0, max(0.0, share))
        return schemas.VideoProgress(frames=frames, expected=expected, progress=share, scenes=len(self.scenes))

    def annotation(self, sha256: str) -> schemas.VideoAnnotation:
        """The whole answer; raises ``Problem`` as :meth:`Look.results` does."""
        if self.info is None or self.done is None:
            raise Problem("internal", "the decoder ended without a word")
        look, now = self.look, time.perf_counter()
        stage = schemas.StageTimes(
            load_s=self.done.decode_s,
            annotate_s=look.ended - look.began if look.began and look.ended else 0.0,
            after_last_frame_s=now - self.decoded,
            total_s=now - self.started,
        )
        return annotation(self.info, sha256, self.scenes, self.done, look.results(self.scenes), stage, look.faces)


@dataclass(frozen=True)
class VideoCalls:
    """The graph of videos as the doors and the jobs reach it: through the scene splitter, where it runs."""

    splitter: Any
    places: Places

    def parse_annotators(self, names: str | None) -> tuple[str, ...]:
        """``objects,faces`` to a tuple; all when None; ``bad_request`` for a name that is not an annotator."""
        return parse(names, (*ANNOTATORS, "scenes"), "videos")

    async def annotate(self, upload: ports.Upload, annotators: Sequence[str], seed: int) -> AsyncIterator[Update]:
        """Progress, and the annotation as the last item, of a video that is not kept."""
        check_video(upload)
        async with passing(self.places.files, upload) as (file, sha256):
            request = Request(file, sha256, tuple(annotators), seed, within_s=REQUEST_S)
            async with aclosing(self.stored(request)) as updates:
                async for update in updates:
                    yield update

    async def stored(self, request: Request) -> AsyncIterator[Update]:
        """The same of a stored file. Raises ``Problem``; what ends early is ``overloaded``, for another try."""
        last: Update | None = None
        async with aclosing(stream(self.splitter, "annotate", request, timeout_s=SILENT_S)) as updates:
            async for update in updates:
                if update is not None:  # it is another video's turn
                    yield (last := update)
        if not isinstance(last, schemas.VideoAnnotation):
            raise Problem("overloaded", "the video's reader went away; try again")

    async def probe(self, file: str) -> VideoInfo:
        """The facts of a stored video; raises ``Problem`` where it cannot be read."""
        info: VideoInfo = await call(self.splitter.probe, file)
        return info
