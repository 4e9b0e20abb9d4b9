"""Backgrounds: plain, graded, patterned, noise, heaps of flat shapes, and crops of photographs that packages carry."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from serve_app.models.embedded.words import COLOURS, colour_word

Pixels = NDArray[np.uint8]

# Photographs carried by scikit-image and scikit-learn, with what they show. The eight of the retrieval example
# (astronaut, camera, chelsea, coffee, horse, motorcycle, page, rocket) are never trained on: they evaluate.
PHOTOGRAPHS: dict[str, tuple[str, str]] = {
    "brick": ("skimage.data:brick.png", "a brick wall"),
    "grass": ("skimage.data:grass.png", "grass"),
    "gravel": ("skimage.data:gravel.png", "gravel"),
    "coins": ("skimage.data:coins.png", "old coins"),
    "moon": ("skimage.data:moon.png", "the moon"),
    "hubble": ("skimage.data:hubble_deep_field.jpg", "stars and galaxies"),
    "ihc": ("skimage.data:ihc.png", "stained cells under a microscope"),
    "retina": ("skimage.data:retina.jpg", "the retina of an eye"),
    "china": ("sklearn.datasets:images/china.jpg", "a temple"),
    "flower": ("sklearn.datasets:images/flower.jpg", "a flower"),
}
TEXTURES = ("striped", "checkered", "spotted")


@lru_cache(maxsize=32)
def photograph(name: str) -> Pixels:
    """A photograph by its name in :data:`PHOTOGRAPHS`, uint8 [H, W, 3], at most 800 pixels a side."""
    package, path = PHOTOGRAPHS[name][0].split(":")
    with (files(package) / path).open("rb") as stream:
        picture = Image.open(stream).convert("RGB")
    picture.thumbnail((800, 800))
    return np.asarray(picture)


def jitter(rng: np.random.Generator, colour: str, spread: float = 18.0) -> NDArray[np.float64]:
    """The colour's RGB in 0..255 with a random deviation that leaves its name true."""
    scale = spread * (0.4 if colour in ("black", "white", "grey", "brown") else 1.0)
    shift = rng.normal(0, scale * 0.3) if colour in ("black", "white", "grey") else rng.normal(0, scale * 0.5, 3)
    return np.clip(np.array(COLOURS[colour]) + shift + rng.normal(0, scale * 0.5), 0, 255)


def random_colour(rng: np.random.Generator, without: tuple[str, ...] = ()) -> str:
    names = [name for name in COLOURS if name not in without]
    return names[int(rng.integers(len(names)))]


def crop(rng: np.random.Generator, picture: Pixels, side: int, least: float = 0.35) -> Pixels:
    """A random square of the picture at ``side``, at least ``least`` of its shorter side wide, perhaps mirrored."""
    height, width = picture.shape[:2]
    span = int(min(height, width) * rng.uniform(least, 1.0))
    top, left = int(rng.integers(height - span + 1)), int(rng.integers(width - span + 1))
    square = Image.fromarray(picture).resize(
        (side, side), Image.Resampling.BILINEAR, (left, top, left + span, top + span)
    )
    pixels = np.asarray(square)
    return pixels[:, ::-1] if rng.random() < 0.5 else pixels


def texture(
    rng: np.random.Generator, name: str, side: int, first: NDArray[np.float64], second: NDArray[np.float64]
) -> Pixels:
    """A pattern of two colours, uint8 [side, side, 3]."""
    y, x = np.mgrid[0:side, 0:side] / side
    repeats = int(rng.integers(2, 5)) if side <= 64 else int(rng.integers(3, 9))
    if name == "striped":
        angle = float(rng.choice([0.0, np.pi / 2])) if side <= 64 else rng.uniform(0, np.pi)
        where = np.sin(2 * np.pi * repeats * (np.cos(angle) * x + np.sin(angle) * y)) > 0
    elif name == "checkered":
        where = (np.floor(2 * repeats * x) + np.floor(2 * repeats * y)) % 2 > 0
    else:
        where = (repeats * x % 1 - 0.5) ** 2 + (repeats * y % 1 - 0.5) ** 2 < 0.09
    return np.where(where[..., None], second, first).astype(np.uint8)


def noise(rng: np.random.Generator, side: int, colours: int = 3) -> Pixels:
    """Smooth noise over several octaves that runs through a few random colours."""
    field = np.zeros((side, side), np.float32)
    roughness = rng.uniform(0.35, 0.75)
    for octave in range(6):
        cells = 2 ** (octave + 1) + 1
        layer = Image.fromarray(rng.random((cells, cells)).astype(np.float32))
        field += roughness**octave * np.asarray(layer.resize((side, side), Image.Resampling.BICUBIC))
    field = (field - field.min()) / (np.ptp(field) + 1e-6)
    stops = np.stack([jitter(rng, random_colour(rng)) for _ in range(colours)])
    at = np.linspace(0, 1, colours)
    return np.stack([np.interp(field, at, stops[:, channel]) for channel in range(3)], axis=-1).astype(np.uint8)


def heap(rng: np.random.Generator, side: int) -> Pixels:
    """Flat ellipses, rectangles, polygons and lines on top of each other: edges and colours, but no solid."""
    image = (
        Image.fromarray(noise(rng, side, 2))
        if rng.random() < 0.5
        else Image.new("RGB", (side, side), tuple(map(int, jitter(rng, random_colour(rng)))))
    )
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(4, 30))):
        fill = tuple(map(int, jitter(rng, random_colour(rng), 40)))
        x, y = rng.uniform(-0.1, 1.1, 2) * side
        w, h = rng.lognormal(-2.0, 0.7, 2) * side
        kind = int(rng.integers(4))
        if kind == 0:
            draw.ellipse((x - w, y - h, x + w, y + h), fill=fill)
        elif kind == 1:
            draw.rectangle((x - w, y - h, x + w, y + h), fill=fill)
        elif kind == 2:
            turn = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
            draw.polygon([(x + 1.4 * w * np.cos(t), y + 1.4 * h * np.sin(t)) for t in turn], fill=fill)
        else:
            draw.line(
                (x, y, x + 4 * rng.normal() * w, y + 4 * rng.normal() * h), fill=fill, width=int(rng.integers(1, 6))
            )
    return np.asarray(image)


def _graded(rng: np.random.Generator, side: int) -> tuple[Pixels, tuple[str, ...]]:
    above = random_colour(rng)
    below = random_colour(rng, (above,))
    t = np.linspace(0, 1, side)[:, None, None]
    if rng.random() < 0.5:  # a horizon instead of a gradient
        t = 1 / (1 + np.exp(-(t - rng.uniform(0.35, 0.65)) * 60))
    pixels = (1 - t) * jitter(rng, above) + t * jitter(rng, below)
    one, two = colour_word(rng, above), colour_word(rng, below)
    words = (
        f"on a background that is {one} above and {two} below",
        f"in front of {one} over {two}",
        f"against {one} and {two}",
    )
    return np.broadcast_to(pixels, (side, side, 3)).astype(np.uint8), words


def background(
    rng: np.random.Generator, side: int, photographs: dict[str, Pixels] | None = None
) -> tuple[Pixels, tuple[str, ...]]:
    """A background uint8 [side, side, 3] and phrases that say what it is (none for heaps and noise).

    With ``photographs`` every background is a crop of one of them, for evaluation on pictures held out.
    """
    kind = rng.random() if photographs is None else 1.0
    if kind < 0.28:
        name = random_colour(rng)
        word = colour_word(rng, name)
        pixels = np.broadcast_to(jitter(rng, name), (side, side, 3)).astype(np.uint8)
        return pixels, (f"on a {word} background", f"against a {word} background", f"on {word}")
    if kind < 0.42:
        return _graded(rng, side)
    if kind < 0.58:
        name = TEXTURES[int(rng.integers(3))]
        first = random_colour(rng)
        second = random_colour(rng, (first,))
        pixels = texture(rng, name, side, jitter(rng, first), jitter(rng, second))
        pair = f"{colour_word(rng, first)} and {colour_word(rng, second)}"
        return pixels, (f"on a {name} background", f"on a {pair} {name} background", f"on a {name} surface")
    if kind < 0.68:
        return noise(rng, side), ("on a cloudy background", "on a marbled background")
    if kind < 0.78:
        return heap(rng, side), ("in a heap of flat shapes", "on a cluttered background")
    if photographs is not None:
        chosen = sorted(photographs)[int(rng.integers(len(photographs)))]
        return crop(rng, photographs[chosen], side), ("on a photograph",)
    chosen = sorted(PHOTOGRAPHS)[int(rng.integers(len(PHOTOGRAPHS)))]
    what = PHOTOGRAPHS[chosen][1]
    return crop(rng, photograph(chosen), side), (f"in front of {what}", f"on {what}", "on a photograph")
