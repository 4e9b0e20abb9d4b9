"""One id through everything: an asset is stored and acknowledged, then annotated and indexed by a job that survives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from graphs.image import ImageGraph, digest
from graphs.retrieval import RetrievalGraph, decode_text
from serve_app import catalog
from serve_app.catalog import Job, LeaseLostError, Tag, parse_filter
from serve_app.errors import Problem
from serve_app.media import images, sniff
from serve_app.wire import ports, schemas

log = logging.getLogger("mediaverse")

ORIGINAL = "original"
LEASE_S = 20.0
MAX_ATTEMPTS = 3
"""Claims of a job; one that crashes is tried again when its lease runs out."""
PAUSES_S = (1.0, 4.0)
"""Before an asset's annotators are asked again, when one of them failed."""
_PAGE = 1000

TAGS = {"object_detection": "object", "action_recognition": "action", "face_recognition": "person"}
"""Results whose labels become tags of this name."""


@dataclass(frozen=True)
class AssetGraph:
    """Storing, listing and deleting assets, and the job that processes one."""

    image: ImageGraph
    retrieval: RetrievalGraph
    runner: Any = None

    async def add(self, new: ports.NewAsset) -> tuple[schemas.Asset, bool]:
        """Keep the file and the row; once this returns, the asset survives and will be processed.

        Raises ``unsupported_media``, ``undecodable_media``, ``too_large``, ``conflict`` or ``bad_request``.
        """
        # Finished even when the client leaves meanwhile, so that no file stays without its row.
        return await asyncio.shield(self._store(new))

    async def get(self, id: str) -> schemas.Asset:
        """The asset, or ``not_found``."""
        return _asset(await asyncio.to_thread(self._catalog.assets.get, id))

    async def page(
        self, *, owner: str | None, kind: str | None, sha256: str | None, filter: str | None, limit: int,
        cursor: str | None,
    ) -> schemas.AssetPage:  # fmt: skip
        """Assets that fit, newest first."""
        parsed = parse_filter(filter) if filter else None
        page = await asyncio.to_thread(
            self._catalog.assets.page, owner=owner, kind=kind, sha256=sha256, filter=parsed, limit=limit, cursor=cursor
        )
        return schemas.AssetPage(items=[_asset(asset) for asset in page.items], next_cursor=page.next_cursor)

    async def annotations(self, id: str) -> schemas.AssetAnnotations:
        """What the annotators saw in it so far."""
        asset = await asyncio.to_thread(self._catalog.assets.get, id)
        results = await asyncio.to_thread(self._catalog.annotations.of_asset, id)
        return schemas.AssetAnnotations(id=asset.id, state=asset.state, results=results)

    async def download(self, id: str, path: str) -> ports.Download:
        """A stored file of an asset."""
        asset = await asyncio.to_thread(self._catalog.assets.get, id)
        if path != ORIGINAL:
            raise Problem("not_found", f"this asset has no file {path[:200]!r}; there is {ORIGINAL}")
        # Opened here: a file that is deleted from now on is still read to its end.
        stream = await asyncio.to_thread(self._files.open, asset.file)
        return ports.Download(asset.media_type, asset.bytes, asset.id.rsplit("/", 1)[-1], stream)

    async def delete(self, id: str) -> None:
        """Delete the asset with its vectors and tags, then its files; a search from now on does not find it."""

        def both() -> None:
            self._files.delete(self._catalog.assets.delete(id))

        await asyncio.to_thread(both)

    async def work_once(self, worker: str) -> bool:
        """Claim one job and do it; False when there was none."""
        job = await asyncio.to_thread(self._catalog.jobs.claim, worker, LEASE_S, max_attempts=MAX_ATTEMPTS)
        if job is None:
            return False
        renewing = asyncio.create_task(self._renew(job))
        try:
            error = await self._do(job)
            await asyncio.to_thread(self._catalog.jobs.finish, job, error)
        except LeaseLostError:
            log.warning("job %s is no longer ours", job.id)
        except Exception as error:
            log.exception("job %s crashed", job.id)
            if job.attempts >= MAX_ATTEMPTS:
                reason = f"internal: {type(error).__name__}; the job runner's log says more"
                await asyncio.to_thread(self._catalog.jobs.finish, job, reason)
        finally:
            renewing.cancel()
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

    async def _store(self, new: ports.NewAsset) -> tuple[schemas.Asset, bool]:
        data = new.upload.data
        kind, info = await asyncio.to_thread(_inspect, data)
        file = await asyncio.to_thread(self._files.put, data, "")
        row = catalog.NewAsset(
            owner=new.owner, kind=kind, media_type=info.media_type, sha256=await asyncio.to_thread(digest, data),
            bytes=len(data), file=file, id=new.id, width=info.width or None, height=info.height or None,
            description=new.description if (new.description or "").strip() else None,
        )  # fmt: skip
        try:
            asset, created = await asyncio.to_thread(self._catalog.assets.add, row, idempotency_key=new.idempotency_key)
        except (Problem, ValueError) as error:
            # Only what was refused for certain: a commit whose answer was lost may have kept the row.
            if isinstance(error, ValueError) or error.status < 500:
                await asyncio.to_thread(self._files.delete, [file])
            raise
        if not created:
            await asyncio.to_thread(self._files.delete, [file])
        elif self.runner is not None:
            self.runner.nudge.remote()
        return _asset(asset), created

    def _queue_index(self, id: str) -> bool:
        try:
            asset = self._catalog.assets.get(id)
        except Problem:
            return False  # deleted meanwhile
        waiting = self._catalog.jobs.page(state="queued", asset_id=id).items
        # A job that failed earlier is no reason against another: its weights may be here by now.
        if asset.state == "processing" or any(job.kind == "index" for job in waiting):
            return False
        self._catalog.jobs.add("index", id)
        return True

    @property
    def _catalog(self) -> catalog.Catalog:
        return self.retrieval.places.catalog

    @property
    def _files(self) -> catalog.Files:
        return self.retrieval.places.files

    @property
    def _revision(self) -> str:
        return self.retrieval.places.revision

    async def _renew(self, job: Job) -> None:
        with suppress(LeaseLostError):
            while True:
                await asyncio.sleep(LEASE_S / 4)
                with suppress(Problem):  # a busy database; there is time for another try
                    await asyncio.to_thread(self._catalog.jobs.renew, job, LEASE_S)

    async def _do(self, job: Job) -> str | None:
        """Process the job's asset; the reason where it failed. What was overloaded is tried again, a few times."""
        assert job.asset_id is not None
        try:
            asset = await asyncio.to_thread(self._catalog.assets.get, job.asset_id)
            annotation = None
            if job.kind == "process":
                for stage in ("preview", "adapt") if asset.kind == "image" else ("annotate", "preview", "adapt"):
                    await asyncio.to_thread(self._catalog.assets.set_stage, asset.id, stage, "skipped")
                if asset.kind == "image":
                    annotation = await self._stage(asset.id, "annotate", lambda: self._annotate(asset))
            await self._stage(asset.id, "index", lambda: self._index(asset, annotation))
        except Problem as problem:
            return None if problem.code == "not_found" else f"{problem.code}: {problem.detail}"
        return None

    async def _stage(self, id: str, stage: Any, work: Callable[[], Awaitable[Any]]) -> Any:
        set_stage = self._catalog.assets.set_stage
        await asyncio.to_thread(set_stage, id, stage, "running")
        try:
            done = await _patiently(work)
        except Problem as problem:
            error = f"{problem.code}: {problem.detail}" + (f"; {problem.remedy}" if problem.remedy else "")
            await asyncio.to_thread(set_stage, id, stage, "failed", error)
            raise
        await asyncio.to_thread(set_stage, id, stage, "ready")
        return done

    async def _annotate(self, asset: catalog.Asset) -> schemas.Annotation:
        data = await asyncio.to_thread(self._files.read, asset.file)
        annotation = await self.image.annotate(data)
        for pause in PAUSES_S:
            if all(result.status != "failed" for result in annotation.results.values()):
                break
            # A request has to take what there is; a job has the time to ask again.
            await asyncio.sleep(pause)
            annotation = await self.image.annotate(data)
        for task, result in annotation.results.items():
            # The vector is kept once, as a row of the index.
            answer = result.model_dump(exclude_none=True, exclude={"embedding"})
            await asyncio.to_thread(self._catalog.annotations.put, asset.id, task, answer, _tags(task, result))
        return annotation

    async def _index(self, asset: catalog.Asset, annotation: schemas.Annotation | None) -> None:
        vectors = self._catalog.vectors
        for content in await asyncio.to_thread(self._catalog.contents.of_asset, asset.id):
            key = (content.owner, content.modality, content.sha256, self._revision)
            if await asyncio.to_thread(vectors.has, *key):
                continue
            embedding = annotation.results["cross_modal_embedding"].embedding if annotation else None
            if content.modality == "image" and embedding is not None:
                vector = np.asarray(embedding, np.float32)
            else:
                text = content.text.encode() if content.text is not None else None
                data = text or await asyncio.to_thread(self._files.read, str(content.file))
                vector = await self.retrieval.embed(content.modality, data)
            await asyncio.to_thread(vectors.put, *key, vector)


async def _patiently(work: Callable[[], Awaitable[Any]], tries: int = 4) -> Any:
    """Run ``work``; when the models are overloaded or slow, wait and try again, a few times."""
    for attempt in range(tries):
        try:
            return await work()
        except Problem as problem:
            if problem.code not in ("overloaded", "deadline") or attempt == tries - 1:
                raise
            await asyncio.sleep(2.0**attempt)
    raise AssertionError("unreachable")


def _inspect(data: bytes) -> tuple[Any, images.ImageInfo]:
    """Kind and facts of a file that this version stores; a picture is decoded once, so that it surely can be."""
    media_type = sniff.sniff(data)
    kind = sniff.kind_of(media_type) if media_type else "image"
    if kind == "text":
        if not decode_text(data).strip():
            raise Problem("unprocessable", "the text is empty")
        return "text", images.ImageInfo(str(media_type), 0, 0)
    if kind != "image":
        raise Problem("unsupported_media", f"{media_type} is not stored yet; pictures and texts are")
    info = images.inspect(data)
    images.decode(data, max_side=64)
    return "image", info


def _tags(task: str, result: schemas.TaskResult) -> list[Tag]:
    """What filters find: a tag a label. A detected face is a person, whoever it is."""
    name = TAGS.get(task)
    return [Tag(name, label.label, label.confidence, result.model) for label in result.labels if name]


def _asset(asset: catalog.Asset) -> schemas.Asset:
    fields = {name: getattr(asset, name) for name in schemas.Asset.model_fields if name != "stages"}
    stages = {name: schemas.Stage(**asdict(stage)) for name, stage in asset.stages.items()}
    return schemas.Asset(**fields, stages=stages)
