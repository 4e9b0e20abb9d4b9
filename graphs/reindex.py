"""A model takes the place of another without downtime: vectors beside the old ones, then one switch, and the way back.

The same work makes up for vectors of what is served that are missing, for want of weights at the time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from graphs.calls import call, patiently
from graphs.embedding import Embedding, key_of
from graphs.holding import Hold
from graphs.keeping import reason
from graphs.shape_work import ShapeWork
from graphs.video_work import VideoWork
from serve_app.catalog import Asset, Catalog, Content, Job, Served
from serve_app.catalog.rows import StageState
from serve_app.diagnosis import EMBEDDED
from serve_app.errors import Problem
from serve_app.retrieval.hits import PARTED, Floats

log = logging.getLogger("mediaverse")

PAGE = 256
"""Contents whose vectors are written together."""
AT_ONCE = 64
"""Contents that are with the encoder."""
PREPARE_S = 600.0
"""In which every shard has to have read the vectors of a model."""
LOOK_S = 0.2
ASKS = 3
"""Times that a shard is asked whether it is ready, since each of its replicas reads for itself."""
TRANSIENT = ("overloaded", "deadline", "unavailable", "internal")
"""Faults that say nothing of the content: it is no reason to serve a model without it."""


@dataclass
class Course:
    """How far the job is, and which contents cannot be embedded: their ordinals with the reasons."""

    target: Served
    hold: Hold
    total: int
    done: int = 0
    failed: dict[int, str] = field(default_factory=dict)

    def step(self, made: int) -> None:
        self.done += made
        share = min(1.0, (self.done + len(self.failed)) / max(1, self.total))
        self.hold.note("embed", share, done=self.done, total=max(self.total, self.done + len(self.failed)))


@dataclass(frozen=True)
class Reindexing:
    """Makes the vectors of a model that are missing and, where it is to be served, has it served."""

    embedding: Embedding
    shards: Sequence[Any]
    videos: VideoWork
    shapes: ShapeWork

    async def do(self, job: Job, hold: Hold) -> str | None:
        """Do a job; the reason where it failed. What was made before a crash is not made again."""
        target = Served(**job.payload)
        try:
            if not self.embedding.makes(target):
                raise Problem("unavailable", f"{target.model} is not configured", "name it in the configuration")
            await self._do(target, hold)
        except Problem as problem:
            return reason(problem)
        return None

    async def index_parts(
        self, asset: Asset, missing: Sequence[Content], annotation: Any, target: Served, hold: Hold
    ) -> None:
        """The vectors of scenes or views; a ``Problem`` where some have none. Without an ``annotation`` they are looked
        at again."""
        work = self.videos if asset.kind == "video" else self.shapes
        await work.index(asset, missing, annotation, target, hold)

    async def _do(self, target: Served, hold: Hold) -> None:
        total = await asyncio.to_thread(self._catalog.vectors.missing_count, target.revision, EMBEDDED[target.task])
        course = Course(target, hold, total)
        while await self._pass(course):
            pass
        if not await asyncio.to_thread(self._is_served, target):
            await self._prepare(target, hold)
            while await self._pass(course):
                pass
        await asyncio.to_thread(self._explain, course)
        await asyncio.to_thread(self._serve, target)

    async def _pass(self, course: Course) -> int:
        """Embed what has no vector and has not failed; how many vectors were made."""
        target, after, made = course.target, 0, 0
        missing = self._catalog.vectors.missing
        while page := await asyncio.to_thread(missing, target.revision, PAGE, after, EMBEDDED[target.task]):
            after = page[-1].ordinal
            served = await asyncio.to_thread(self._is_served, target)
            fresh = [content for content in page if content.ordinal not in course.failed]
            assets = await asyncio.to_thread(self._catalog.assets.get_many, [content.asset_id for content in fresh])
            # Of what is served, those that are processed get theirs anyway; nothing is missed meanwhile.
            waiting = {id for id, asset in assets.items() if served and asset.state == "processing"}
            fresh = [content for content in fresh if content.asset_id in assets.keys() - waiting]
            new = await self._embed([content for content in fresh if content.modality not in PARTED], course)
            parted = dict.fromkeys(content.asset_id for content in fresh if content.modality in PARTED)
            for id in parted:
                new += await self._look_again(assets[id], fresh, course)
            await asyncio.to_thread(self._heal, [assets[id] for id in {content.asset_id for content in fresh}])
            made += new
            course.step(new)
        return made

    async def _embed(self, contents: Sequence[Content], course: Course) -> int:
        desk = asyncio.Semaphore(AT_ONCE)

        async def one(content: Content) -> Floats | None:
            async with desk:
                return await self._vector(content, course)

        asked = [asyncio.create_task(one(content)) for content in contents]
        try:
            vectors = await asyncio.gather(*asked)
        finally:
            for task in asked:
                task.cancel()
        made = [
            (key_of(content), vector) for content, vector in zip(contents, vectors, strict=True) if vector is not None
        ]
        await asyncio.to_thread(self._catalog.vectors.put_many, made, course.target.revision)
        return len(made)

    async def _vector(self, content: Content, course: Course) -> Floats | None:
        """None, and why, for what cannot be embedded. Raises a ``Problem`` that says nothing of the content."""
        try:
            return await patiently(lambda: self.embedding.vector(course.target, content))  # type: ignore[no-any-return]
        except Problem as problem:
            self._note(problem, content, course)
        except Exception:
            log.exception("content %d of %s cannot be embedded", content.ordinal, content.asset_id)
            course.failed[content.ordinal] = "internal: the model crashes on it; the job runner's log says more"
        return None

    async def _look_again(self, asset: Asset, fresh: Sequence[Content], course: Course) -> int:
        """The vectors of all scenes or views of an asset."""
        target = course.target
        lacking = await asyncio.to_thread(self._catalog.vectors.missing_of_asset, asset.id, target.revision)
        missing = [content for content in lacking if content.modality in PARTED]
        if not missing or missing[0].ordinal in course.failed:
            return 0  # on a page before
        try:
            await patiently(lambda: self.index_parts(asset, missing, None, target, course.hold))
        except Problem as problem:
            for content in missing:
                self._note(problem, content, course)
        left = await asyncio.to_thread(self._catalog.vectors.missing_of_asset, asset.id, target.revision)
        return len(missing) - sum(content.modality in PARTED for content in left)

    def _note(self, problem: Problem, content: Content, course: Course) -> None:
        if problem.code in TRANSIENT:
            raise problem
        course.failed[content.ordinal] = reason(problem)

    async def _prepare(self, target: Served, hold: Hold) -> None:
        """Wait until every shard has read the vectors; ``unavailable`` where one does not in time."""
        hold.note("prepare", 1.0)
        ready = [False] * len(self.shards)
        try:
            async with asyncio.timeout(PREPARE_S):
                while not all(ready):
                    ready = await asyncio.gather(*(self._is_prepared(shard, target) for shard in self.shards))
                    await asyncio.sleep(0 if all(ready) else LOOK_S)
        except TimeoutError:
            raise Problem("unavailable", f"shard {ready.index(False)} does not read the vectors") from None

    async def _is_prepared(self, shard: Any, target: Served) -> bool:
        try:
            asked = (call(shard.prepare, target.revision, target.dim) for _ in range(ASKS))
            return all(await asyncio.gather(*asked))
        except Problem as problem:
            log.warning("a shard is not ready for %s: %s", target.revision, problem)
            return False

    def _is_served(self, target: Served) -> bool:
        """Whether it is served already, or is to be; ``conflict`` where something else is wanted by now."""
        models = self._catalog.settings.get(target.task)
        if models is not None and target not in (models.served, models.wanted):
            raise Problem("conflict", f"{target.revision} is no longer wanted")
        return models is not None and models.served == target

    def _serve(self, target: Served) -> None:
        """Switch to the model, unless something else is wanted by now."""
        settings = self._catalog.settings
        models = settings.get(target.task)
        if models is None:
            settings.adopt(target.task, target.model, target.revision, target.dim)
        elif models.wanted == target:
            settings.switch(target.task, target)
            log.info("%s is served now, %s before", target.revision, models.served.revision)

    def _explain(self, course: Course) -> None:
        """Say of each asset why it has no vector of the model, where it has none."""
        missing, after = self._catalog.vectors.missing, 0
        while page := missing(course.target.revision, PAGE, after, EMBEDDED[course.target.task]):
            after = page[-1].ordinal
            for content in page:
                if content.ordinal in course.failed:
                    self._set_index(content.asset_id, "failed", course.failed[content.ordinal])

    def _heal(self, assets: Sequence[Asset]) -> None:
        """Those whose vectors were missing and are there now are ready again."""
        for asset in assets:
            if asset.stages["index"].state == "failed" and not self.embedding.lacking(asset.id):
                self._set_index(asset.id, "ready")

    def _set_index(self, asset_id: str, state: StageState, error: str | None = None) -> None:
        with suppress(Problem):  # deleted meanwhile
            self._catalog.assets.set_stage(asset_id, "index", state, error)

    @property
    def _catalog(self) -> Catalog:
        return self.embedding.places.catalog
