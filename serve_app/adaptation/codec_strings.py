"""Codec strings (RFC 6381) out of a sample description: what a stream is, not what was asked for.

H.264: ISO/IEC 14496-15, 5.3.3 and RFC 6381, 3.3; AAC: ISO/IEC 14496-1 (ES descriptor) and 14496-3 (object types);
VP9: "VP Codec ISO Media File Format Binding"; AV1: "AV1 Codec ISO Media File Format Binding", 5.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

_VISUAL, _AUDIO = 78, 28
"""Bytes of a sample entry before its boxes."""


def codec_string(stsd: bytes) -> str:
    """Of the body of an ``stsd`` box with one entry. Raises ValueError for a codec that is not made here."""
    kind = stsd[12:16]
    if kind not in _READERS:
        raise ValueError(f"{kind!r} is no codec that is made here")
    start, box, read = _READERS[kind]
    entry = stsd[16 : 8 + struct.unpack_from(">I", stsd, 8)[0]]
    return read(_child(entry[start:], box))


def _child(data: bytes, wanted: bytes) -> bytes:
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind == wanted:
            return data[at + 8 : at + size]
        at += max(size, 8)
    raise ValueError(f"the sample description lacks {wanted!r}")


def _avc(body: bytes) -> str:
    return f"avc1.{body[1:4].hex().upper()}"


def _vp9(body: bytes) -> str:
    profile, level, depth = body[4], body[5], body[6] >> 4
    return f"vp09.{profile:02}.{level:02}.{depth:02}"


def _av1(body: bytes) -> str:
    profile, level = body[1] >> 5, body[1] & 0x1F
    tier, high, twelve = body[2] >> 7, body[2] >> 6 & 1, body[2] >> 5 & 1
    return f"av01.{profile}.{level:02}{'H' if tier else 'M'}.{12 if high and twelve else 10 if high else 8:02}"


def _aac(body: bytes) -> str:
    """The audio object type, the first five bits of the decoder's own description."""
    at = 4
    while at < len(body):
        tag, at = body[at], at + 1
        size = 0
        for _ in range(4):
            byte, at = body[at], at + 1
            size = size << 7 | byte & 0x7F
            if not byte & 0x80:
                break
        if tag == 5:
            kind = body[at] >> 3
            return f"mp4a.40.{32 + (struct.unpack_from('>H', body, at)[0] >> 5 & 0x3F) if kind == 31 else kind}"
        at += {3: 3, 4: 13}.get(tag, size)
    raise ValueError("the sound has no description")


def _opus(_: bytes) -> str:
    return "opus"


_READERS: dict[bytes, tuple[int, bytes, Callable[[bytes], str]]] = {
    b"avc1": (_VISUAL, b"avcC", _avc),
    b"vp09": (_VISUAL, b"vpcC", _vp9),
    b"av01": (_VISUAL, b"av1C", _av1),
    b"mp4a": (_AUDIO, b"esds", _aac),
    b"Opus": (_AUDIO, b"dOps", _opus),
}
