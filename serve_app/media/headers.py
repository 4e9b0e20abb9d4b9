"""The front of a picture file, walked before Pillow walks it.

Pillow parses headers in Python, a piece at a time: 20 MB of empty JPEG segments take it 20 seconds. Ordinary files have
a few dozen pieces, so those with very many are refused before they are opened.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice

MAX_PIECES = 50_000
"""Segments, chunks or blocks; a 64-megapixel PNG has about 25,000 chunks of the usual 8 KiB."""
NETPBM_HEADER = 65536
"""Bytes in which the sizes of a Netpbm file must stand; comments may stand before them."""

_STANDALONE = {0x01, *range(0xD0, 0xDA)}
_NETPBM = re.compile(rb"P[1-6Ff](?:(?:\s|#[^\r\n]*[\r\n])+-?[\d.]+){2,3}\s")


def has_bounded_header(media_type: str, data: bytes) -> bool:
    """Whether the header of ``data`` has few enough pieces to be parsed in a fraction of a second."""
    if media_type == "image/x-portable-anymap":
        return _NETPBM.match(data[:NETPBM_HEADER]) is not None
    walk = _WALKS.get(media_type)
    return walk is None or sum(1 for _ in islice(walk(data), MAX_PIECES + 1)) <= MAX_PIECES


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """(marker, offset of its length) up to the first scan, and (0, offset) for a byte of filling (ITU-T T.81, B.1)."""
    at = 2
    while at + 1 < len(data):
        marker = data[at + 1] if data[at] == 0xFF else 0
        if marker in (0, 0xFF):
            yield 0, at
            at += 1
            continue
        yield marker, at + 2
        if marker == 0xDA:
            return
        at += 2 if marker in _STANDALONE else 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    """(name, payload) up to IEND; the payload only of eXIf, the others are not copied (PNG, third edition, 5.3)."""
    at = 8
    while at + 8 <= len(data):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        yield name, data[at + 8 : at + 8 + length] if name == b"eXIf" else None
        if name == b"IEND":
            return
        at += length + 12


def gif_blocks(data: bytes) -> Iterator[int]:
    """Offsets of blocks and sub-blocks before the first frame (GIF89a, 15 to 26)."""
    at = 13 + (3 << ((data[10] & 7) + 1) if len(data) > 10 and data[10] & 0x80 else 0)
    while at < len(data) and data[at] not in (0x2C, 0x3B):
        yield at
        if data[at] != 0x21:
            at += 1
            continue
        at += 2
        while at < len(data) and data[at]:
            yield at
            at += 1 + data[at]
        at += 1


_WALKS: dict[str, Callable[[bytes], Iterator[object]]] = {
    "image/jpeg": jpeg_segments,
    "image/png": png_chunks,
    "image/gif": gif_blocks,
}
