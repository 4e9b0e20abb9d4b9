"""What is searched, as its operator sees it: another model in its place, the way back, and whether it is whole."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from graphs.calls import call
from graphs.embedding import SENTENCES, Embedding, find_model
from graphs.jobs import show
from serve_app.catalog import Catalog, Served
from serve_app.diagnosis import EMBEDDED, diagnose, last_job, queue, repair
from serve_app.errors import Problem
from serve_app.wire import index_schemas as shapes
from serve_app.wire import schemas

STATUS_S = 5.0
OPENING_S = 300.0
"""In which an encoder has to be open that was not before."""


@dataclass(frozen=True)
class IndexGraph:
    """The models of the catalog, the shards, and the runner that works on them."""

    embedding: Embedding
    shards: Sequence[Any]
    runner: Any = None

    async def status(self) -> shapes.Index:
        """What is served, wanted and was served before; what each shard says."""
        said = await asyncio.gather(*(self._status_of(shard) for shard in self.shards))
        tasks = [await asyncio.to_thread(self._task, task) for task in self.embedding.configured]
        recalls = [each["recall_at_10"] for each in said if each.get("recall_at_10") is not None]
        return shapes.Index(tasks=tasks, shards=said, recall_at_10=min(recalls, default=None))

    async def reindex(self, name: str) -> schemas.Job:
        """Want another model, which can embed here as is seen at once; gives the job that makes its vectors."""
        target = find_model(name)
        if not self.embedding.makes(target):
            remedy = f"name it under models.{SENTENCES} in the configuration, which is asked for at the next start"
            raise Problem("unprocessable", f"{name} is not the model that this service has configured", remedy)
        return await self._want(target)

    async def rollback(self, task: str) -> schemas.Job:
        """Want what was served before; ``conflict`` where nothing was."""
        if task not in EMBEDDED:
            raise Problem("not_found", f"no task {task[:80]!r} is searched; there are {', '.join(EMBEDDED)}")
        models = await asyncio.to_thread(self._catalog.settings.get, task)
        if models is None or models.previous is None:
            raise Problem("conflict", f"no other model has served {task} before")
        return await self._want(models.previous)

    async def examine(self, files: bool = False) -> shapes.Diagnosis:
        """Whether every content has its vectors, or an explanation, and its file, where ``files`` are looked at too."""
        targets = await asyncio.to_thread(self.embedding.targets)
        stored = self.embedding.places.files if files else None
        return await asyncio.to_thread(diagnose, self._catalog, targets, stored)

    async def repair(self) -> shapes.Diagnosis:
        """Queue what makes the vectors that are missing; gives what was wrong."""
        found = await self.examine()
        await asyncio.to_thread(repair, self._catalog, await asyncio.to_thread(self.embedding.targets))
        self._nudge()
        return found

    async def _want(self, target: Served) -> schemas.Job:
        if target.task != SENTENCES:
            await call(self.embedding.encoder.encode_text, "warm", target.model, timeout_s=OPENING_S)
        named = asdict(target)
        await asyncio.to_thread(lambda: self._catalog.settings.want(**named))
        job = await asyncio.to_thread(queue, self._catalog, target)
        self._nudge()
        return show(job)

    async def _status_of(self, shard: Any) -> dict[str, Any]:
        try:
            status: dict[str, Any] = await call(shard.status, timeout_s=STATUS_S)
        except Problem as problem:
            return {"state": "unavailable", "error": str(problem)}
        return status

    def _task(self, task: str) -> shapes.TaskIndex:
        models = self._catalog.settings.get(task)
        wanted = self.embedding.configured[task] if models is None else models.wanted
        served, previous = (models.served, models.previous) if models else (None, None)
        jobs = [last_job(self._catalog, each) for each in (wanted, served) if each is not None]
        job = next((job for job in jobs if job is not None), None)
        return shapes.TaskIndex(
            task=task, served=self._model(served), wanted=self._model(wanted), previous=self._model(previous),
            job=show(job) if job else None,
        )  # fmt: skip

    def _model(self, model: Served | None) -> shapes.ServedModel | None:
        if model is None:
            return None
        vectors, modalities = self._catalog.vectors, EMBEDDED[model.task]
        return shapes.ServedModel(
            model=model.model, revision=model.revision, dim=model.dim,
            vectors=sum(vectors.count(model.revision, modality) for modality in modalities),
            missing=vectors.missing_count(model.revision, modalities),
        )  # fmt: skip

    def _nudge(self) -> None:
        if self.runner is not None:
            self.runner.nudge.remote()

    @property
    def _catalog(self) -> Catalog:
        return self.embedding.places.catalog
