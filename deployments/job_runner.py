"""Drives queued jobs to their end; the queue is rows of the catalog, so nothing is lost with this process."""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from typing import Protocol

from ray import serve

from serve_app.errors import Problem

log = logging.getLogger("mediaverse")

IDLE_S = 0.5
LONGEST_PAUSE_S = 30.0
TIDY_S = 3600.0
FOLLOW_S = 5.0


class Work(Protocol):
    """What can be worked on: ``work_once`` does one job and says whether there was one.

    With ``quick`` it takes none that may last long.
    """

    async def work_once(self, worker: str, quick: bool = False) -> bool: ...
    async def catch_up_revision(self) -> int: ...
    async def follow_people(self) -> int: ...
    async def tidy(self) -> int: ...


@serve.deployment
class JobRunner:
    """A few workers that claim jobs under a lease. A dead one's job goes to another when its lease runs out."""

    def __init__(self, work: Work, workers: int = 2) -> None:
        self.work = work
        self.workers = workers
        self.name = f"{os.uname().nodename}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.woken = asyncio.Event()
        self.tasks = [asyncio.create_task(self._run(i)) for i in range(workers)]
        self.chores = [
            asyncio.create_task(self._catch_up()),
            asyncio.create_task(self._tidy()),
            asyncio.create_task(self._follow()),
        ]

    async def nudge(self) -> None:
        """Look for work now instead of at the next tick."""
        self.woken.set()

    async def check_health(self) -> None:
        """Serve's hook: a runner whose worker has ended is replaced."""
        for task in self.tasks:
            if task.done():
                raise RuntimeError("a worker of the job runner ended") from task.exception()

    async def _catch_up(self) -> None:
        try:
            if queued := await self.work.catch_up_revision():
                log.info("%d assets have no vector of this model yet; queued", queued)
        except Exception:
            log.exception("could not look for assets without a vector")

    async def _follow(self) -> None:
        while True:
            try:
                if named := await self.work.follow_people():
                    log.info("the faces of %d assets were named anew", named)
            except Exception as error:
                log.warning("assets do not follow the gallery yet: %s", error)
            await asyncio.sleep(FOLLOW_S)

    async def _tidy(self) -> None:
        while True:
            try:
                if swept := await self.work.tidy():
                    log.info("%d files that a crash left behind are gone", swept)
            except Exception:
                log.exception("could not tidy up")
            await asyncio.sleep(TIDY_S)

    async def _run(self, number: int) -> None:
        pause = IDLE_S
        while True:
            try:
                # One worker never takes what may last hours, so that a picture does not wait behind a film.
                quick = number == 0 and self.workers > 1
                if await self.work.work_once(f"{self.name}:{number}", quick):
                    pause = IDLE_S
                    continue
                pause = IDLE_S
            except Exception as error:
                pause = min(LONGEST_PAUSE_S, 2 * pause)
                log.error("no work for %g s: %s", pause, error, exc_info=not isinstance(error, Problem))
            try:
                await asyncio.wait_for(self.woken.wait(), pause)
            except TimeoutError:
                continue
            self.woken.clear()
