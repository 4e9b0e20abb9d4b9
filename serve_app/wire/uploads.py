"""Reading request bodies, bounded: a file by multipart, or JSON that names a URL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile

from serve_app.errors import Problem
from serve_app.wire.ports import Upload

_FIELD_BYTES = 1024 * 1024


async def read_body(request: Request, limit: int) -> bytes:
    """The raw body; ``Problem("too_large")`` as soon as it passes ``limit`` bytes."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


async def read_upload(request: Request, limit: int, at_end: AsyncExitStack) -> tuple[Upload, dict[str, str]]:
    """The part named ``file`` and the other fields of a multipart body; ``at_end`` closes the file.

    JSON is where a URL would come; input by URL is disabled. Raises ``bad_request``, ``too_large``,
    ``unsupported_media`` or ``url_input_disabled``.
    """
    await _check_multipart(request, "file", limit)
    return await _read_form(_bounded(request, limit + _FIELD_BYTES), limit, at_end)


async def read_uploads(request: Request, limit: int, at_end: AsyncExitStack, most: int) -> list[Upload]:
    """The parts named ``files`` of a multipart body, 1 to ``most``, together at most ``limit`` bytes.

    Raises as :func:`read_upload` does.
    """
    await _check_multipart(request, "files", limit)
    bounded = _bounded(request, limit + _FIELD_BYTES)
    form = await at_end.enter_async_context(bounded.form(max_files=most, max_fields=20, max_part_size=_FIELD_BYTES))
    files = [(name, part) for name, part in form.multi_items() if isinstance(part, UploadFile)]
    if not files or len(files) < len(form.multi_items()) or any(name != "files" for name, _ in files):
        raise Problem("bad_request", "send one or more parts named files, and nothing else")
    uploads = [Upload(part.file, part.size or 0, part.filename) for _, part in files]
    if sum(upload.size for upload in uploads) > limit:
        raise _too_large(limit)
    return uploads


async def _check_multipart(request: Request, part: str, limit: int) -> None:
    content_type = media_type(request)
    if content_type == "application/json":
        _refuse_url(await read_json(request))
    if content_type != "multipart/form-data":
        raise Problem("unsupported_media", f"send multipart/form-data with a part named {part}")
    declared = request.headers.get("content-length", "")
    # The framing adds a little to the file itself.
    if declared.isdigit() and int(declared) > limit + _FIELD_BYTES:
        raise _too_large(limit)


def media_type(request: Request) -> str:
    """The declared media type of a body, without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_json(request: Request) -> Mapping[str, Any]:
    """A JSON object of at most 4 MiB."""
    try:
        body = json.loads(await read_body(request, 4 * _FIELD_BYTES))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise Problem("bad_request", f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Problem("bad_request", "the body must be a JSON object")
    return body


def _refuse_url(body: Mapping[str, Any]) -> None:
    if "url" not in body:
        raise Problem("bad_request", "send multipart/form-data with a part named file")
    raise Problem("url_input_disabled", "this service does not fetch URLs; send the file itself as multipart/form-data")


def _bounded(request: Request, limit: int) -> Request:
    """The same request, whose body ends in ``too_large`` past ``limit`` bytes (chunked uploads declare no length)."""
    received = 0

    async def receive() -> Any:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise _too_large(limit)
        return message

    return Request(request.scope, receive)


async def _read_form(request: Request, limit: int, at_end: AsyncExitStack) -> tuple[Upload, dict[str, str]]:
    # The parser spools to disk what is larger than a megabyte.
    form = await at_end.enter_async_context(request.form(max_files=1, max_fields=20, max_part_size=_FIELD_BYTES))
    file = form.get("file")
    if not isinstance(file, UploadFile) or file.size is None:
        raise Problem("bad_request", "the part named file is missing")
    if file.size > limit:
        raise _too_large(limit)
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    if len(form.multi_items()) > len(form):
        raise Problem("bad_request", "a field stands twice in the form")
    return Upload(file.file, file.size, file.filename), fields


def _too_large(limit: int) -> Problem:
    return Problem("too_large", f"the body is larger than {limit} bytes")
