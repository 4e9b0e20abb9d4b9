"""The jobs that process assets: annotate, index, and again when the model has changed. A dead one is taken up again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from graphs.annotators import FacesAt
from graphs.calls import patiently
from graphs.holding import LEASE_S, Hold
from graphs.image import ImageGraph
from graphs.looking import ANNOTATORS
from graphs.people import PeopleGraph
from graphs.retrieval import RetrievalGraph
from graphs.shape_work import ShapeWork
from graphs.video import Request, VideoCalls
from serve_app.annotation.timeline import at_full_size
from serve_app.catalog import Asset, Catalog, Content, Files, Job, Key, LeaseLostError, Moment, Tag
from serve_app.catalog.rows import StageName
from serve_app.errors import Problem
from serve_app.retrieval.hits import PARTED
from serve_app.wire import schemas

log = logging.getLogger("mediaverse")

MAX_ATTEMPTS = 3
"""Claims of a job; one that crashes is tried again when its lease runs out."""
PAUSES_S = (1.0, 4.0)
"""Before an asset's annotators are asked again, when one of them failed."""
QUICK = ("process", "index")
"""Kinds of jobs that take seconds at most; those of videos may take hours, those of 3D models minutes."""
LEFT_BEHIND_S = 24 * 3600.0
"""Age of a transient file that nobody can be reading any more."""
_PAGE = 1000

TAGS = {
    "object_detection": "object",
    "action_recognition": "action",
    "face_recognition": "person",
    "meme_detection": "meme",
    "disturbing_content": "disturbing",
    "nsfw": "nsfw",
    "captioning": "caption",
    "text_recognition": "text",
}
"""Results whose labels become tags of this name."""
SCENES = "scenes"
"""The name under which a video's scenes are kept among its results."""
INDEX = {"video": "index_video", "shape3d": "index_shape3d"}
"""The kind of the job that indexes an asset of a kind; ``index`` for the others."""
ANNOTATED = ("image", "video", "shape3d")


@dataclass(frozen=True)
class ProcessingGraph:
    """Claims jobs and does them."""

    image: ImageGraph
    videos: VideoCalls
    shapes: ShapeWork
    retrieval: RetrievalGraph
    people: PeopleGraph

    async def work_once(self, worker: str, quick: bool = False) -> bool:
        """Claim one job and do it; False when there was none. With ``quick`` none that may take long."""
        kinds = QUICK if quick else None
        job = await asyncio.to_thread(
            self._catalog.jobs.claim, worker, LEASE_S, kinds=kinds, max_attempts=MAX_ATTEMPTS
        )  # fmt: skip
        if job is None:
            return False
        hold = Hold(self._catalog.jobs, job)
        try:
            error = await hold.during(self._do(job, hold))
            await asyncio.to_thread(self._catalog.jobs.finish, job, error)
        except LeaseLostError:
            log.warning("job %s is no longer ours", job.id)
        except Exception as error:
            log.exception("job %s crashed", job.id)
            if job.attempts >= MAX_ATTEMPTS:
                reason = f"internal: {type(error).__name__}; the job runner's log says more"
                await asyncio.to_thread(self._catalog.jobs.finish, job, reason)
        return True

    async def catch_up_revision(self) -> int:
        """Queue an index job for every asset with a content that has no vector of the present revision.

        Those still being processed will get theirs anyway.
        """
        catalog, after, queued = self._catalog, 0, 0
        while missing := await asyncio.to_thread(catalog.vectors.missing, self._revision, _PAGE, after):
            after = missing[-1].ordinal
            for id in dict.fromkeys(content.asset_id for content in missing):
                queued += await asyncio.to_thread(self._queue_index, id)
        return queued

    async def follow_people(self) -> int:
        """Name the faces of stored assets anew where the gallery has changed; of how many assets."""
        return await self.people.follow() if self.people.model else 0

    async def tidy(self) -> int:
        """Delete the files of requests that ended without doing so themselves; how many there were."""
        return await asyncio.to_thread(self._files.sweep_transient, LEFT_BEHIND_S)

    def _queue_index(self, id: str) -> bool:
        try:
            asset = self._catalog.assets.get(id)
        except Problem:
            return False  # deleted meanwhile
        waiting = self._catalog.jobs.page(state="queued", asset_id=id).items
        # A job that failed earlier is no reason against another: its weights may be here by now.
        if asset.state == "processing" or any(job.kind.startswith("index") for job in waiting):
            return False
        self._catalog.jobs.add(INDEX.get(asset.kind, "index"), id)
        return True

    @property
    def _catalog(self) -> Catalog:
        return self.retrieval.places.catalog

    @property
    def _files(self) -> Files:
        return self.retrieval.places.files

    @property
    def _revision(self) -> str:
        return self.retrieval.places.revision

    async def _do(self, job: Job, hold: Hold) -> str | None:
        """Process the job's asset; the reason where it failed. What was overloaded is tried again, a few times."""
        assert job.asset_id is not None
        try:
            asset = await asyncio.to_thread(self._catalog.assets.get, job.asset_id)
            annotation, processed = None, job.kind.startswith("process")
            if processed:
                for stage in _skipped(asset):
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
            error = f"{problem.code}: {problem.detail}" + (f"; {problem.remedy}" if problem.remedy else "")
            await asyncio.to_thread(set_stage, job, stage, "failed", error)
            raise
        await asyncio.to_thread(set_stage, job, stage, "ready")
        return done

    async def _annotate(self, asset: Asset, hold: Hold) -> schemas.Annotation:
        annotation = await self._look(asset, None, hold)
        for pause in PAUSES_S:
            failed = {name for name, result in annotation.results.items() if result.status == "failed"}
            if not failed:
                break
            # A request has to take what there is; a job has the time to ask again.
            await asyncio.sleep(pause)
            again = await self._look(asset, failed, hold)
            annotation = annotation.model_copy(update={"results": annotation.results | again.results})
        for task, result in annotation.results.items():
            # Vectors are kept once, as rows of the index.
            answer = result.model_dump(exclude_none=True, exclude={"embedding", "embeddings"})
            await asyncio.to_thread(self._catalog.annotations.put, asset.id, task, answer, _tags(task, result))
        if isinstance(annotation, schemas.VideoAnnotation):
            await self._keep_scenes(asset, annotation.scenes)
        if isinstance(annotation, schemas.ShapeAnnotation):
            await self.shapes.keep(asset, annotation)
        await self._keep_faces(asset, annotation.seen_faces)
        return annotation

    async def _keep_faces(self, asset: Asset, seen: list[FacesAt]) -> None:
        """The vectors of the faces, so that they are found and named anew, in place of earlier ones."""
        if self.people.model is None:
            return
        named = [each for each in seen if each.seen.face_vectors is not None]
        faces, names, times = [], [], []
        for each in named:
            for face, label in zip(each.seen.faces, each.seen.labels, strict=True):
                faces.append(replace(face, box=at_full_size(label, each.scale).box))
                names.append(label.label)
                times.append(each.timestamp_s)
        empty = np.empty((0, 0), np.float32)
        vectors = np.concatenate([each.seen.face_vectors for each in named]) if named else empty
        await self.people.keep(asset, faces, vectors, names, times)

    async def _look(self, asset: Asset, results: set[str] | None, hold: Hold) -> schemas.Annotation:
        """Ask the annotators, or only those of ``results``."""
        if asset.kind == "video":
            named = tuple(name for name, result in ANNOTATORS.items() if results is None or result in results)
            return await self._watch(asset, named, "annotate", hold)
        if asset.kind == "shape3d":
            return await self.shapes.annotate(asset, results, hold)
        return await self.image.annotate(await asyncio.to_thread(self._files.read, asset.file))

    async def _watch(
        self, asset: Asset, annotators: tuple[str, ...], stage: str, hold: Hold
    ) -> schemas.VideoAnnotation:  # fmt: skip
        request = Request(asset.file, asset.sha256, annotators, job=hold.job)
        async with aclosing(self.videos.stored(request)) as updates:
            async for update in updates:
                if isinstance(update, schemas.VideoAnnotation):
                    return update
                hold.note(stage, update.progress, frames=update.frames, expected=update.expected)
        raise AssertionError("unreachable")

    async def _keep_scenes(self, asset: Asset, scenes: list[schemas.SceneSpan]) -> None:
        kept = {"scenes": [scene.model_dump() for scene in scenes]}
        await asyncio.to_thread(self._catalog.annotations.put, asset.id, SCENES, kept, [])
        moments = [Moment(**scene.model_dump()) for scene in scenes]
        await asyncio.to_thread(self._catalog.contents.put_moments, asset.id, moments, sha256=asset.sha256)

    async def _index(self, asset: Asset, annotation: schemas.Annotation | None, hold: Hold) -> None:
        missing = await asyncio.to_thread(self._catalog.vectors.missing_of_asset, asset.id, self._revision)
        for content in missing:
            if content.modality in PARTED:
                continue
            embedding = annotation.results["cross_modal_embedding"].embedding if annotation else None
            if content.modality == "image" and embedding is not None:
                vector = np.asarray(embedding, np.float32)
            else:
                text = content.text.encode() if content.text is not None else None
                data = text or await asyncio.to_thread(self._files.read, str(content.file))
                vector = await self.retrieval.embed(content.modality, data)
            await asyncio.to_thread(self._catalog.vectors.put_many, [(_key(content), vector)], self._revision)
        if moments := [content for content in missing if content.modality == "video"]:
            await self._index_moments(asset, moments, annotation, hold)
        if seen := [content for content in missing if content.modality == "shape3d"]:
            shape = annotation if isinstance(annotation, schemas.ShapeAnnotation) else None
            await self.shapes.index(asset, seen, shape, self._revision, hold)

    async def _index_moments(
        self, asset: Asset, moments: list[Content], annotation: schemas.Annotation | None, hold: Hold
    ) -> None:
        """Store the vectors of a video's scenes; a ``Problem`` that says how many have none."""
        if annotation is None:
            annotation = await self._watch(asset, ("embedding",), "index", hold)
        result = annotation.results["cross_modal_embedding"]
        vectors = {(each.start_s, each.end_s): each.embedding for each in result.embeddings or []}
        found = [
            (_key(content), np.asarray(vectors[content.start_s, content.end_s], np.float32))
            for content in moments
            if (content.start_s, content.end_s) in vectors
        ]
        await asyncio.to_thread(self._catalog.vectors.put_many, found, self._revision)
        if len(found) < len(moments):
            code = "unavailable" if result.status == "unavailable" else "unprocessable"
            why = result.error or "the file gives other scenes than before"
            missing = len(moments) - len(found)
            raise Problem(code, f"{missing} of {len(moments)} scenes have no vector: {why}", result.remedy)


def _skipped(asset: Asset) -> list[StageName]:
    """Stages that nothing is done in for an asset of this kind."""
    stages: dict[StageName, tuple[str, ...]] = {"annotate": ANNOTATED, "preview": ("shape3d",), "adapt": ()}
    return [stage for stage, kinds in stages.items() if asset.kind not in kinds]


def _key(content: Content) -> Key:
    return Key(content.owner, content.modality, content.sha256)


def _tags(task: str, result: schemas.TaskResult) -> list[Tag]:
    """What filters find: a tag a label, as sure as it was at best. A detected face is a person, whoever it is."""
    name, best = TAGS.get(task), dict[str, float]()
    for label in result.labels:
        best[label.label] = max(label.confidence, best.get(label.label, 0.0))
    if name == "text" and len(best) > 1:
        # Lines of one picture are read together too, so that words that stand on two of them are found.
        best[" ".join(label.label for label in result.labels)] = min(best.values())
    return [Tag(name, label, confidence, result.model) for label, confidence in best.items() if name]
