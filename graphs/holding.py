"""Holding a claimed job while it is worked on: its lease, how far it is, and the moment it is taken away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from serve_app.catalog import Job, LeaseLostError
from serve_app.catalog.jobs import Jobs
from serve_app.catalog.rows import Claim
from serve_app.errors import Problem

T = TypeVar("T")

LEASE_S = 12.0
LOOK_S = 0.4
"""Between two looks whether the job was cancelled: what runs then has ended within a second."""


@dataclass
class Hold:
    """One job in the hands of one worker."""

    jobs: Jobs
    job: Job
    progress: float | None = None
    detail: dict[str, Any] | None = None

    def note(self, stage: str, progress: float | None = None, **counts: int | None) -> None:
        """How far the job is; written at the next look."""
        self.detail = {"stage": stage} | {name: count for name, count in counts.items() if count is not None}
        self.progress = progress

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work``; LeaseLostError, and the work cancelled, when the job is cancelled or another's meanwhile."""
        working = asyncio.ensure_future(work)
        keeping = asyncio.create_task(self._keep())
        try:
            await asyncio.wait({working, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                keeping.result()
            return await working
        finally:
            for task in (keeping, working):
                task.cancel()
            await asyncio.gather(keeping, working, return_exceptions=True)

    async def _keep(self) -> None:
        renewed, written = time.monotonic(), (self.progress, self.detail)
        while True:
            await asyncio.sleep(LOOK_S)
            with suppress(Problem):  # a busy database; there is time for another try
                if await asyncio.to_thread(self.jobs.state, self.job.id) != "running":
                    raise LeaseLostError(f"job {self.job.id} was ended from outside")
                said = (self.progress, self.detail)
                if said != written or time.monotonic() - renewed > LEASE_S / 4:
                    await asyncio.to_thread(self.jobs.renew, self.job, LEASE_S, *said)
                    renewed, written = time.monotonic(), said


class Grip:
    """Many jobs in the hands of one worker: one look and one renewal for all of them."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._held: dict[Claim, tuple[Job, asyncio.Future[Any]]] = {}

    async def during(self, job: Job, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work``; LeaseLostError, and the work cancelled, when the job is cancelled or another's meanwhile."""
        working, claim = asyncio.ensure_future(work), job.claim
        self._held[claim] = job, working
        try:
            return await working
        except asyncio.CancelledError:
            if claim in self._held:
                working.cancel()
                raise
            raise LeaseLostError(f"job {job.id} was ended from outside") from None
        finally:
            self._held.pop(claim, None)

    async def keep(self) -> None:
        """Look after all that are held, until cancelled."""
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_S)
            with suppress(Problem):  # a busy database; there is time for another try
                some = dict(self._held)
                held = await asyncio.to_thread(self._jobs.held_of, [job for job, _ in some.values()])
                for claim in some.keys() - {job.claim for job in held}:
                    if self._held.pop(claim, None) is not None:
                        some[claim][1].cancel()
                if time.monotonic() - renewed > LEASE_S / 4:
                    await asyncio.to_thread(self._jobs.renew_many, held, LEASE_S)
                    renewed = time.monotonic()
