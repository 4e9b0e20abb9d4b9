"""``/v1/assets``: one id through everything."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from typing import Any, BinaryIO, Literal, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from serve_app.errors import Problem
from serve_app.wire.ports import Download, NewAsset
from serve_app.wire.rendition_schemas import Renditions, WantedRenditions
from serve_app.wire.routing import AtEnd, Behind, multipart_docs, problem_docs, reply
from serve_app.wire.schemas import Asset, AssetAnnotations, AssetPage, Job, Kind
from serve_app.wire.solr import solr_document
from serve_app.wire.uploads import read_upload

router = APIRouter(prefix="/v1/assets", tags=["assets"])

T = TypeVar("T")

_CHUNK = 1024 * 1024
_FOREVER = "public, max-age=31536000, immutable"
_FIELDS = {
    "owner": "who posts it",
    "id": "the client's own id; generated when left out",
    "description": "words about it; found by text search too",
}


@router.post(
    "",
    status_code=202,
    response_model=Asset,
    responses=problem_docs(400, 403, 409, 413, 415, 422, 503),
    openapi_extra=multipart_docs(("file", "owner"), **_FIELDS),
)
async def add_asset(
    request: Request, behind: Behind, at_end: AtEnd, idempotency_key: str | None = Header(None, max_length=255)
) -> Response:
    """Store an asset; it is annotated and indexed from then on, whatever happens to this service."""
    upload, fields = await read_upload(request, behind.max_upload_bytes, at_end)
    unknown = sorted(set(fields) - set(_FIELDS))
    if unknown:
        raise Problem("bad_request", f"unknown fields: {', '.join(unknown)[:200]}")
    owner = fields.get("owner", "")
    if not owner:
        raise Problem("bad_request", "the field owner is missing")
    new = NewAsset(upload, owner, fields.get("id") or None, fields.get("description") or None, idempotency_key)
    asset, _ = await _to_its_end(behind.assets.add(new))
    return reply(asset, 202, {"Location": f"/v1/assets/{quote(asset.id)}"})


@router.get("", response_model=AssetPage, responses=problem_docs(400))
async def list_assets(
    behind: Behind,
    owner: str | None = None,
    kind: Kind | None = None,
    sha256: str | None = Query(None, pattern="^[0-9a-f]{64}$"),
    filter: str | None = Query(
        None, max_length=4096, description='such as: object:person -meme action:"playing">0.5 created>2026-01-31'
    ),
    limit: int = Query(50, ge=1, le=500),
    cursor: str | None = Query(None, max_length=1024),
) -> Response:
    """Assets, newest first, a page at a time."""
    page = await behind.assets.page(
        owner=owner, kind=kind, sha256=sha256, filter=filter, limit=limit, cursor=cursor
    )  # fmt: skip
    return reply(page)


@router.get("/{id:path}/annotations", response_model=AssetAnnotations, responses=problem_docs(404))
async def get_annotations(
    id: str,
    behind: Behind,
    format: Literal["json", "solr"] = Query("json", description="solr: the fields of a Solr document"),
) -> Response:
    """What the annotators saw."""
    found = await behind.assets.annotations(id)
    return JSONResponse(solr_document(found)) if format == "solr" else reply(found)


@router.get("/{id:path}/renditions", response_model=Renditions, responses=problem_docs(404))
async def get_renditions(id: str, behind: Behind) -> Response:
    """The files that were made of the asset: of a 3D model pictures that show it, of a video its streams."""
    return reply(await behind.assets.renditions(id))


@router.post(
    "/{id:path}/renditions", status_code=202, response_model=Job, responses=problem_docs(400, 404, 409, 422, 503)
)
async def add_renditions(
    id: str,
    wanted: WantedRenditions,
    behind: Behind,
    idempotency_key: str | None = Header(None, max_length=255),
) -> Response:
    """Make a preset's streams of the asset: the job that does, which is the one that waits or runs where there is one.

    They are among the asset's renditions, all of them, once the job has succeeded; those of the preset that were there
    before stay until then.
    """
    job, _ = await behind.assets.adapt(id, wanted.preset, idempotency_key)
    return reply(job, 202, {"Location": f"/v1/jobs/{job.id}"})


@router.head("/{id:path}/files/{path:path}", include_in_schema=False)
@router.get("/{id:path}/files/{path:path}", response_class=Response, responses=problem_docs(404))
async def get_file(
    id: str, path: str, behind: Behind, if_none_match: str | None = Header(None, max_length=2000)
) -> Response:
    """A stored file: ``original``, or a rendition by its name, such as ``web/master.m3u8``. Ranges are answered."""
    return _send(await behind.assets.download(id, path), if_none_match)


@router.get("/{id:path}", response_model=Asset, responses=problem_docs(404))
async def get_asset(id: str, behind: Behind) -> Response:
    """The asset and how far each stage of its processing is."""
    return reply(await behind.assets.get(id))


@router.delete("/{id:path}", status_code=204, response_class=Response, responses=problem_docs(404))
async def delete_asset(id: str, behind: Behind) -> Response:
    """Delete the asset with its vectors, tags and files."""
    await behind.assets.delete(id)
    return Response(status_code=204)


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` gives; where the client leaves, it is still awaited, since it reads the upload, which ends then."""
    working = asyncio.create_task(work)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait({working})
        raise


def _send(download: Download, known: str | None) -> Response:
    tag = f'"{download.sha256}"'
    kept = {"ETag": tag, "Cache-Control": _FOREVER if download.immutable else "no-cache"}
    if download.ours:
        # Players of other sites' pages read what was made to be played.
        kept |= {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Content-Range, ETag"}
    if known is not None and tag in known.replace(",", " ").split():
        download.stream.close()
        return Response(status_code=304, headers=kept)
    # Somebody else's bytes under our address: never rendered in place, never sniffed into something else.
    place = "inline" if download.ours else "attachment"
    headers = {
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": f"{place}; filename*=UTF-8''{quote(download.name)}",
        "Content-Security-Policy": "sandbox",
        **kept,
    }
    try:
        return _OpenFile(download.stream, media_type=download.media_type, headers=headers)
    except OSError:  # not a file of this machine
        headers["Content-Length"] = str(download.size)
        return StreamingResponse(_chunks(download.stream), media_type=download.media_type, headers=headers)


class _OpenFile(FileResponse):
    """Sends a file that is open already, ranges too, and closes it: it may be deleted by its name meanwhile."""

    def __init__(self, stream: BinaryIO, *, media_type: str, headers: dict[str, str]) -> None:
        number = stream.fileno()
        super().__init__(f"/proc/self/fd/{number}", 200, headers, media_type, stat_result=os.fstat(number))
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._stream:
            await super().__call__(scope, receive, send)


async def _chunks(stream: BinaryIO) -> AsyncIterator[bytes]:
    with stream:
        while chunk := await asyncio.to_thread(stream.read, _CHUNK):
            yield chunk
