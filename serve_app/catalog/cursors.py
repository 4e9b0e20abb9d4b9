"""Opaque cursors: the ordinal of the last row given, so that rows which come meanwhile neither shift nor repeat."""

from __future__ import annotations

import base64
import binascii
import re

from serve_app.errors import Problem


def encode_cursor(table: str, ordinal: int) -> str:
    return base64.urlsafe_b64encode(f"{table}:{ordinal}".encode()).decode().rstrip("=")


def decode_cursor(table: str, cursor: str) -> int:
    """The ordinal in ``cursor``; Problem("bad_request") for a cursor that no page of ``table`` gave."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise Problem("bad_request", "cursor is not one that a page gave") from error
    match = re.fullmatch(rf"{table}:([0-9]{{1,18}})", text)
    if match is None:
        raise Problem("bad_request", "cursor is not one that a page gave")
    return int(match[1])
