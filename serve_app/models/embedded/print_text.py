"""Printed text: blocks of words on a scene, and whole pages.

There is one typeface, Pillow's own; stretched, slanted, emboldened, outlined and turned it looks like several.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from serve_app.models.embedded.backgrounds import Pixels, jitter
from serve_app.models.embedded.rendering import visible_box
from serve_app.models.embedded.words import COLOURS, PageFacts

Box = tuple[float, float, float, float]
_SHOWS = 48  # of 255, how much ink can be seen
_LEAST_CONTRAST = 70  # of luma, between an ink and what it is printed on
_PAPERS = ("white", "white", "yellow", "pink", "blue", "green", "orange", "grey", "black")
_INKS = ("black", "black", "blue", "red", "green", "brown", "purple")
_INKS_ON_DARK = ("white", "yellow", "orange", "turquoise", "pink")

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
    """``count`` lines of about ``words`` words each, as they are, in capitals or with capital initials."""
    rows = [" ".join(rng.choice(WORDS, max(1, int(words + rng.integers(-1, 2))))) for _ in range(count)]
    text = "\n".join(rows)
    case = rng.random()
    return text.upper() if case < 0.3 else text.title() if case < 0.5 else text


def _luma(colours: NDArray[np.generic]) -> NDArray[np.float64]:
    luma: NDArray[np.float64] = colours @ np.array([0.299, 0.587, 0.114])
    return luma


def _type(rng: np.random.Generator, text: str, size: int) -> tuple[Image.Image, Image.Image]:
    """The text's ink and the ink with an outline round it, two masks "L" of one size, in a random style."""
    bold = int(size > 11 and rng.random() < 0.35) * max(1, size // 14)
    outline = int(size > 13 and rng.random() < 0.25)
    align = str(rng.choice(["left", "center"]))
    stretch = rng.uniform(0.7, 1.4) if rng.random() < 0.5 else 1.0
    slant = rng.uniform(0.15, 0.35) if rng.random() < 0.25 else 0.0
    angle = rng.uniform(-8, 8) if rng.random() < 0.3 else 0.0
    font = _font(size)
    edge = bold + outline
    measure = ImageDraw.Draw(Image.new("L", (1, 1)))
    left, top, right, bottom = measure.multiline_textbbox((0, 0), text, font=font, stroke_width=edge, align=align)
    height = int(bottom - top) + 2
    flat = (int(right - left) + 2, height)
    width = int((flat[0] + slant * height) * stretch)
    masks = []
    for stroke in (bold, edge):
        mask = Image.new("L", flat)
        at = (1 - left, 1 - top)
        ImageDraw.Draw(mask).multiline_text(at, text, fill=255, font=font, stroke_width=stroke, align=align)
        if slant or stretch != 1:
            sheared = (1 / stretch, slant, -slant * height, 0, 1, 0)
            mask = mask.transform((width, height), Image.Transform.AFFINE, sheared, Image.Resampling.BILINEAR)
        masks.append(mask.rotate(angle, Image.Resampling.BILINEAR, expand=True) if angle else mask)
    box = masks[1].getbbox()
    return masks[0].crop(box), masks[1].crop(box)


def _ink(rng: np.random.Generator, under: NDArray[np.uint8]) -> tuple[tuple[int, ...], float]:
    """A colour that stands out from the pixels under it, and its least contrast with nine in ten of them."""
    luma = _luma(under).ravel()
    candidates = [np.full(3, 250.0), np.full(3, 5.0)]
    if rng.random() < 0.5:
        candidates = [jitter(rng, name) for name in rng.permutation(list(COLOURS))[:4]] + candidates
    contrasts = [float(np.percentile(np.abs(luma - _luma(ink)), 10)) for ink in candidates]
    good = [number for number, contrast in enumerate(contrasts) if contrast >= _LEAST_CONTRAST]
    best = good[0] if good else int(np.argmax(contrasts))
    return tuple(candidates[best].astype(int).tolist()), contrasts[best]


def place_text(
    rng: np.random.Generator, pixels: NDArray[np.uint8], taken: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], Box] | None:
    """Print a block where ``taken`` [H, W] is free; the picture and the tight box of the ink with its outline (without
    its shadow or the strip of paper under it), or None where nothing fits or would be legible."""
    height, width = pixels.shape[:2]
    for _ in range(8):
        size = int(height * rng.uniform(0.045, 0.16))
        text = lines(rng, int(rng.integers(1, 4)), int(rng.integers(1, 5)))
        ink_mask, edge_mask = _type(rng, text, max(size, 6))
        w, h = edge_mask.size
        if w > 0.96 * width or h > 0.6 * height:
            continue
        x, y = int(rng.integers(1, width - w)), int(rng.integers(1, height - h))
        if taken[y : y + h, x : x + w].any():
            continue
        image = Image.fromarray(pixels)
        if rng.random() < 0.3:
            paper = tuple(jitter(rng, str(rng.choice(list(COLOURS)))).astype(int).tolist())
            pad = int(rng.integers(2, 5))
            ImageDraw.Draw(image).rectangle((x - pad, y - pad, x + w + pad - 1, y + h + pad - 1), fill=paper)
        ink, contrast = _ink(rng, np.asarray(image)[y : y + h, x : x + w])
        if contrast < _LEAST_CONTRAST:
            continue
        opposite = (5,) * 3 if _luma(np.array(ink)) > 128 else (250,) * 3
        if rng.random() < 0.2:
            image.paste((0, 0, 0), (x + max(1, size // 12), y + max(1, size // 12)), ink_mask.point(lambda v: v // 2))
        image.paste(opposite, (x, y), edge_mask)
        image.paste(ink, (x, y), ink_mask)
        drawn = visible_box(np.asarray(edge_mask) > _SHOWS)
        if drawn is None:
            continue
        return np.asarray(image), (x + drawn[0], y + drawn[1], x + drawn[2], y + drawn[3])
    return None


@dataclass(frozen=True)
class Page:
    """A page or a part of one. ``pixels`` uint8 [side, side, 3]; ``box`` of the print that shows."""

    pixels: Pixels
    box: Box
    facts: PageFacts


def _print(rng: np.random.Generator, side: int, size: int, columns: int, heading: bool, angle: float) -> Image.Image:
    """The ink of a page as a mask "L"."""
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    spacing = int(size * rng.uniform(0.2, 0.6))
    left, top = rng.uniform(-0.04, 0.12) * side, rng.uniform(-0.05, 0.12) * side
    if heading:
        top = max(top, 0.03 * side)
        large = int(min(max(1.8 * size, 0.09 * side), 0.17 * side))
        words = lines(rng, 1, 2).upper()
        draw.text((max(left, 2), top), words, fill=255, font=_font(large), stroke_width=1)
        top += 1.5 * large
    column = (side - left) / columns if columns > 1 else side * rng.uniform(0.9, 1.3)
    gap = 0.07 * side if columns > 1 else 0.0
    font = _font(size)
    rows = int((side - top) * rng.uniform(0.7, 1.1) / (size + spacing)) + 1
    for number in range(columns):
        block = Image.new("L", (max(int(column - gap), 1), side))
        words = lines(rng, rows, int(column / (size * 2.2)) + 1)
        ImageDraw.Draw(block).multiline_text((0, 0), words, fill=255, font=font, spacing=spacing)
        mask.paste(block, (int(left + number * column), int(top)), block)
    return mask.rotate(angle, Image.Resampling.BILINEAR) if angle else mask


def page(rng: np.random.Generator, side: int) -> Page:
    """A page: its paper, ink, size of print, columns, heading and tilt vary independently."""
    paper = str(rng.choice(_PAPERS))
    dark = paper == "black"
    tone = 0.0 if dark or paper == "white" else rng.uniform(0.3, 0.5)
    sheet = (1 - tone) * jitter(rng, paper) + tone * 250
    contrasting = [name for name in _INKS if _luma(sheet) - _luma(np.array(COLOURS[name])) > _LEAST_CONTRAST]
    inks = [name for name in (_INKS_ON_DARK if dark else contrasting) if name != paper]
    ink = str(rng.choice(inks))
    columns = int(rng.choice([1, 2], p=[0.65, 0.35]))
    size = "" if columns > 1 and rng.random() < 0.4 else str(rng.choice(["small", "", "large"]))
    share = {"small": (0.035, 0.05), "": (0.06, 0.075), "large": (0.095, 0.13)}[size]
    heading, tilted = bool(rng.random() < 0.35), bool(rng.random() < 0.35)
    angle = float(rng.choice([-1, 1])) * rng.uniform(6, 18) if tilted else 0.0
    mask = _print(rng, side, max(int(side * rng.uniform(*share)), 6), columns, heading, angle)
    pigment = jitter(rng, ink) * (1.0 if dark else 0.75)
    cover = np.asarray(mask, np.float64)[..., None] / 255
    shade = np.linspace(rng.uniform(0.85, 1), 1, side)
    pixels = (sheet * (1 - cover) + pigment * cover) * (
        shade[:, None, None] if rng.random() < 0.5 else shade[None, :, None]
    )
    box = visible_box(np.asarray(mask) > _SHOWS) or (0.0, 0.0, float(side), float(side))
    return Page(pixels.clip(0, 255).astype(np.uint8), box, PageFacts(paper, ink, size, columns, heading, tilted))
