"""Backgrounds: plain, graded, patterned, boards, noise, heaps of flat shapes, and crops of photographs that packages
carry; and the patterns on the surfaces of solids."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

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
SURFACES = (*TEXTURES, "wooden", "marbled")
UNSEEN_SURFACES = ("zigzag", "crossed")  # for evaluation: no training draws them


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
    image = Image.fromarray(picture)
    if rng.random() < 0.3:
        angle = rng.uniform(-8, 8)
        inner = span / (np.cos(np.radians(angle)) + abs(np.sin(np.radians(angle))))  # stays within the span, turned
        cos, sin = inner / side * np.cos(np.radians(angle)), inner / side * np.sin(np.radians(angle))
        x, y = left + span / 2 - (cos - sin) * side / 2, top + span / 2 - (sin + cos) * side / 2
        turned = (cos, -sin, x, sin, cos, y)
        square = image.transform((side, side), Image.Transform.AFFINE, turned, Image.Resampling.BILINEAR)
    else:
        square = image.resize((side, side), Image.Resampling.BILINEAR, (left, top, left + span, top + span))
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


def _field(rng: np.random.Generator, side: int, octaves: int = 6, roughness: float = 0.5) -> NDArray[np.float32]:
    """Smooth noise float32 [side, side] in 0..1: value noise summed over octaves."""
    field = np.zeros((side, side), np.float32)
    for octave in range(octaves):
        cells = 2 ** (octave + 1) + 1
        layer = Image.fromarray(rng.random((cells, cells), np.float32))
        field += roughness**octave * np.asarray(layer.resize((side, side), Image.Resampling.BICUBIC))
    field -= field.min()
    field /= field.max() + np.float32(1e-6)
    return field


def noise(rng: np.random.Generator, side: int, colours: int = 3) -> Pixels:
    """Smooth noise over several octaves that runs through a few random colours."""
    field = _field(rng, side, roughness=rng.uniform(0.35, 0.75))
    stops = np.stack([jitter(rng, random_colour(rng)) for _ in range(colours)])
    at = np.linspace(0, 1, colours)
    return np.stack([np.interp(field, at, stops[:, channel]) for channel in range(3)], axis=-1).astype(np.uint8)


def _grain(rng: np.random.Generator, side: int, rings: float) -> NDArray[np.float32]:
    """How dark the wood of one board is, float32 [side, side] in 0..1: year rings cut lengthways, and fibres."""
    across = np.linspace(0, rings, side, dtype=np.float32)[None, :] + 1.5 * _field(rng, side, 2)
    fibres = Image.fromarray(rng.random((max(side // 16, 2), side), np.float32))
    fine = np.asarray(fibres.resize((side, side), Image.Resampling.BILINEAR))
    return (0.75 * (across % 1) ** 2 + 0.25 * fine).astype(np.float32)


def surface(rng: np.random.Generator, name: str) -> Pixels:
    """A pattern out of SURFACES or UNSEEN_SURFACES for the surface of a solid, uint8 [64, 64, 3]: darker on white, to
    be multiplied with its colour."""
    darkest = rng.uniform(20, 90)
    if name in TEXTURES:
        return texture(rng, name, 64, np.full(3, 255.0), np.full(3, darkest))
    if name == "wooden":
        dark = _grain(rng, 64, rng.uniform(4, 6))
    elif name in UNSEEN_SURFACES:
        y, x = np.mgrid[0:64, 0:64] / 64
        repeats = int(rng.integers(2, 5))
        zigzag = (y * repeats + 0.5 * np.abs(2 * (x * repeats % 1) - 1)) % 1 < 0.4
        crossed = np.minimum((x + y) * repeats % 1, (x - y) * repeats % 1) < 0.2
        dark = (zigzag if name == "zigzag" else crossed).astype(float)
    else:
        vein = np.abs(_field(rng, 64, 5, 0.55) - 0.5) + 0.25 * np.abs(_field(rng, 64, 5, 0.6) - 0.5)
        dark = np.clip(1 - vein / 0.14, 0, 1)
    return np.repeat((255 - (255 - darkest) * dark)[..., None], 3, axis=2).astype(np.uint8)


def boards(rng: np.random.Generator, side: int) -> Pixels:
    """A brown floor of boards that lie side by side."""
    count = int(rng.integers(3, 7))
    light = jitter(rng, "brown") + rng.uniform(35, 75)
    dark = 1 - 0.45 * _grain(rng, side, rng.uniform(2.5, 4) * count)
    board = np.arange(side) * count // side
    dark *= rng.uniform(0.8, 1.0, count).astype(np.float32)[board]
    dark[:, np.flatnonzero(np.diff(board))] *= 0.45
    pixels = (dark[..., None] * light).clip(0, 255).astype(np.uint8)
    return pixels if rng.random() < 0.5 else pixels.transpose(1, 0, 2)


def _filling(rng: np.random.Generator, side: int) -> Image.Image:
    """Something to cut flat shapes out of: noise, a crop of a photograph or a linear gradient between two colours."""
    kind = rng.random()
    if kind < 0.3:
        return Image.fromarray(noise(rng, side, 2))
    if kind < 0.65:
        return Image.fromarray(crop(rng, photograph(sorted(PHOTOGRAPHS)[int(rng.integers(len(PHOTOGRAPHS)))]), side))
    ends = np.stack([jitter(rng, random_colour(rng), 40) for _ in range(2)])
    t = np.linspace(0, 1, side)[:, None]
    row = np.broadcast_to((1 - t) * ends[0] + t * ends[1], (side, side, 3))
    return Image.fromarray((row if rng.random() < 0.5 else row.transpose(1, 0, 2)).astype(np.uint8))


def heap(rng: np.random.Generator, side: int) -> Pixels:
    """Dead leaves: flat shapes, outlines and lines on top of each other, their sizes by a power law as in photographs
    (Lee, Mumford and Huang, 2001). Edges, colours and textures, but nothing shaded like a solid."""
    image = _filling(rng, side)
    draw = ImageDraw.Draw(image)
    fillings = [_filling(rng, side) for _ in range(3)]
    count = int(rng.integers(12, 70))
    sizes = np.sort(np.minimum(0.04 * (1 - rng.random(count)) ** -0.6, 0.45))[::-1] * side
    for size in sizes.tolist():
        fill = tuple(jitter(rng, random_colour(rng), 40).astype(int).tolist())
        x, y = rng.uniform(-0.1, 1.1, 2) * side
        w, h = size * rng.uniform(0.4, 1, 2)
        kind = int(rng.choice(6, p=[0.22, 0.22, 0.24, 0.12, 0.08, 0.12]))
        frame = (x - w, y - h, x + w, y + h)
        if kind == 0:
            draw.ellipse(frame, fill=fill)
        elif kind in (1, 2):
            number = 4 if kind == 1 else int(rng.integers(3, 7))
            turn = np.sort(rng.uniform(0, 2 * np.pi, number))
            if kind == 1:
                turn = rng.choice([0, rng.uniform(0, np.pi)]) + np.pi / 4 + np.arange(4) * np.pi / 2
            corners = [(x + 1.4 * w * np.cos(t), y + 1.4 * h * np.sin(t)) for t in turn]
            if rng.random() < 0.4:
                mask = Image.new("1", image.size)
                ImageDraw.Draw(mask).polygon(corners, fill=1)
                image.paste(fillings[int(rng.integers(3))], mask=mask)
            else:
                draw.polygon(corners, fill=fill)
        elif kind == 3:
            draw.ellipse(frame, outline=fill, width=int(rng.integers(1, 3)))
        elif kind == 4:
            draw.rectangle(frame, outline=fill, width=int(rng.integers(1, 3)))
        else:
            end = (x + 3 * rng.normal() * w, y + 3 * rng.normal() * h)
            draw.line((x, y, *end), fill=fill, width=int(rng.integers(1, 6)))
    if rng.random() < 0.2:
        image = image.filter(ImageFilter.GaussianBlur(side * rng.uniform(0.004, 0.015)))
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
    """A background uint8 [side, side, 3] and phrases that say what it is.

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
    if kind < 0.63:
        return boards(rng, side), ("on a wooden floor", "on wood", "on wooden boards")
    if kind < 0.7:
        return noise(rng, side), ("on a cloudy background", "on a marbled background")
    if kind < 0.78:
        return heap(rng, side), ("in a heap of flat shapes", "on a cluttered background")
    if photographs is not None:
        chosen = sorted(photographs)[int(rng.integers(len(photographs)))]
        return crop(rng, photographs[chosen], side), ("on a photograph",)
    chosen = sorted(PHOTOGRAPHS)[int(rng.integers(len(PHOTOGRAPHS)))]
    what = PHOTOGRAPHS[chosen][1]
    return crop(rng, photograph(chosen), side), (f"in front of {what}", f"on {what}", "on a photograph")
