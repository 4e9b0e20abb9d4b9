"""What came in, looked at without reading it whole."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO

from serve_app.catalog import Files
from serve_app.errors import Problem
from serve_app.media import sniff
from serve_app.wire.ports import Upload

SMALL = 8 * 1024 * 1024
"""Up to here the whole file is looked at: some formats are told apart by what stands far behind."""


def sniff_upload(upload: Upload) -> str | None:
    """The media type by the content."""
    upload.file.seek(0)
    head = upload.file.read(SMALL)
    # A window is taken for the beginning of something longer, which what was read of a large file is, too.
    return sniff.sniff(head) or sniff.sniff(head[: sniff.WINDOW])


def check_video(upload: Upload) -> None:
    """Raises ``unsupported_media`` for what is no video, ``undecodable_media`` for nothing at all."""
    _check_kind(upload, "video", "a video")


def check_shape(upload: Upload) -> None:
    """Raises ``unsupported_media`` for what is no 3D model, ``undecodable_media`` for nothing at all."""
    _check_kind(upload, "shape3d", "a 3D model")


def _check_kind(upload: Upload, kind: str, called: str) -> None:
    if upload.size == 0:
        raise Problem("undecodable_media", "the file is empty")
    media_type = sniff_upload(upload)
    if media_type is None or sniff.kind_of(media_type) != kind:
        raise Problem("unsupported_media", f"{media_type or 'unknown content'} is not {called} that is read here")


def digest_of(file: BinaryIO) -> str:
    """SHA-256 as hex of a whole file, a piece at a time."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


@asynccontextmanager
async def passing(files: Files, upload: Upload) -> AsyncIterator[tuple[str, str]]:
    """The path of an upload among the files, and its hash, for as long as it takes to answer; then it is gone."""
    sha256 = await asyncio.to_thread(digest_of, upload.file)
    upload.file.seek(0)
    file = await asyncio.to_thread(files.put, upload.file, "", transient=True)
    try:
        yield file, sha256
    finally:
        await asyncio.shield(asyncio.to_thread(files.delete, [file]))


@asynccontextmanager
async def near(files: Files, path: str) -> AsyncIterator[int]:
    """A descriptor of a stored file, on this machine: what lies elsewhere is copied here first."""
    with await asyncio.to_thread(files.open, path) as stored:
        if files.local:
            yield stored.fileno()
            return
        with tempfile.TemporaryFile() as copy:
            await asyncio.to_thread(shutil.copyfileobj, stored, copy)
            copy.flush()
            yield copy.fileno()
