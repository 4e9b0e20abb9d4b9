"""Letters in the typefaces that packages carry: Pillow's own (Aileron) and the Roboto of Ray's dashboard, in five
weights, upright and italic; stretched, spaced and outlined they look like many more."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
OWN = "own"
HEAVY = ("900", "900italic", "700", OWN)
"""Faces for headlines: what memes are set in is heavy."""
FACES = ("300", "300italic", "400", "400italic", "500", "500italic", "700", "700italic", "900", "900italic", OWN)
_ROBOTO = "dashboard/client/build/static/media"


@lru_cache(maxsize=1)
def _roboto() -> Path | None:
    spec = find_spec("ray")  # it is found without being imported
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / _ROBOTO
    return folder if folder.is_dir() else None


@lru_cache(maxsize=256)
def font(face: str, size: int) -> Font:
    """A typeface out of FACES at ``size`` pixels; Pillow's own stands in for one that this machine has not."""
    folder = _roboto()
    found = sorted(folder.glob(f"roboto-latin-{face}.*.woff")) if folder and face != OWN else []
    return ImageFont.truetype(str(found[0]), size) if found else ImageFont.load_default(size)


@dataclass(frozen=True)
class Style:
    """``outline`` in pixels; ``stretch`` is how wide letters are of their width; ``align`` as Pillow names it."""

    face: str
    size: int
    outline: int = 0
    stretch: float = 1.0
    align: str = "center"


def letters(text: str, style: Style) -> tuple[Image.Image, Image.Image]:
    """The ink of one or more lines and the ink with its outline, two masks "L" of one size, cut to what shows."""
    face, edge = font(style.face, max(6, style.size)), style.outline
    lines, step = text.split("\n"), style.size + max(1, style.size // 8) + edge
    measured = [face.getbbox(line, stroke_width=edge) for line in lines]
    width = int(max(right - left for left, _, right, _ in measured)) + 2
    height = int(measured[-1][3] - measured[0][1]) + step * (len(lines) - 1) + 2
    masks = []
    for stroke in (0, edge):
        mask = Image.new("L", (width, height))
        draw = ImageDraw.Draw(mask)
        # Line by line: Pillow sets lines apart by the outline too, and ink and outline would drift asunder.
        for number, (line, (left, _, right, _)) in enumerate(zip(lines, measured, strict=True)):
            free = width - 2 - (right - left) if style.align != "left" else 0
            at = (1 - left + free / 2, 1 - measured[0][1] + number * step)
            draw.text(at, line, 255, face, stroke_width=stroke)
        if style.stretch != 1:
            mask = mask.resize((max(1, round(width * style.stretch)), height), Image.Resampling.BILINEAR)
        masks.append(mask)
    box = masks[1].getbbox() or (0, 0, 1, 1)
    return masks[0].crop(box), masks[1].crop(box)


def fitted(text: str, style: Style, width: int, height: int) -> tuple[Image.Image, Image.Image]:
    """The same, made smaller until it fits into ``width`` x ``height`` pixels, or as small as can be read."""
    for _ in range(6):
        ink, edge = letters(text, style)
        excess = max(ink.width / max(1, width), ink.height / max(1, height))
        if excess <= 1 or style.size <= 7:
            break
        smaller = max(7, int(style.size / excess * 0.98))
        style = Style(style.face, smaller, round(style.outline * smaller / style.size), style.stretch, style.align)
    return ink, edge


def wrapped(words: list[str], lines: int) -> str:
    """The words on so many lines, about equally long."""
    parts = np.array_split(np.array(words), min(lines, len(words)))
    return "\n".join(" ".join(part) for part in parts)
