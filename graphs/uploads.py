"""What came in, looked at without reading it whole."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

from serve_app.errors import Problem
from serve_app.media import sniff
from serve_app.wire.ports import Upload

SMALL = 8 * 1024 * 1024
"""Up to here the whole file is looked at: some formats are told apart by what stands far behind."""


def sniff_upload(upload: Upload) -> str | None:
    """The media type by the content."""
    upload.file.seek(0)
    return sniff.sniff(upload.file.read(SMALL))


def check_video(upload: Upload) -> None:
    """Raises ``unsupported_media`` for what is no video."""
    media_type = sniff_upload(upload)
    if media_type is None or sniff.kind_of(media_type) != "video":
        raise Problem("unsupported_media", f"{media_type or 'unknown content'} is not a video that is read here")


def digest_of(file: BinaryIO) -> str:
    """SHA-256 as hex of a whole file, a piece at a time."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
