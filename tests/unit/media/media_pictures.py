"""Small pictures in every format that is read, made when the tests run."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def scene(width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    """A smooth picture without symmetry, so that every flip and turn shows."""
    y, x = np.mgrid[0:height, 0:width] / np.array([[[height]], [[width]]])
    return np.stack([255 * x, 255 * y, 255 * (1 - x) * y], axis=2).astype(np.uint8)


def encode(picture: NDArray[Any] | Image.Image, format: str, **options: Any) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def every_format(width: int = 24, height: int = 20) -> dict[str, bytes]:
    picture = scene(width, height)
    grey = picture[..., 0].astype(np.uint16) * 257
    return {
        "jpeg": encode(picture, "JPEG", quality=95, subsampling=0),
        "progressive": encode(picture, "JPEG", quality=95, subsampling=0, progressive=True),
        "cmyk": encode(Image.fromarray(picture).convert("CMYK"), "JPEG", quality=95),
        "png": encode(picture, "PNG"),
        "palette": encode(Image.fromarray(picture).quantize(64), "PNG", transparency=3),
        "rgba": encode(Image.fromarray(picture).convert("RGBA"), "PNG"),
        "grey16": encode(grey, "PNG"),
        "gif": encode(Image.fromarray(picture).quantize(64), "GIF"),
        "webp": encode(picture, "WEBP", quality=95),
        "webp-lossless": encode(picture, "WEBP", lossless=True),
        "bmp": encode(picture, "BMP"),
        "tiff": encode(picture, "TIFF"),
        "tiff-lzw": encode(picture, "TIFF", compression="tiff_lzw"),
        "tiff-jpeg": encode(picture, "TIFF", compression="jpeg"),
        "ppm": encode(picture, "PPM"),
        "pgm16": b"P5 %d %d 65535\n" % (width, height) + grey.astype(">u2").tobytes(),
        "avif": encode(picture, "AVIF", quality=90),
    }
