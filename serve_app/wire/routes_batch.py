"""``/v1/assets:batch``: many small assets in one request, a line each; a line of answer each, in the same order."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from serve_app.errors import Problem
from serve_app.wire.batch_schemas import BatchItem, BatchLine
from serve_app.wire.lines import Inbox, Line, bounded, split
from serve_app.wire.ports import AssetPort, NewAsset, Upload
from serve_app.wire.problems import detail_of
from serve_app.wire.routing import Behind, problem_docs
from serve_app.wire.schemas import Asset
from serve_app.wire.uploads import media_type

router = APIRouter(tags=["assets"])
log = logging.getLogger("mediaverse")

MEDIA_TYPE = "application/x-ndjson"
MEDIA_TYPES = (MEDIA_TYPE, "application/jsonl")
MAX_LINE = 8 * 1024 * 1024
"""Bytes; what is larger goes to ``/v1/assets``, a file a request."""
MAX_BODY = 1024 * 1024 * 1024
MAX_LINES = 20_000
"""A client may send all before it reads: so many answers are kept for it."""
CHUNK_LINES, CHUNK_BYTES = 256, 8 * 1024 * 1024
"""What is stored in one transaction: whole, or not at all."""

_BODY = {
    "requestBody": {"required": True, "content": {MEDIA_TYPE: {"schema": BatchItem.model_json_schema()}}},
    "responses": {"200": {"description": "a line each", "content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}},
}


@router.post("/v1/assets:batch", response_class=Response, responses=problem_docs(400, 413, 415), openapi_extra=_BODY)
async def add_assets(request: Request, behind: Behind) -> Response:
    """Store many small assets: newline-delimited JSON in and out. Each line fares for itself; the same line again
    gives the same asset. Lines are stored some at a time, and answered when they are stored: 202, 200 where the asset
    was there before, or the problem. Blank lines get no answer."""
    if media_type(request) not in MEDIA_TYPES:
        raise Problem("unsupported_media", f"send {MEDIA_TYPE}, a JSON object a line")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MAX_BODY:
        raise Problem("too_large", f"the body is larger than {MAX_BODY} bytes")
    pieces = bounded(request.stream(), MAX_BODY)
    return _Duplex(_answers(split(pieces, MAX_LINE, MAX_LINES), behind.assets), media_type=MEDIA_TYPE)


class _Duplex(StreamingResponse):
    """Answers while the body comes: the base would listen for the client's leaving, and take the body's pieces."""

    def __init__(self, content: AsyncGenerator[bytes, None], media_type: str) -> None:
        super().__init__(content, media_type=media_type, headers={"X-Accel-Buffering": "no"})
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._content):
            await self.stream_response(send)


async def _answers(lines: AsyncIterator[Line], assets: AssetPort) -> AsyncGenerator[bytes, None]:
    """The answers; made whether or not they are read, since most clients send all before they read."""
    told: asyncio.Queue[bytes | None] = asyncio.Queue()
    working = asyncio.create_task(_work(lines, assets, told))
    try:
        while (answer := await told.get()) is not None:
            yield answer
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def _work(lines: AsyncIterator[Line], assets: AssetPort, told: asyncio.Queue[bytes | None]) -> None:
    inbox, last = Inbox(CHUNK_LINES, CHUNK_BYTES), 0
    filling = asyncio.create_task(inbox.fill(lines))
    try:
        while chunk := await inbox.take():
            for answer in await _store(chunk, assets):
                told.put_nowait(_line(answer))
            last = chunk[-1][0]
        await filling
    except (ClientDisconnect, asyncio.CancelledError):
        log.info("a client broke off its batch after line %d", last)
        raise
    except Exception as error:  # the body cannot be read on
        told.put_nowait(_line(_failed(last + 1, error)))
    finally:
        filling.cancel()
        told.put_nowait(None)


async def _store(chunk: Sequence[Line], assets: AssetPort) -> list[BatchLine]:
    """What became of each line."""
    read = await asyncio.to_thread(lambda: [_read(line) for _, line in chunk])
    news = [each for each in read if isinstance(each, NewAsset)]
    outcomes: Iterator[tuple[Asset, bool] | Exception]
    try:
        outcomes = iter(await assets.add_many(news))
    except Exception as error:
        outcomes = iter([error] * len(news))
    answers = []
    for (number, _), each in zip(chunk, read, strict=True):
        outcome = next(outcomes) if isinstance(each, NewAsset) else each
        if isinstance(outcome, Exception):
            answers.append(_failed(number, outcome))
        else:
            asset, created = outcome
            answers.append(BatchLine(line=number, status=202 if created else 200, asset=asset))
    return answers


def _read(line: bytes | None) -> NewAsset | Problem:
    try:
        if line is None:
            raise Problem("too_large", f"the line is longer than {MAX_LINE} bytes", "post it to /v1/assets")
        return _parse(line)
    except Problem as problem:
        return problem


def _parse(line: bytes) -> NewAsset:
    """Raises ``bad_request`` for what is no item."""
    try:
        item = BatchItem.model_validate(json.loads(line))
        data = base64.b64decode(item.data, validate=True) if item.data is not None else str(item.text).encode()
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise Problem("bad_request", "; ".join(faults)[:2000]) from error
    except UnicodeEncodeError as error:
        raise Problem("bad_request", "the text holds half a character") from error
    except binascii.Error as error:
        raise Problem("bad_request", f"data is not base64: {error}") from error
    except (ValueError, RecursionError) as error:
        raise Problem("bad_request", f"the line is not JSON: {error}") from error
    said = item.media_type or ("text/plain" if item.data is None else None)
    return NewAsset(Upload.of(data), item.owner, item.id, item.description, item.idempotency_key, said)


def _failed(number: int, error: Exception) -> BatchLine:
    problem = detail_of(error)
    return BatchLine(line=number, status=problem.status, problem=problem)


def _line(answer: BatchLine) -> bytes:
    return answer.model_dump_json(exclude_none=True).encode() + b"\n"
