"""One id through everything: an asset is stored and acknowledged; a job that survives annotates and indexes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

from graphs.adaptation import DIGITS, TranscodeCalls
from graphs.embedding import decode_text
from graphs.jobs import show
from graphs.places import Places
from graphs.shape3d import ShapeCalls
from graphs.shape_work import SHAPE
from graphs.uploads import digest_of, sniff_upload
from graphs.video import VideoCalls
from graphs.video_work import SCENES
from serve_app import catalog
from serve_app.adaptation.ladder import Ladder
from serve_app.catalog import Addition, parse_filter
from serve_app.errors import Problem
from serve_app.media import images, sniff
from serve_app.media.video import VideoInfo
from serve_app.wire import ports, rendition_schemas, schemas

ORIGINAL = "original"
STORED_AT_ONCE = 16
"""Files of one request that are read and written side by side."""
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
    transcoding: TranscodeCalls
    ladder: Ladder
    runner: Any = None

    async def add(self, new: ports.NewAsset) -> tuple[schemas.Asset, bool]:
        """Keep the file and the row; once this returns, the asset survives and will be processed.

        Raises ``unsupported_media``, ``undecodable_media``, ``too_large``, ``conflict`` or ``bad_request``.
        """
        # Finished even when the client leaves meanwhile, so that no file stays without its row.
        return await asyncio.shield(self._store(new))

    async def add_many(self, news: Sequence[ports.NewAsset]) -> list[tuple[schemas.Asset, bool] | Problem]:
        """Each as ``add`` would, the rows of all in one transaction; what is wrong with one costs the others nothing.

        Raises what is wrong with all of them.
        """
        return await asyncio.shield(self._store_all(news))

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

    async def renditions(self, id: str) -> rendition_schemas.Renditions:
        """The files that were made of it."""
        asset = await asyncio.to_thread(self._catalog.assets.get, id)
        found = await asyncio.to_thread(self._catalog.renditions.of_asset, id)
        return rendition_schemas.Renditions(id=asset.id, items=[_rendition(asset.id, each) for each in found])

    async def download(self, id: str, path: str) -> ports.Download:
        """A stored file of an asset: the original, or a rendition by its name."""
        asset = await asyncio.to_thread(self._catalog.assets.get, id)
        name = asset.id.rsplit("/", 1)[-1]
        # Opened here: a file that is deleted from now on is still read to its end.
        if path == ORIGINAL:
            stream = await asyncio.to_thread(self._files.open, asset.file)
            return ports.Download(asset.media_type, asset.bytes, name, stream, asset.sha256)
        made = await asyncio.to_thread(self._catalog.renditions.get, id, path)
        stream = await asyncio.to_thread(self._files.open, made.file)
        return ports.Download(
            made.media_type, made.bytes, f"{name}-{path.replace('/', '-')}", stream, made.sha256, ours=True,
            immutable=made.sha256[:DIGITS] in path,
        )  # fmt: skip

    async def adapt(self, id: str, preset: str, idempotency_key: str | None = None) -> tuple[schemas.Job, bool]:
        """Queue the job that makes what a preset gives of it, unless it waits or runs. Raises ``not_found``,
        ``bad_request`` or ``unprocessable``."""
        asset = await asyncio.to_thread(self._catalog.assets.get, id)
        presets: dict[str, Callable[[str], Any]] = {
            "video": self.ladder.preset, "audio": self.ladder.preset, "image": self.ladder.picture
        }  # fmt: skip
        if asset.kind not in presets:
            raise Problem("unprocessable", f"nothing is made of {asset.kind}, only of {' and '.join(presets)}")
        presets[asset.kind](preset)
        job, new = await asyncio.to_thread(self._catalog.jobs.adapt, id, preset, idempotency_key)
        if new and self.runner is not None:
            self.runner.nudge.remote()
        return show(job), new

    async def delete(self, id: str) -> None:
        """Delete the asset with its vectors and tags, then its files; a search from now on does not find it."""

        def both() -> None:
            self._files.delete(self._catalog.assets.delete(id))

        await asyncio.to_thread(both)

    async def _store(self, new: ports.NewAsset) -> tuple[schemas.Asset, bool]:
        (outcome,) = await self._store_all([new])
        if isinstance(outcome, Problem):
            raise outcome
        return outcome

    async def _store_all(self, news: Sequence[ports.NewAsset]) -> list[tuple[schemas.Asset, bool] | Problem]:
        desk = asyncio.Semaphore(STORED_AT_ONCE)
        kept = await asyncio.gather(*(self._keep(new, desk) for new in news), return_exceptions=True)
        additions = [each for each in kept if isinstance(each, Addition)]
        crashes = [each for each in kept if not isinstance(each, Addition | Problem)]
        try:
            if crashes:
                raise crashes[0]
            added = await asyncio.to_thread(self._catalog.assets.add_many, additions)
        except BaseException as error:
            # Not where a commit whose answer was lost may have kept the rows.
            if not isinstance(error, Problem) or error.status < 500:
                await self._drop(additions)
            raise
        await self._drop([each for each, outcome in zip(additions, added, strict=True) if not _is_new(outcome)])
        if self.runner is not None and any(map(_is_new, added)):
            self.runner.nudge.remote()
        outcomes = iter(added)
        return [_outcome(next(outcomes) if isinstance(each, Addition) else each) for each in kept]

    async def _drop(self, additions: Sequence[Addition]) -> None:
        await asyncio.to_thread(self._files.delete, [each.new.file for each in additions])

    async def _keep(self, new: ports.NewAsset, desk: asyncio.Semaphore) -> Addition:
        """Store the file; gives the row that is to follow. Raises ``Problem``, and leaves nothing then."""
        async with desk:
            upload = new.upload
            facts = await asyncio.to_thread(_inspect, upload, new.media_type)
            sha256 = await asyncio.to_thread(digest_of, upload.file)
            upload.file.seek(0)
            file = await asyncio.to_thread(self._files.put, upload.file, "")
            try:
                if facts.kind in ("video", "audio"):
                    facts = await self._of_time(facts.media_type, file)
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
        return Addition(row, new.idempotency_key, JOBS.get(facts.kind, "process"))

    async def _of_time(self, media_type: str, file: str) -> Facts:
        """Facts of a video or a sound; the beginning of an MP4 or Ogg does not always tell which it is."""
        family, _, container = media_type.partition("/")
        try:
            if family == "video":
                return _facts(await self.videos.probe(file))
            source = await self.transcoding.probe(file)
            if source.video is not None:
                return _facts(await self.videos.probe(file))
        except Problem as problem:
            if family == "audio" or problem.code != "undecodable_media":
                raise
            source = await self.transcoding.probe(file)
            if source.video is not None:
                raise
        return Facts("audio", f"audio/{container}", duration_s=source.duration_s)

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


def _inspect(upload: ports.Upload, said: str | None = None) -> Facts:
    """Facts of a file that this version stores; a picture is decoded once, so that it surely can be.

    ``said`` is the media type by its client: what is said to be a text is one where it can be read as such.
    """
    is_text = said is not None and said.partition("/")[0] == "text"
    media_type = "text/plain" if is_text else sniff_upload(upload)
    kind = sniff.kind_of(media_type) if media_type else "image"
    if said is not None and sniff.kind_of(said) != kind:
        raise Problem("unsupported_media", f"it is said to be {said[:80]}, and is {media_type or 'unknown content'}")
    if kind in ("video", "audio", "shape3d"):
        return Facts(kind, str(media_type))
    if kind == "text":
        if not decode_text(upload.data).strip():
            raise Problem("unprocessable", "the text is empty")
        return Facts("text", str(media_type))
    data = upload.data
    info = images.inspect(data)
    images.decode(data, max_side=64)
    return Facts("image", info.media_type, info.width, info.height)


def _is_new(outcome: tuple[catalog.Asset, bool] | Problem) -> bool:
    return not isinstance(outcome, Problem) and outcome[1]


def _outcome(outcome: Any) -> tuple[schemas.Asset, bool] | Problem:
    """What a client sees of it."""
    if isinstance(outcome, Problem):
        return outcome
    asset, created = outcome
    return _asset(asset), created


def _facts(info: VideoInfo) -> Facts:
    return Facts("video", info.media_type, info.width, info.height, info.duration_s)


def _asset(asset: catalog.Asset) -> schemas.Asset:
    fields = {name: getattr(asset, name) for name in schemas.Asset.model_fields if name != "stages"}
    stages = {name: schemas.Stage(**asdict(stage)) for name, stage in asset.stages.items()}
    return schemas.Asset(**fields, stages=stages)


def _rendition(id: str, made: catalog.Rendition) -> rendition_schemas.Rendition:
    fields = {name: getattr(made, name) for name in rendition_schemas.Rendition.model_fields if name != "url"}
    return rendition_schemas.Rendition(**fields, url=f"/v1/assets/{quote(id)}/files/{made.name}")
