"""The typography of memes: words set over a picture, or in a bar beside it, by somebody who was not there."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from serve_app.models.embedded.print_text import WORDS
from serve_app.models.memes.lettering import FACES, HEAVY, Style, fitted, wrapped
from serve_app.models.memes.scenery import Pixels

Box = tuple[int, int, int, int]
Ink = tuple[int, int, int]
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
_BRIGHT = ((255, 255, 255), (255, 255, 255), (255, 255, 255), (255, 240, 60), (255, 90, 80), (140, 255, 120))


def _words(rng: np.random.Generator, count: int) -> list[str]:
    return [str(word) for word in rng.choice(WORDS, count)]


def _overlay(image: Image.Image, masks: tuple[Image.Image, Image.Image], at: tuple[int, int], ink: Ink) -> Box:
    """Set the words with their outline (black, but white round dark ink) at the corner ``at``; where they stand."""
    edge = BLACK if sum(ink) > 200 else WHITE
    image.paste(edge, at, masks[1])
    image.paste(ink, at, masks[0])
    return at[0], at[1], at[0] + masks[1].width, at[1] + masks[1].height


def macro(rng: np.random.Generator, image: Image.Image) -> list[Box]:
    """The image macro: heavy outlined capitals above, below or both, in the middle."""
    side = image.width
    face = str(rng.choice(HEAVY))
    ink = WHITE if rng.random() < 0.9 else _BRIGHT[int(rng.integers(len(_BRIGHT)))]
    stretch = float(rng.uniform(0.6, 1.15))
    upper = rng.random() < 0.9
    margin = int(side * rng.uniform(0.0, 0.06))
    ends = [("top", "bottom"), ("top",), ("bottom",)][int(rng.choice(3, p=[0.7, 0.12, 0.18]))]
    boxes = []
    for end in ends:
        lines = int(rng.choice([1, 1, 2, 3]))
        text = wrapped(_words(rng, lines * int(rng.integers(1, 6))), lines)
        size = int(side * rng.uniform(0.08, 0.17))
        style = Style(face, size, max(1, round(size * rng.uniform(0.04, 0.12))), stretch)
        masks = fitted(text.upper() if upper else text, style, int(side * 0.95), int(side * 0.32))
        x = (side - masks[1].width) // 2
        y = margin if end == "top" else image.height - margin - masks[1].height
        boxes.append(_overlay(image, masks, (x, y), ink))
    return boxes


def labels(rng: np.random.Generator, image: Image.Image) -> list[Box]:
    """Short words set over what is seen, level, with an outline or a shadow, anywhere."""
    side = image.width
    face, stretch = str(rng.choice((*HEAVY, "500"))), float(rng.uniform(0.7, 1.15))
    upper, shadow = rng.random() < 0.5, rng.random() < 0.25
    boxes: list[Box] = []
    for _ in range(int(rng.integers(2, 5))):
        lines = int(rng.choice([1, 1, 2]))
        text = wrapped(_words(rng, lines * int(rng.integers(1, 3))), lines)
        size = int(side * rng.uniform(0.06, 0.12))
        style = Style(face, size, max(1, round(size * rng.uniform(0.05, 0.14))), stretch)
        ink, edge = fitted(text.upper() if upper else text, style, int(side * 0.6), int(side * 0.3))
        at = (int(rng.integers(0, max(1, side - edge.width))), int(rng.integers(0, max(1, side - edge.height))))
        if any(_meet(at, edge.size, box) for box in boxes):
            continue
        if shadow:
            edge = edge.filter(ImageFilter.GaussianBlur(1.2))
        boxes.append(_overlay(image, (ink, edge), at, _BRIGHT[int(rng.integers(len(_BRIGHT)))]))
    return boxes


def _meet(at: tuple[int, int], size: tuple[int, int], box: Box) -> bool:
    return at[0] < box[2] and box[0] < at[0] + size[0] and at[1] < box[3] and box[1] < at[1] + size[1]


def bar(rng: np.random.Generator, image: Image.Image) -> list[Box]:
    """The modern caption: a sentence in a white (seldom black) bar above or below the picture, which gives way."""
    side = image.width
    paper, ink = (WHITE, BLACK) if rng.random() < 0.8 else (BLACK, WHITE)
    align = str(rng.choice(["left", "center"]))
    lines = int(rng.integers(1, 4))
    text = wrapped(_words(rng, lines * int(rng.integers(3, 8))), lines)
    style = Style(str(rng.choice(FACES)), int(side * rng.uniform(0.055, 0.11)), 0, rng.uniform(0.8, 1.05), align)
    masks = fitted(text.capitalize() if rng.random() < 0.7 else text, style, int(side * 0.94), int(side * 0.3))
    pad = int(side * rng.uniform(0.015, 0.05))
    height = masks[1].height + 2 * pad
    above = rng.random() < 0.85
    picture = image.resize((side, image.height - height), Image.Resampling.BILINEAR)
    image.paste(paper, (0, 0, *image.size))
    image.paste(picture, (0, height if above else 0))
    x = pad if align == "left" else (side - masks[1].width) // 2
    y = pad if above else image.height - height + pad
    image.paste(ink, (x, y), masks[0])
    return [(x, y, x + masks[1].width, y + masks[1].height)]


def poster(rng: np.random.Generator, image: Image.Image) -> list[Box]:
    """The mock poster: a picture in a wide black frame, a title below it in capitals, a smaller line under that."""
    side = image.width
    margin, foot = int(side * rng.uniform(0.05, 0.1)), int(side * rng.uniform(0.2, 0.3))
    picture = image.resize((side - 2 * margin, image.height - margin - foot), Image.Resampling.BILINEAR)
    image.paste(BLACK, (0, 0, *image.size))
    image.paste(WHITE, (margin - 3, margin - 3, side - margin + 3, image.height - foot + 3))
    image.paste(picture, (margin, margin))
    face = str(rng.choice(FACES))
    top = image.height - foot + 3 + int(0.02 * side)
    boxes = []
    for share, words, upper in ((0.5, 1, True), (0.25, 5, False)):
        text = " ".join(_words(rng, int(words + rng.integers(0, 3))))
        style = Style(face, int(foot * share), 0, rng.uniform(0.85, 1.2))
        ink, _ = fitted(text.upper() if upper else text, style, side - 2 * margin, int(foot * share))
        at = ((side - ink.width) // 2, top)
        image.paste(WHITE, at, ink)
        boxes.append((at[0], at[1], at[0] + ink.width, at[1] + ink.height))
        top += ink.height + int(0.03 * side)
    return boxes


def caption(rng: np.random.Generator, pixels: Pixels) -> tuple[Pixels, list[Box]]:
    """Make a meme of a picture uint8 [side, side, 3]; the boxes of its words, x1, y1, x2, y2 in pixels."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    style = (macro, bar, labels, poster)[int(rng.choice(4, p=[0.58, 0.2, 0.14, 0.08]))]
    boxes = style(rng, image)
    width, height = image.size
    inside = [(max(0, a), max(0, b), min(width, c), min(height, d)) for a, b, c, d in boxes]
    return np.asarray(image), [box for box in inside if box[0] < box[2] and box[1] < box[3]]
