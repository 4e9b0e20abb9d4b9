"""Pictures for those who have no right to the original: smaller, with a visible watermark, without what a camera wrote.

Decoded upright and encoded anew from the pixels alone, so neither EXIF, nor GPS, nor a thumbnail of the uncut original
is left. Colours are those of the file's numbers; a profile goes with the rest.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from serve_app.media.images import decode

if TYPE_CHECKING:
    from PIL import Image as Images

Format = Literal["jpeg", "webp", "png"]

QUALITY = {"jpeg": 82, "webp": 78}
ANGLE = 30
"""Degrees by which the lines of a watermark rise."""
OPACITY = 0.28
"""Of a watermark's letters; their edges are as dark as they are light, so that they stand out from any picture."""
LINES = 7
"""Of letters across the shorter side, with as much room between them."""


@dataclass(frozen=True)
class Rendered:
    """A picture as a file; ``width`` and ``height`` in pixels."""

    data: bytes
    media_type: str
    width: int
    height: int


def render(data: bytes, side: int, watermark: str | None = None, format: Format = "jpeg") -> Rendered:
    """The picture with a longer side of at most ``side`` pixels, ``watermark`` all over it.

    Raises ``Problem`` as ``images.decode``.
    """
    from PIL import Image

    pixels = decode(data, max_side=side).pixels
    if watermark:
        pixels = marked(pixels, watermark)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format.upper(), **({"quality": QUALITY[format]} if format in QUALITY else {}))
    return Rendered(out.getvalue(), f"image/{format}", pixels.shape[1], pixels.shape[0])


def marked(pixels: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] with ``text`` in rising lines all over it, light with dark edges."""
    light, dark = _letters(pixels.shape[1], pixels.shape[0], text)
    picture = pixels.astype(np.float32)
    picture += (255 - picture) * (light * OPACITY)[..., None]
    picture -= picture * (dark * OPACITY)[..., None]
    return np.asarray(picture.round().clip(0, 255), np.uint8)


def _letters(width: int, height: int, text: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """[H, W] of 0 to 1 each: how much of a pixel the letters cover, and their edges."""
    from PIL import Image, ImageDraw, ImageFont

    size = max(10, round(min(width, height) / (2 * LINES)))
    font = ImageFont.load_default(size)
    edge = max(1, size // 12)
    # Large enough that it covers the picture when it is turned.
    whole = math.ceil(math.hypot(width, height)) + 4 * size
    step = math.ceil(font.getlength(text)) + 2 * size
    sheets: list[Images.Image] = []
    for stroke in (0, edge):
        sheet = Image.new("L", (whole, whole))
        draw = ImageDraw.Draw(sheet)
        for line, top in enumerate(range(0, whole, 2 * size)):
            # Every other line is shifted by half, so that no column stays free.
            for left in range(-step * (line % 2) // 2 - step, whole, step):
                draw.text((left, top), text, fill=255, font=font, stroke_width=stroke)
        turned = sheet.rotate(ANGLE, Image.Resampling.BICUBIC)
        left, top = (whole - width) // 2, (whole - height) // 2
        sheets.append(turned.crop((left, top, left + width, top + height)))
    plain, wide = (np.asarray(sheet, np.float32) / np.float32(255) for sheet in sheets)
    return plain, np.clip(wide - plain, 0, 1, dtype=np.float32)
