"""What tests of the door share: videos and jobs behind it, the door on a socket, and a reader of events."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from typing import Any

import uvicorn

from serve_app.errors import Problem
from serve_app.wire import schemas
from serve_app.wire.http import create_app
from serve_app.wire.ports import Services, Upload

NOW = datetime(2026, 11, 23, tzinfo=UTC)
FOREVER = 3600.0

ANSWER = schemas.VideoAnnotation(
    asset=schemas.MediaInfo(media_type="video/mp4", sha256="0" * 64, width=64, height=36, duration_s=75.26),
    results={
        "object_detection": schemas.TaskResult(
            status="ok",
            model="fastestdet@1",
            labels=[
                schemas.Label(
                    label="dog [x]",
                    confidence=0.93,
                    timestamp_s=3.2,
                    times=[schemas.Occurrence(confidence=0.9, timestamp_s=at) for at in (0.04, 3.2, 59.96, 61, 62.5)],
                ),
                schemas.Label(label="cat", confidence=0.5, timestamp_s=7.0),
            ],
        ),
        "video_action_recognition": schemas.TaskResult(
            status="ok",
            labels=[
                schemas.Label(
                    label="pan left",
                    confidence=0.8,
                    start_s=0.0,
                    end_s=4.2,
                    times=[schemas.Occurrence(confidence=0.8, start_s=0.0, end_s=4.2)],
                )
            ],
        ),
        "cross_modal_embedding": schemas.TaskResult(
            status="ok", embeddings=[schemas.SceneEmbedding(start_s=0, end_s=4.2, embedding=[0.6, 0.8])]
        ),
        "disturbing_content": schemas.TaskResult(status="ok", is_disturbing=False, score=0.25),
    },
    scenes=[
        schemas.SceneSpan(start_s=0, end_s=4.2, start_frame=0, end_frame=105),
        schemas.SceneSpan(start_s=4.2, end_s=75.26, start_frame=105, end_frame=1881),
    ],
    decoded=schemas.Decoded(frames=1881, expected=1900, errors=3, complete=False),
    stage=schemas.StageTimes(load_s=0.5, annotate_s=0.75, after_last_frame_s=0.25, total_s=1.0),
)


def at(frames: int, expected: int | None = 100, scenes: int = 0) -> schemas.VideoProgress:
    share = frames / expected if expected else None
    return schemas.VideoProgress(frames=frames, expected=expected, progress=share, scenes=scenes)


def job(state: schemas.JobState = "running", progress: float = 0.0, **more: Any) -> schemas.Job:
    fields = {"id": "j1", "kind": "process", "asset_id": "anna/a.mp4", "attempts": 1, "created_at": NOW}
    return schemas.Job(**fields | {"state": state, "progress": progress} | more)


class Script:
    """Goes through steps: raises what is an error, waits where it is a number, gives the rest. Knows when it ended."""

    def __init__(self, *steps: Any) -> None:
        self.steps: Iterable[Any] = steps
        self.begun = threading.Event()
        self.ended = threading.Event()

    async def play(self) -> AsyncGenerator[Any, None]:
        self.begun.set()
        try:
            for step in self.steps:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, float):
                    await asyncio.sleep(step)
                else:
                    yield step
        finally:
            await asyncio.sleep(0)  # as whoever cleans up does
            self.ended.set()


class Videos:
    """A port of videos that plays a script."""

    def __init__(self, *steps: Any) -> None:
        self.script = Script(*steps)
        self.asked: list[tuple[Upload, Sequence[str], int]] = []
        self.read: list[bytes] = []

    def parse_annotators(self, names: str | None) -> tuple[str, ...]:
        if names == "nonsense":
            raise Problem("bad_request", "no such annotator")
        return tuple((names or "scenes,objects").split(","))

    def annotate(self, upload: Upload, annotators: Sequence[str], seed: int) -> AsyncGenerator[Any, None]:
        self.asked.append((upload, annotators, seed))
        # Held, so that it ends by being closed and not by being forgotten.
        self.playing = self._play(upload)
        return self.playing

    async def _play(self, upload: Upload) -> AsyncGenerator[Any, None]:
        async with aclosing(self.script.play()) as items:
            async for item in items:
                self.read.append(upload.data)
                yield item


class Jobs:
    """A port of jobs: one job, whose changes are a script."""

    def __init__(self, *steps: Any) -> None:
        self.script = Script(*steps)
        self.asked: list[Any] = []

    async def get(self, id: str) -> schemas.Job:
        self.asked.append(("get", id))
        if id != "j1":
            raise Problem("not_found", "there is no such job")
        return job(progress=0.5, detail=schemas.JobDetail(stage="annotate", frames=50, expected=100))

    async def page(self, **options: Any) -> schemas.JobPage:
        self.asked.append(options)
        if options["cursor"] == "more":
            return schemas.JobPage(items=[job("failed", 0.25, id="j0", error="unprocessable: it is [bold]broken")])
        return schemas.JobPage(items=[job(progress=0.5)], next_cursor="more")

    async def cancel(self, id: str) -> schemas.Job:
        await self.get(id)
        self.asked.append(("cancel", id))
        return job("cancelled", 0.5, finished_at=NOW)

    def events(self, id: str) -> AsyncGenerator[schemas.Job, None]:
        self.playing = self._play(id)
        return self.playing

    async def _play(self, id: str) -> AsyncGenerator[schemas.Job, None]:
        await self.get(id)
        async with aclosing(self.script.play()) as items:
            async for item in items:
                yield item


def services(**ports: Any) -> Services:
    """Services of which only the named ones are there."""
    names = ("image", "assets", "retrieval", "recommendation", "health", "video", "jobs")
    return Services(**dict.fromkeys(names) | ports)


@contextmanager
def serving(behind: Services) -> Iterator[str]:
    """The door on a socket; gives its address."""
    server = uvicorn.Server(uvicorn.Config(create_app(behind), log_config=None, lifespan="off", ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


def events(text: str) -> list[tuple[str, str]]:
    """Name and data of each event, as the HTML standard (9.2.6) says of a stream without carriage returns."""
    found = []
    for block in text.split("\n\n")[:-1]:
        fields = [re.fullmatch(r"([^:]*)(?:: ?(.*))?", line, re.DOTALL).groups() for line in block.split("\n")]
        data = [value or "" for name, value in fields if name == "data"]
        named = [value or "" for name, value in fields if name == "event"]
        if data:
            found.append((named[-1] if named else "message", "\n".join(data)))
    return found


def comments(text: str) -> int:
    return sum(line.startswith(":") for line in text.split("\n"))


def soon(true: Any, within_s: float = 5.0) -> bool:
    """Whether ``true()`` becomes so in time."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if true():
            return True
        time.sleep(0.01)
    return False
