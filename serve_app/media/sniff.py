"""What a file is, told by its content alone: names and declared types are only claims.

The signatures are those of the formats' specifications, as collected in the WHATWG MIME Sniffing Standard, section 6,
and the freedesktop.org shared-mime-info database. Text formats have no signature; they are told by their first lines.
"""

from __future__ import annotations

import codecs
import math
import re
import struct
from collections.abc import Callable
from typing import Literal

from serve_app.errors import Problem

Kind = Literal["text", "image", "audio", "video", "shape3d"]

WINDOW = 65536
"""Bytes that are looked at. A few tests use the length of the whole when they are given it."""

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (0, b"II+\0", "image/tiff"),
    (0, b"MM\0+", "image/tiff"),
    (0, b"8BPS", "image/vnd.adobe.photoshop"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2"),
    (0, b"\0\0\x01\0", "image/vnd.microsoft.icon"),
    (0, b"#?RADIANCE", "image/vnd.radiance"),
    (0, b"glTF", "model/gltf-binary"),
    (0, b"ply\n", "model/ply"),
    (0, b"ply\r", "model/ply"),
    (0, b"fLaC", "audio/flac"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"#!AMR", "audio/amr"),
    (0, b"FLV\x01", "video/x-flv"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-asf"),
    (0, b"\0\0\x01\xba", "video/mpeg"),
    (0, b"\0\0\x01\xb3", "video/mpeg"),
    (0, b"P7\nWIDTH", "image/x-portable-arbitrarymap"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"\x1f\x8b", "application/gzip"),
)

_CONTAINED = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo", b"AIFF": "audio/aiff"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis"}
_HEIF_BRANDS = {b"mif1", b"msf1", b"hevc", b"hevx", b"hevm", b"hevs"}
_BMP_HEADER_SIZES = {12, 16, 40, 52, 56, 64, 108, 124}
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_TEXT_TYPES = {"application/json", "application/xml", "application/x-subrip", "application/dash+xml"}


def kind_of(media_type: str) -> Kind:
    """Which of the five kinds of asset a media type is. Raises ``unsupported_media`` for all that we do not store."""
    family = media_type.partition("/")[0]
    if media_type in _TEXT_TYPES or family == "text":
        return "text"
    if family == "model" or media_type == "application/zip":
        # Of archives, those with a mesh and its textures are read.
        return "shape3d"
    if family in ("image", "audio", "video"):
        return family  # type: ignore[return-value]
    raise Problem("unsupported_media", f"{media_type} is not a kind of media that is stored here")


def sniff(data: bytes) -> str | None:
    """The media type of ``data`` (its first 64 KiB suffice, all of it is better), or None when it is unknown."""
    head = data[:WINDOW]
    for offset, signature, media_type in _SIGNATURES:
        if head.startswith(signature, offset):
            return media_type
    tests: tuple[Callable[[bytes, bytes], str | None], ...] = (
        _riff, _iso_media, _matroska, _ogg, _bitmap, _transport_stream, _text, _mpeg_audio, _binary_stl,
    )  # fmt: skip
    return next((found for test in tests if (found := test(head, data)) is not None), None)


def _riff(head: bytes, data: bytes) -> str | None:
    return _CONTAINED.get(head[8:12]) if head[:4] in (b"RIFF", b"FORM") else None


def _iso_media(head: bytes, data: bytes) -> str | None:
    """ISO base media (ISO/IEC 14496-12): the brands of ``ftyp`` name the picture formats, the handlers the rest."""
    if head[4:8] in (b"moov", b"mdat", b"wide", b"pnot"):
        return "video/quicktime"
    if head[4:8] != b"ftyp":
        return None
    major = head[8:12]
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {major} | {head[at : at + 4] for at in range(16, end, 4)}
    if major in _HEIC_BRANDS:
        return "image/heic"
    if major in (b"avif", b"avis") or (major in _HEIF_BRANDS and brands & {b"avif", b"avis"}):
        return "image/avif"
    if major in _HEIF_BRANDS:
        return "image/heic" if brands & _HEIC_BRANDS else "image/heif"
    handlers = set(re.findall(rb"hdlr.{8}(vide|soun)", data, re.DOTALL))
    if major in (b"M4A ", b"M4B ") or handlers == {b"soun"}:
        return "audio/mp4"
    return "video/quicktime" if major == b"qt  " else "video/mp4"


def _matroska(head: bytes, data: bytes) -> str | None:
    if not head.startswith(b"\x1a\x45\xdf\xa3"):
        return None
    return "video/webm" if b"webm" in head[:64] else "video/x-matroska"


def _ogg(head: bytes, data: bytes) -> str | None:
    if not head.startswith(b"OggS") or len(head) < 28:
        return None
    return "video/ogg" if b"\x80theora" in head[:4096] else "audio/ogg"


def _bitmap(head: bytes, data: bytes) -> str | None:
    """BMP and the Netpbm family have signatures of two letters, so the next field must make sense too."""
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "image/bmp"
    if re.match(rb"P[1-6]\s+(#|-?\d)|P[Ff]\s+\d+\s", head):
        return "image/x-portable-anymap"
    return None


def _transport_stream(head: bytes, data: bytes) -> str | None:
    return "video/mp2t" if len(head) > 376 and head[0] == head[188] == head[376] == 0x47 else None


def _mpeg_audio(head: bytes, data: bytes) -> str | None:
    """A frame of ISO/IEC 11172-3 (MP3) or of ADTS (AAC): eleven set bits, then fields that exclude reserved values."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    layer, bitrate, rate = (head[1] >> 1) & 3, head[2] >> 4, (head[2] >> 2) & 3
    if layer == 0:
        return "audio/aac" if head[1] & 0xF0 == 0xF0 and (head[2] >> 2) & 15 < 13 else None
    return "audio/mpeg" if bitrate != 15 and rate != 3 and (head[1] >> 3) & 3 != 1 else None


def _text(head: bytes, data: bytes) -> str | None:
    text = _readable(head)
    if text is not None:
        return _text_type(text) or "text/plain"
    # Old tools write names in the code page of their machine; of such text only meshes are told.
    found = None if _CONTROL.search(text := head.decode("latin-1")) else _text_type(text)
    return found if found is not None and found.startswith("model/") else None


def _text_type(text: str) -> str | None:
    start = text.lstrip("\ufeff \t\r\n")
    return next((media_type for pattern, media_type in _TEXT_PATTERNS if pattern.search(start)), None)


_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_TEXT_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), media_type)
    for pattern, media_type in (
        (r"\AWEBVTT\b", "text/vtt"),
        (r"\A\d+[ \t]*\r?\n\d+:\d\d:\d\d[,.]\d", "application/x-subrip"),
        (r"\A\[Script Info\]", "text/x-ssa"),
        (r"(?i)\A(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*|<!doctype svg[^>]*>\s*)*<svg[\s>]", "image/svg+xml"),
        (r"(?i)\A(?:<!doctype html|<html[\s>])", "text/html"),
        (r"\A<\?(?:xml|xpacket)\s|\A<[A-Za-z][\w:.-]*[^<>]*>", "application/xml"),
        (r'\A\{[\s\S]*"asset"\s*:\s*\{[^{}]*"version"', "model/gltf+json"),
        (r'\A\{[\s\S]*"(?:bufferView"\s*:\s*\d|uri"\s*:\s*"data:application/(?:octet-stream|gltf-buffer)[;,])',
         "model/gltf+json"),
        (r'\A[\[{]\s*(?:["{\[\]}\d-]|true|false|null)', "application/json"),
        (r"\Asolid\b[^\n]*\s+(?:facet\s+normal|endsolid)", "model/stl"),
        (r"\A(?:#[^\n]*\n\s*)*(?:ST)?C?N?4?n?OFF(?: BINARY)?\s", "model/off"),
        (rf"\A(?:[ \t]*(?:#[^\n]*|(?:mtllib|o|g|s|usemtl|v[tnp])\b[^\n]*|\r?)\n)*"
         rf"[ \t]*v[ \t]+{_NUMBER}[ \t]+{_NUMBER}[ \t]+{_NUMBER}", "model/obj"),
    )
)  # fmt: skip


def _readable(head: bytes) -> str | None:
    """``head`` as text when it is UTF-8 (or UTF-16 with its mark) without control characters, else None."""
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return None
    return None if not text or _CONTROL.search(text) else text


def _binary_stl(head: bytes, data: bytes) -> str | None:
    """Binary STL has no signature: 80 free bytes, a count of facets, and 50 bytes for each."""
    if len(head) < 84:
        return None
    count = int.from_bytes(head[80:84], "little")
    whole = 84 + 50 * count
    if len(data) != whole and not (len(data) == WINDOW and whole > WINDOW):
        return None
    facets = (struct.unpack_from("<12f", head, at) for at in range(84, min(len(head) - 49, 84 + 50 * 32), 50))
    return "model/stl" if all(math.isfinite(value) for facet in facets for value in facet) else None
