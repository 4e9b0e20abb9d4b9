"""Printed text: blocks of words on a scene, and whole pages."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

WORDS: tuple[str, ...] = tuple(
    """
    the of a and to in is that for it as was with be on not at by this from or have an they which one you were her
    all she there would their we him been has when who will more no if out so said what up its about into than them
    can only other new some could time these two may then do first any my now such like our over man me even most
    made after also did many before must through years where much your way well down should because each just those
    people how too little state good very make world still own see men work long get here between both life being
    under never day same another know while last might great old year off come since against go came right used take
    three image region edge marker watershed segmentation gradient label news sale open free summer market city
    music radio media share story HELLO TODAY ONLY NEWS LIVE WHEN YOU FINALLY MONDAY OPEN STOP EXIT
    """.split()  # noqa: SIM905 - a list of 140 quoted words is harder to read
)


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def lines(rng: np.random.Generator, count: int, words: int) -> str:
    """``count`` lines of about ``words`` words each, sometimes in capitals."""
    rows = [" ".join(rng.choice(WORDS, max(1, int(words + rng.integers(-1, 2))))) for _ in range(count)]
    text = "\n".join(rows)
    return text.upper() if rng.random() < 0.3 else text


def place_text(
    rng: np.random.Generator, pixels: NDArray[np.uint8], taken: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], tuple[float, float, float, float]] | None:
    """Print a block where ``taken`` [H, W] is free; the picture and the block's box, or None where nothing fits."""
    height, width = pixels.shape[:2]
    for _ in range(6):
        size = int(height * rng.uniform(0.05, 0.13))
        text = lines(rng, int(rng.integers(1, 4)), int(rng.integers(1, 5)))
        stroke = int(size > 14 and rng.random() < 0.35)
        image = Image.fromarray(pixels)
        draw = ImageDraw.Draw(image)
        left, top, right, bottom = map(
            float, draw.multiline_textbbox((0, 0), text, font=_font(size), stroke_width=stroke)
        )
        w, h = right - left, bottom - top
        if w > 0.96 * width or h > 0.6 * height:
            continue
        x, y = rng.uniform(0.01 * width, 0.99 * width - w), rng.uniform(0.01 * height, 0.99 * height - h)
        if taken[int(y) : int(y + h) + 1, int(x) : int(x + w) + 1].any():
            continue
        box = (x, y, x + w, y + h)
        under = pixels[int(y) : int(y + h) + 1, int(x) : int(x + w) + 1].mean()
        ink, paper = ((250,) * 3, (5,) * 3) if under < 128 else ((5,) * 3, (250,) * 3)
        if rng.random() < 0.3:
            draw.rectangle((x - 3, y - 3, x + w + 3, y + h + 3), fill=paper)
        elif rng.random() < 0.3:
            low, high = (150, 255) if under < 128 else (0, 100)
            red, green, blue = rng.integers(low, high, 3).tolist()
            ink = (red, green, blue)
        draw.multiline_text(
            (x - left, y - top), text, fill=ink, font=_font(size), stroke_width=stroke, stroke_fill=paper
        )
        return np.asarray(image), box
    return None


def page(rng: np.random.Generator, side: int) -> tuple[NDArray[np.uint8], tuple[float, float, float, float]]:
    """A page or a part of one, with the box of its text."""
    light = rng.random() < 0.85
    paper, ink = rng.integers(205, 256), rng.integers(0, 70)
    if not light:
        paper, ink = ink, paper
    image = Image.new("RGB", (side, side), (int(paper),) * 3)
    draw = ImageDraw.Draw(image)
    size = int(side * rng.uniform(0.035, 0.09))
    x, y = rng.uniform(-0.1, 0.12, 2) * side
    text = lines(rng, int(rng.integers(8, 26)), int(rng.integers(6, 12)))
    spacing = int(size * rng.uniform(0.2, 0.6))
    draw.multiline_text((x, y), text, fill=(int(ink),) * 3, font=_font(size), spacing=spacing)
    left, top, right, bottom = draw.multiline_textbbox((x, y), text, font=_font(size), spacing=spacing)
    shade = np.linspace(rng.uniform(0.6, 1), 1, side)
    pixels = np.asarray(image) * (shade[:, None, None] if rng.random() < 0.5 else shade[None, :, None])
    return pixels.astype(np.uint8), (max(left, 0.0), max(top, 0.0), min(right, float(side)), min(bottom, float(side)))
