"""Jobs as a client sees them: rows of the catalog, watched while they change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from graphs.places import Places
from serve_app.catalog import Job
from serve_app.catalog.jobs import Jobs
from serve_app.wire import schemas

LOOK_S = 0.5
ENDED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class JobGraph:
    """Showing, watching and cancelling jobs."""

    places: Places

    async def get(self, id: str) -> schemas.Job:
        """The job, or ``not_found``."""
        return show(await asyncio.to_thread(self._jobs.get, id))

    async def page(self, *, state: str | None, asset_id: str | None, limit: int, cursor: str | None) -> schemas.JobPage:
        """Jobs, newest first."""
        page = await asyncio.to_thread(self._jobs.page, state=state, asset_id=asset_id, limit=limit, cursor=cursor)
        return schemas.JobPage(items=[show(job) for job in page.items], next_cursor=page.next_cursor)

    async def cancel(self, id: str) -> schemas.Job:
        """Cancel a job that has not ended; its worker stops within a second."""
        return show(await asyncio.to_thread(self._jobs.cancel, id))

    async def events(self, id: str) -> AsyncIterator[schemas.Job]:
        """The job now and at every change, up to its end."""
        said: schemas.Job | None = None
        while said is None or said.state not in ENDED:
            job = await self.get(id)
            if job != said:
                yield job
            said = job
            if job.state not in ENDED:
                await asyncio.sleep(LOOK_S)

    @property
    def _jobs(self) -> Jobs:
        return self.places.catalog.jobs


def show(job: Job) -> schemas.Job:
    """A job as a client sees it."""
    return schemas.Job(**{name: getattr(job, name) for name in schemas.Job.model_fields})
