"""One id through everything: an asset is stored and acknowledged; a job that survives annotates and indexes it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

from graphs.processing import SCENES
from graphs.retrieval import Places, decode_text
from graphs.shape3d import ShapeCalls
from graphs.shape_work import SHAPE
from graphs.uploads import digest_of, sniff_upload
from graphs.video import VideoCalls
from serve_app import catalog
from serve_app.catalog import parse_filter
from serve_app.errors import Problem
from serve_app.media import images, sniff
from serve_app.media.video import VideoInfo
from serve_app.wire import ports, schemas

ORIGINAL = "original"
SMALL_MESH = 20 * 1024 * 1024
"""Bytes up to which a mesh is read before it is accepted; a larger one may take minutes, so its job reads it."""
JOBS = {"video": "process_video", "shape3d": "process_shape3d"}
"""The kind of the job that processes an asset of a kind; ``process`` for the others."""


@dataclass(frozen=True)
class AssetGraph:
    """Storing, listing and deleting assets; a job processes what was stored."""

    places: Places
    videos: VideoCalls
    shapes: ShapeCalls
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
        scenes, shape = results.pop(SCENES, {}), results.pop(SHAPE, {})
        named = {"id": asset.id, "kind": asset.kind, "state": asset.state, "results": results}
        return schemas.AssetAnnotations.model_validate(named | scenes | shape)

    async def renditions(self, id: str) -> schemas.Renditions:
        """The files that were made of it."""
        asset = await asyncio.to_thread(self._catalog.assets.get, id)
        found = await asyncio.to_thread(self._catalog.renditions.of_asset, id)
        return schemas.Renditions(id=asset.id, items=[_rendition(asset.id, each) for each in found])

    async def download(self, id: str, path: str) -> ports.Download:
        """A stored file of an asset: the original, or a rendition by its name."""
        asset = await asyncio.to_thread(self._catalog.assets.get, id)
        name = asset.id.rsplit("/", 1)[-1]
        # Opened here: a file that is deleted from now on is still read to its end.
        if path == ORIGINAL:
            stream = await asyncio.to_thread(self._files.open, asset.file)
            return ports.Download(asset.media_type, asset.bytes, name, stream)
        made = await asyncio.to_thread(self._catalog.renditions.get, id, path)
        stream = await asyncio.to_thread(self._files.open, made.file)
        return ports.Download(made.media_type, made.bytes, f"{name}-{path}", stream, ours=True)

    async def delete(self, id: str) -> None:
        """Delete the asset with its vectors and tags, then its files; a search from now on does not find it."""

        def both() -> None:
            self._files.delete(self._catalog.assets.delete(id))

        await asyncio.to_thread(both)

    async def _store(self, new: ports.NewAsset) -> tuple[schemas.Asset, bool]:
        upload = new.upload
        facts = await asyncio.to_thread(_inspect, upload)
        sha256 = await asyncio.to_thread(digest_of, upload.file)
        upload.file.seek(0)
        file = await asyncio.to_thread(self._files.put, upload.file, "")
        try:
            if facts.kind == "video":
                facts = _facts(await self.videos.probe(file))
            elif facts.kind == "shape3d" and upload.size <= SMALL_MESH:
                await self.shapes.check(file)
        except BaseException:
            await asyncio.to_thread(self._files.delete, [file])
            raise
        row = catalog.NewAsset(
            owner=new.owner, kind=facts.kind, media_type=facts.media_type, sha256=sha256, bytes=upload.size, file=file,
            id=new.id, width=facts.width, height=facts.height, duration_s=facts.duration_s,
            description=new.description if (new.description or "").strip() else None,
        )  # fmt: skip
        add, job = self._catalog.assets.add, JOBS.get(facts.kind, "process")
        try:
            asset, created = await asyncio.to_thread(add, row, idempotency_key=new.idempotency_key, job_kind=job)
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

    @property
    def _catalog(self) -> catalog.Catalog:
        return self.places.catalog

    @property
    def _files(self) -> catalog.Files:
        return self.places.files


@dataclass(frozen=True)
class Facts:
    """What is known of a file before it is annotated; width and height in upright pixels."""

    kind: catalog.Kind
    media_type: str
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None


def _inspect(upload: ports.Upload) -> Facts:
    """Facts of a file that this version stores; a picture is decoded once, so that it surely can be."""
    media_type = sniff_upload(upload)
    kind = sniff.kind_of(media_type) if media_type else "image"
    if kind in ("video", "shape3d"):
        return Facts(kind, str(media_type))
    if kind == "text":
        if not decode_text(upload.data).strip():
            raise Problem("unprocessable", "the text is empty")
        return Facts("text", str(media_type))
    if kind != "image":
        raise Problem("unsupported_media", f"{media_type} is not stored yet; pictures, videos, 3D models and texts are")
    data = upload.data
    info = images.inspect(data)
    images.decode(data, max_side=64)
    return Facts("image", info.media_type, info.width, info.height)


def _facts(info: VideoInfo) -> Facts:
    return Facts("video", info.media_type, info.width, info.height, info.duration_s)


def _asset(asset: catalog.Asset) -> schemas.Asset:
    fields = {name: getattr(asset, name) for name in schemas.Asset.model_fields if name != "stages"}
    stages = {name: schemas.Stage(**asdict(stage)) for name, stage in asset.stages.items()}
    return schemas.Asset(**fields, stages=stages)


def _rendition(id: str, made: catalog.Rendition) -> schemas.Rendition:
    fields = {name: getattr(made, name) for name in schemas.Rendition.model_fields if name != "url"}
    return schemas.Rendition(**fields, url=f"/v1/assets/{quote(id)}/files/{made.name}")
