"""Real photographs: a folder of them, and what people do to pictures before they look for the original."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from math import cos, radians, sin
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serve_app.errors import Problem
from serve_app.media import images
from serve_app.models.embedded.held_out import held_out_photographs

Pixels = NDArray[np.uint8]
MAX_SIDE = 640  # the longer side of a photograph of COCO; no embedded model looks at more than half of it


@dataclass(frozen=True)
class Photographs:
    """``pictures`` by file name, upright, uint8 [H, W, 3], at most MAX_SIDE a side; ``skipped`` could not be read."""

    pictures: dict[str, Pixels]
    skipped: tuple[str, ...] = ()


def read_photographs(folder: Path | None = None) -> Photographs:
    """The pictures that lie in ``folder`` (not below it), or scikit-image's eight photographs that no training sees."""
    if folder is None:
        return Photographs(held_out_photographs())
    pictures, skipped = {}, []
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        try:
            pictures[path.name] = images.decode(path.read_bytes(), MAX_SIDE).pixels
        except Problem:
            skipped.append(path.name)
    return Photographs(pictures, tuple(skipped))


def encoded(pixels: Pixels) -> bytes:
    """A picture as the bytes that come to a service, without loss."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _window(image: Image.Image, left: float, top: float, share: float) -> Image.Image:
    """The part of ``image`` with ``share`` of each side that begins at (left, top), in parts of the sides."""
    width, height = image.size
    return image.crop(
        (round(left * width), round(top * height), round((left + share) * width), round((top + share) * height))
    )


def _half_jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.resize((max(1, image.width // 2), max(1, image.height // 2))).save(buffer, "JPEG", quality=40)
    return Image.open(buffer)


def _rotated(image: Image.Image, degrees: float = 10) -> Image.Image:
    """Turned about its centre and cut to the largest window of its own shape that the turned picture fills."""
    width, height = image.size
    across, up = cos(radians(degrees)), sin(radians(degrees))
    share = min(width / (width * across + height * up), height / (width * up + height * across))
    turned = image.rotate(degrees, Image.Resampling.BICUBIC)
    return _window(turned, (1 - share) / 2, (1 - share) / 2, share)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "centre crop, 80 % of each side": lambda image: _window(image, 0.1, 0.1, 0.8),
    "lower right crop, 80 % of each side": lambda image: _window(image, 0.2, 0.2, 0.8),
    "half-size JPEG, quality 40": _half_jpeg,
    "rotated by 10 degrees, cropped": _rotated,
    "rotated by 10 degrees, black corners": lambda image: image.rotate(10, Image.Resampling.BICUBIC, expand=True),
    "grey": lambda image: image.convert("L"),
}


def changed(pixels: Pixels, change: str) -> Pixels:
    """The picture after a change out of CHANGES, uint8 [H, W, 3]."""
    return np.asarray(CHANGES[change](Image.fromarray(pixels)).convert("RGB"))
