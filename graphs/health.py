"""How every task stands."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from graphs.annotators import Models
from graphs.calls import call
from graphs.places import Places
from serve_app.errors import Problem
from serve_app.wire import schemas

STATUS_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class HealthGraph:
    """Asks every model how it stands."""

    profile: str
    models: Models
    deployments: dict[str, Any]
    places: Places

    async def ready(self) -> schemas.Readiness:
        """Ready when every deployment answers and has run its model; tasks nobody serves are named with a remedy."""
        states = await asyncio.gather(self._catalog(), *(self._status(task) for task in self.deployments))
        unserved = [
            schemas.TaskStatus(task=task, title=note.title, state="unavailable", remedy=note.remedy)
            for task, note in self.models.manifest.tasks.items()
            if task not in self.models.rows
        ]
        ready = all(state.state == "ready" for state in states)
        return schemas.Readiness(ready=ready, profile=self.profile, tasks=[*states, *unserved])

    async def _catalog(self) -> schemas.TaskStatus:
        try:
            async with asyncio.timeout(STATUS_TIMEOUT_S):
                await asyncio.to_thread(lambda: self.places.catalog.vectors.head())
        except (Problem, TimeoutError) as problem:
            return schemas.TaskStatus(task="catalog", title="Catalog", state="unavailable", remedy=str(problem) or None)
        return schemas.TaskStatus(task="catalog", title="Catalog", state="ready")

    async def _status(self, task: str) -> schemas.TaskStatus:
        note = self.models.manifest.tasks.get(task)
        title = note.title if note else None
        row = self.models.rows.get(task)
        named: dict[str, Any] = {"task": task, "title": title}
        if row is not None:
            named |= {"model": row.name, "revision": row.revision}
        try:
            status = await call(self.deployments[task].status, timeout_s=STATUS_TIMEOUT_S)
        except Problem as problem:
            return schemas.TaskStatus(**named, state="starting", remedy=problem.detail)
        else_named = {"model": status.get("model"), "device": status.get("device")} if row is None else {}
        return schemas.TaskStatus(
            **named, **else_named, state=status.get("state", "ready"), remedy=status.get("remedy")
        )  # fmt: skip
