"""What the job runner sees to from time to time: that what is wanted is worked on, and how whole the index is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from graphs.calls import call
from graphs.embedding import Embedding
from graphs.recipe import Recipe
from serve_app.catalog import Catalog, Served
from serve_app.catalog.rows import Modality
from serve_app.diagnosis import EMBEDDED, OPEN, last_job, queue

log = logging.getLogger("mediaverse")

GAUGES = {
    "contents": "keys",
    "vectors": "vectors",
    "explained_failures": "explained_failures",
    "unexplained": "unexplained",
}
"""What is counted of each modality and revision, and where the doctor says it."""
AGAIN_AFTER = timedelta(minutes=10)
"""A model that could not be served, since its weights are missing or a shard is ill, is tried again then."""


@dataclass(frozen=True)
class Upkeep(Recipe):
    """Looks after the index. One of any number of runners; what two do at once is done once."""

    embedding: Embedding
    shards: Sequence[Any]

    async def look_after(self) -> None:
        """Queue a job for what is wanted and has none and, at first, for vectors that are missing of what is served."""
        for target in await asyncio.to_thread(self._due):
            if await asyncio.to_thread(self._is_due, target):
                job = await asyncio.to_thread(queue, self._catalog, target)
                log.info("vectors of %s are missing; job %s makes them", target.revision, job.id)
        await self._release()

    async def counts(self) -> dict[str, dict[tuple[str, ...], float]]:
        """Contents, vectors, explained and unexplained failures by modality and revision."""
        found: dict[str, dict[tuple[str, ...], float]] = {}
        for target in await asyncio.to_thread(self.embedding.targets):
            for line in await asyncio.to_thread(self._catalog.doctor.report, target.revision, EMBEDDED[target.task]):
                tags = (line.modality, target.revision)
                for name, said in GAUGES.items():
                    found.setdefault(f"mediaverse_{name}", {})[tags] = getattr(line, said)
        return found

    def _due(self) -> list[Served]:
        due = []
        for task, configured in self.embedding.configured.items():
            models = self._catalog.settings.get(task)
            target = configured if models is None else models.wanted or models.served
            if not self.embedding.makes(target):
                continue
            is_new = models is None or models.wanted is not None
            if is_new or (target not in self._seen and self._catalog.vectors.missing(*_one(target))):
                due.append(target)
            self._seen.add(target)
        return due

    def _is_due(self, target: Served) -> bool:
        last = last_job(self._catalog, target)
        if last is not None and last.state in OPEN:
            return False
        models = self._catalog.settings.get(target.task)
        if last is None or last.state == "succeeded" or (models is not None and models.served == target):
            return True
        # What somebody has cancelled waits until somebody asks for it again.
        ended = last.finished_at or last.created_at
        return last.state == "failed" and datetime.now(UTC) - ended > AGAIN_AFTER

    async def _release(self) -> None:
        """Let the shards forget what was served before, once no search that began then can still ask for it."""
        for task in self.embedding.configured:
            models = await asyncio.to_thread(self._catalog.settings.get, task)
            previous = models.previous if models else None
            if previous is None or models is None or previous in (models.served, models.wanted):
                self._left.discard(previous)
                continue
            if previous in self._left:
                for shard in self.shards:
                    await call(shard.release, previous.revision)
            self._left.add(previous)

    @cached_property
    def _seen(self) -> set[Served]:
        """What was looked through for missing vectors since this runner started."""
        return set()

    @cached_property
    def _left(self) -> set[Served | None]:
        """What was not served when it was looked at last."""
        return set()

    @property
    def _catalog(self) -> Catalog:
        return self.embedding.places.catalog


def _one(target: Served) -> tuple[str, int, int, Sequence[Modality]]:
    """Asks for one content, the first, that has no vector of a model."""
    return target.revision, 1, 0, EMBEDDED[target.task]
