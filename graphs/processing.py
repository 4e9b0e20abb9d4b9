"""The jobs that process assets: claimed, done, and taken up again by another worker when theirs dies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from graphs.adapt_work import AdaptWork
from graphs.calls import insistently, patiently
from graphs.embedding import ENCODER, Embedding, key_of
from graphs.holding import LEASE_S, Grip, Hold
from graphs.keeping import ANNOTATED, answers_of, keep_faces, reason, skipped
from graphs.people import PeopleGraph
from graphs.quick import KINDS as QUICK
from graphs.quick import QuickWork
from graphs.reindex import Reindexing
from graphs.shape_work import ShapeWork
from graphs.upkeep import Upkeep
from graphs.video_work import VideoWork
from serve_app.catalog import Asset, Catalog, Content, Job, LeaseLostError, Served
from serve_app.catalog.job_rows import ADAPT
from serve_app.catalog.rows import StageName
from serve_app.diagnosis import REINDEX
from serve_app.errors import Problem
from serve_app.wire import schemas

log = logging.getLogger("mediaverse")

MAX_ATTEMPTS = 3
"""Claims of a job; one that crashes is tried again when its lease runs out."""
AT_ONCE = 64
"""Quick jobs that are worked on together: what keeps the models' batches full."""
LOOK_S = 0.2
"""Between two looks for more of them while some are worked on."""
LONG = ("process_video", "process_shape3d", "index_video", "index_shape3d")
"""Kinds of jobs that may take hours."""
FOLLOW_S, UPKEEP_S, TIDY_S = 5.0, 60.0, 3600.0
LEFT_BEHIND_S = 24 * 3600.0
"""Age of a transient file that nobody can be reading any more."""


@dataclass(frozen=True)
class ProcessingGraph:
    """Claims jobs and does them."""

    quick: QuickWork
    videos: VideoWork
    shapes: ShapeWork
    adapting: AdaptWork
    reindexing: Reindexing
    people: PeopleGraph
    upkeep: Upkeep

    async def work_once(self, worker: str, kinds: Sequence[str] | None = None) -> bool:
        """Claim one job (of ``kinds``) and do it; False when there was none."""
        claim = self._catalog.jobs.claim
        job = await asyncio.to_thread(claim, worker, LEASE_S, kinds=kinds, max_attempts=MAX_ATTEMPTS)
        if job is None:
            return False
        await self._work(job, Hold(self._catalog.jobs, job))
        return True

    async def work_many(self, worker: str) -> int:
        """Do quick jobs, many at once, until there are none; how many there were."""
        claim, done = self._catalog.jobs.claim_many, 0
        running: set[asyncio.Task[None]] = set()
        grip = Grip(self._catalog.jobs)
        keeping = asyncio.create_task(grip.keep())
        try:
            late = True
            while True:
                if late or len(running) <= AT_ONCE // 2:
                    room = AT_ONCE - len(running)
                    some = await asyncio.to_thread(claim, worker, LEASE_S, room, kinds=QUICK, max_attempts=MAX_ATTEMPTS)
                    running |= {asyncio.create_task(self._work(job, grip)) for job in some}
                    done += len(some)
                if not running:
                    return done
                # Room for many is claimed at once; where what runs is slow, what room there is.
                until = asyncio.FIRST_COMPLETED if len(running) > AT_ONCE // 2 else asyncio.ALL_COMPLETED
                ended, running = await asyncio.wait(running, timeout=LOOK_S, return_when=until)
                late = not ended
                for task in ended:
                    task.result()
        finally:
            for task in (keeping, *running):
                task.cancel()
            await asyncio.gather(keeping, *running, return_exceptions=True)

    def rounds(self, workers: int) -> list[Callable[[str], Awaitable[bool]]]:
        """Quick jobs on one side, so that a picture does not wait behind a film, nor a film behind a new model or
        behind films that are encoded."""

        async def quickly(worker: str) -> bool:
            return await self.work_many(worker) > 0

        kinds = ((REINDEX,), (ADAPT,), *[LONG] * max(1, workers - 1))
        one = [partial(self.work_once, kinds=each) for each in kinds]
        return [quickly, *one]

    def chores(self) -> dict[float, list[Callable[[], Awaitable[None]]]]:
        """What is to be done from time to time, by its period in seconds."""
        return {FOLLOW_S: [self.follow_people], UPKEEP_S: [self.upkeep.look_after], TIDY_S: [self.tidy]}

    async def counts(self) -> dict[str, dict[tuple[str, ...], float]]:
        """What the index should hold, what it holds, and what is known of the difference."""
        return await self.upkeep.counts()

    async def follow_people(self) -> None:
        """Name the faces of stored assets anew where the gallery has changed."""
        if self.people.model and (named := await self.people.follow()):
            log.info("the faces of %d assets were named anew", named)

    async def tidy(self) -> None:
        """Delete the files of requests that ended without doing so themselves."""
        swept = await asyncio.to_thread(self._embedding.places.files.sweep_transient, LEFT_BEHIND_S)
        if swept:
            log.info("%d files that a crash left behind are gone", swept)

    @property
    def _embedding(self) -> Embedding:
        return self.quick.embedding

    @property
    def _catalog(self) -> Catalog:
        return self._embedding.places.catalog

    async def _work(self, job: Job, hold: Hold | Grip) -> None:
        """Do a job; one that crashes is left to its lease, and given up in the end."""
        try:
            if isinstance(hold, Grip):
                await self.quick.write(await hold.during(job, self.quick.find(job)))
                return
            if job.kind in QUICK:
                await self.quick.write(await hold.during(self.quick.find(job)))
                return
            do = {REINDEX: self.reindexing.do, ADAPT: self.adapting.do}.get(job.kind, self._long)
            work = do(job, hold)
            await asyncio.to_thread(self._catalog.jobs.finish, job, await hold.during(work))
        except LeaseLostError:
            log.warning("job %s is no longer ours", job.id)
        except Exception as error:
            log.exception("job %s crashed", job.id)
            if job.attempts >= MAX_ATTEMPTS:
                why = f"internal: {type(error).__name__}; the job runner's log says more"
                await asyncio.to_thread(self._catalog.jobs.finish, job, why)

    async def _long(self, job: Job, hold: Hold) -> str | None:
        """Process a video or a 3D model; the reason where it failed."""
        assert job.asset_id is not None
        try:
            asset = await asyncio.to_thread(self._catalog.assets.get, job.asset_id)
            annotation, processed = None, job.kind.startswith("process")
            if processed:
                for stage in skipped(asset):
                    await asyncio.to_thread(self._catalog.jobs.set_stage, job, stage, "skipped")
                if asset.kind in ANNOTATED:
                    annotation = await self._stage(job, "annotate", lambda: self._annotate(asset, hold))
            await self._stage(job, "index", lambda: self._index(asset, annotation, hold))
            if processed and asset.kind == "shape3d":
                await self._stage(job, "preview", lambda: self.shapes.preview(asset, hold))
        except Problem as problem:
            return None if problem.code == "not_found" else f"{problem.code}: {problem.detail}"
        return None

    async def _stage(self, job: Job, stage: StageName, work: Callable[[], Awaitable[Any]]) -> Any:
        set_stage = self._catalog.jobs.set_stage
        await asyncio.to_thread(set_stage, job, stage, "running")
        try:
            done = await patiently(work)
        except Problem as problem:
            await asyncio.to_thread(set_stage, job, stage, "failed", reason(problem))
            raise
        await asyncio.to_thread(set_stage, job, stage, "ready")
        return done

    async def _annotate(self, asset: Asset, hold: Hold) -> schemas.Annotation:
        work = self.videos if asset.kind == "video" else self.shapes
        annotation: schemas.Annotation = await insistently(lambda results: work.annotate(asset, results, hold))
        await asyncio.to_thread(self._catalog.annotations.put_many, answers_of(asset, annotation))
        if isinstance(annotation, schemas.VideoAnnotation):
            await self.videos.keep(asset, annotation.scenes)
        if isinstance(annotation, schemas.ShapeAnnotation):
            await self.shapes.keep(asset, annotation)
        await keep_faces(self.people, asset, annotation.seen_faces)
        return annotation

    async def _index(self, asset: Asset, annotation: schemas.Annotation | None, hold: Hold) -> None:
        parts: dict[Served, list[Content]] = {}
        for target, content in await asyncio.to_thread(self._embedding.lacking, asset.id):
            if content.modality in ("video", "shape3d"):
                parts.setdefault(target, []).append(content)
                continue
            made = [(key_of(content), await self._embedding.vector(target, content))]
            await asyncio.to_thread(self._catalog.vectors.put_many, made, target.revision)
        for target, missing in parts.items():
            # The annotators' vectors are of the configured model.
            known = annotation if target == self._embedding.configured[ENCODER] else None
            await self.reindexing.index_parts(asset, missing, known, target, hold)
