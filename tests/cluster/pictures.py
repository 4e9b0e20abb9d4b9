"""Pictures of every awkward kind, made on the spot."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageDraw


def disc(colour: str = "red", size: int = 160) -> Image.Image:
    """A coloured disc on grey: something that differs by colour."""
    picture = Image.new("RGB", (size, size), "grey")
    ImageDraw.Draw(picture).ellipse((size // 5, size // 5, 4 * size // 5, 4 * size // 5), fill=colour)
    return picture


def encoded(picture: Image.Image, format: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, format, **options)
    return out.getvalue()


def noise(seed: int, size: int = 96) -> bytes:
    """A PNG that nothing else equals."""
    return encoded(Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)))


def bomb() -> bytes:
    """A PNG of a few hundred bytes that declares 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 999)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def rotated() -> bytes:
    """A JPEG of 200 x 100 stored pixels that EXIF says is 100 x 200 upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(disc().resize((200, 100)), "JPEG", exif=exif)


def good() -> dict[str, tuple[bytes, tuple[int, int]]]:
    """Name to bytes and the upright size."""
    picture = disc()
    grey16 = Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 257)
    frames = [disc(colour) for colour in ("red", "green", "blue")]
    return {
        "jpeg": (encoded(picture, "JPEG"), (160, 160)),
        "cmyk": (encoded(picture.convert("CMYK"), "JPEG"), (160, 160)),
        "palette": (encoded(picture.convert("P")), (160, 160)),
        "16-bit": (encoded(grey16), (160, 160)),
        "alpha": (encoded(picture.convert("RGBA")), (160, 160)),
        "animated": (encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), (160, 160)),
        "rotated": (rotated(), (100, 200)),
        "one pixel": (encoded(Image.new("RGB", (1, 1))), (1, 1)),
        "long": (encoded(Image.new("RGB", (5000, 2), "blue")), (5000, 2)),
        "mislabelled": (encoded(picture, "WEBP"), (160, 160)),
    }


def bad() -> dict[str, tuple[bytes, int, str]]:
    """Name to bytes, status and code."""
    jpeg, png = encoded(disc(), "JPEG"), encoded(disc())
    return {
        "empty": (b"", 422, "undecodable_media"),
        "truncated jpeg": (jpeg[: len(jpeg) // 2], 422, "undecodable_media"),
        "truncated png": (png[: len(png) // 2], 422, "undecodable_media"),
        "bomb": (bomb(), 413, "too_large"),
        "zip": (b"PK\x03\x04" + b"\0" * 64, 415, "unsupported_media"),
        "pdf": (b"%PDF-1.7\n", 415, "unsupported_media"),
        "bytes": (bytes(range(256)), 415, "unsupported_media"),
    }
