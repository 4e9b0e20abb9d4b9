"""Drives queued jobs to their end; the queue is rows of the catalog, so nothing is lost with this process."""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from ray import serve
from ray.serve import metrics

from serve_app.errors import Problem

log = logging.getLogger("mediaverse")

IDLE_S = 0.5
LONGEST_PAUSE_S = 30.0
MEASURE_S = 60.0

GAUGES = {
    "mediaverse_contents": "Contents that are to be found",
    "mediaverse_vectors": "Contents that have their vector",
    "mediaverse_explained_failures": "Contents without a vector whose assets say why",
    "mediaverse_unexplained": "Contents without a vector that nothing explains",
}
TAGS = ("modality", "revision")

Round = Callable[[str], Awaitable[bool]]
"""Does some work in the name of a worker, and says whether there was any."""


class Work(Protocol):
    """What can be worked on."""

    def rounds(self, workers: int) -> Sequence[Round]:
        """What goes on side by side, over and over again; ``workers`` bounds the jobs that may take long."""
        ...

    def chores(self) -> Mapping[float, Sequence[Callable[[], Awaitable[None]]]]:
        """What is done at the start and then every so many seconds."""
        ...

    async def counts(self) -> Mapping[str, Mapping[tuple[str, ...], float]]:
        """The value of each gauge by its tags."""
        ...


@serve.deployment
class JobRunner:
    """A few workers that claim jobs under a lease. A dead one's job goes to another when its lease runs out."""

    def __init__(self, work: Work, workers: int = 2) -> None:
        self.work = work
        self.name = f"{os.uname().nodename}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.gauges = {name: metrics.Gauge(name, text, TAGS) for name, text in GAUGES.items()}
        rounds = work.rounds(workers)
        self.woken = [asyncio.Event() for _ in rounds]
        self.tasks = [asyncio.create_task(self._run(i, each)) for i, each in enumerate(rounds)]
        chores = [(period, chore) for period, some in work.chores().items() for chore in some]
        self.chores = [asyncio.create_task(_regularly(*each)) for each in [(MEASURE_S, self._measure), *chores]]

    async def nudge(self) -> None:
        """Look for work now instead of at the next tick."""
        for woken in self.woken:
            woken.set()

    async def check_health(self) -> None:
        """Serve's hook: a runner whose worker has ended is replaced."""
        for task in self.tasks:
            if task.done():
                raise RuntimeError("a worker of the job runner ended") from task.exception()

    async def _measure(self) -> None:
        for name, values in (await self.work.counts()).items():
            for tags, value in values.items():
                self.gauges[name].set(value, dict(zip(TAGS, tags, strict=True)))

    async def _run(self, number: int, work: Round) -> None:
        pause, woken = IDLE_S, self.woken[number]
        while True:
            try:
                if await work(f"{self.name}:{number}"):
                    pause = IDLE_S
                    continue
                pause = IDLE_S
            except Exception as error:
                pause = min(LONGEST_PAUSE_S, 2 * pause)
                log.error("no work for %g s: %s", pause, error, exc_info=not isinstance(error, Problem))
            try:
                await asyncio.wait_for(woken.wait(), pause)
            except TimeoutError:
                continue
            woken.clear()


async def _regularly(period_s: float, chore: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await chore()
        except Exception as error:
            log.error("a chore is put off for %g s: %s", period_s, error, exc_info=not isinstance(error, Problem))
        await asyncio.sleep(period_s)
