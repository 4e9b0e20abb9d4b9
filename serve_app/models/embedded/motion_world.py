"""What the camera of a generated clip may look at: pictures to stand behind, and sprites to stand in front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from serve_app.models.embedded.backgrounds import (
    SURFACES,
    UNSEEN_SURFACES,
    Pixels,
    crop,
    jitter,
    random_colour,
    surface,
)
from serve_app.models.embedded.held_out import CALIBRATION, TEST, WORLD, chosen
from serve_app.models.embedded.rendering import FINISHES, Light, Solid, renderer
from serve_app.models.embedded.solids import EVERYDAY, SOLIDS

SIDE = 192  # of the pictures behind, in pixels
SPRITE = 32  # of the sprites
_BUSY = 6.0  # the least deviation, of 255, of a cell whose motion can be seen
_TURNED = 14.0  # the least mean difference, of 255, to itself turned, of a sprite whose rotation can be seen
_CELLS = 6
CUTS = ("ellipse", "box", "polygon", "blob")
UNSEEN_CUTS = ("star", "ring", "corner")  # for evaluation: no training draws them


@dataclass(frozen=True)
class World:
    """``pictures`` uint8 [N, SIDE, SIDE, 3] and ``sprites`` uint8 [M, SPRITE, SPRITE, 4], premultiplied RGBA.

    ``busy`` are the numbers of the pictures that show nearly everywhere that they move, and ``turnable`` those of the
    sprites that show that they turn.
    """

    pictures: Pixels
    sprites: Pixels
    busy: NDArray[np.int64]
    turnable: NDArray[np.int64]


def busy_share(pictures: Pixels) -> NDArray[np.float64]:
    """The share of the 6 x 6 cells of each picture uint8 [N, S, S, 3] that are not plain."""
    count, side = pictures.shape[:2]
    cell = side // _CELLS
    grey = pictures[:, : cell * _CELLS, : cell * _CELLS].mean(axis=3).reshape(count, _CELLS, cell, _CELLS, cell)
    return np.asarray((grey.std(axis=(2, 4)) > _BUSY).mean(axis=(1, 2)))


def _world(pictures: Pixels, sprites: Pixels, least_busy: float = 0.6) -> World:
    busy = np.flatnonzero(busy_share(pictures) >= least_busy)
    turned = [np.rot90(sprites, turns, (1, 2)).astype(np.int16) for turns in (1, 2)]
    differ = np.min([np.abs(one - sprites).mean(axis=(1, 2, 3)) for one in turned], axis=0)
    turnable = np.flatnonzero(differ > _TURNED)
    every = np.arange(len(pictures)), np.arange(len(sprites))
    return World(pictures, sprites, busy if len(busy) else every[0], turnable if len(turnable) else every[1])


def _tight(lit: NDArray[np.float32]) -> Pixels:
    """The drawn part of RGBA float32 [S, S, 4] as a sprite, its centre kept and its longer side filling it."""
    rows, columns = (np.flatnonzero((lit[..., 3] > 0.5).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return np.zeros((SPRITE, SPRITE, 4), np.uint8)
    side = int(max(np.ptp(rows), np.ptp(columns))) + 3
    left, top = (int(line[0] + line[-1] + 1 - side) // 2 for line in (columns, rows))
    whole = np.concatenate([lit[..., :3], 255 * lit[..., 3:]], axis=2).clip(0, 255).astype(np.uint8)
    padded = np.pad(whole, ((side, side), (side, side), (0, 0)))
    square = padded[top + side : top + 2 * side, left + side : left + 2 * side]
    return np.asarray(Image.fromarray(square, "RGBX").resize((SPRITE, SPRITE), Image.Resampling.BOX))


def _solid(rng: np.random.Generator, shape: str, surfaces: Sequence[str]) -> Pixels:
    pattern = surface(rng, surfaces[int(rng.integers(len(surfaces)))]) if rng.random() < 0.6 else None
    finish = "matte" if pattern is not None or rng.random() < 0.7 else FINISHES[int(rng.integers(len(FINISHES)))]
    colour = jitter(rng, random_colour(rng)) / 255
    turn = (rng.uniform(0, 360), rng.uniform(-35, 35), rng.uniform(-35, 35))
    solid = Solid(shape, tuple(colour), 0.5, 0.5, 0.3, 6.0, rng.uniform(5, 40), turn, pattern, finish)
    light = Light(rng.uniform(-70, 70), rng.uniform(-55, -25), rng.uniform(0.55, 0.65), rng.uniform(0.42, 0.5))
    return _tight(renderer(2 * SPRITE).render([solid], light)[0])


def _outline(rng: np.random.Generator, cut: str) -> NDArray[np.float64]:
    """Corners [K, 2] of a cut in -1..1; a ring is told by its hole, which the caller draws."""
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    if cut == "polygon":
        angle = np.sort(rng.uniform(0, 2 * np.pi) + (np.arange(count := int(rng.integers(3, 7))) * 2 * np.pi / count))
    radius = np.ones_like(angle)
    if cut == "blob":
        waves = [rng.uniform(0, 0.3 / n) * np.cos(n * angle + rng.uniform(0, 7)) for n in range(1, 6)]
        radius = 1 + np.sum(waves, axis=0)
        radius /= radius.max()
    if cut == "star":
        angle = np.linspace(0, 2 * np.pi, 2 * int(rng.integers(4, 7)), endpoint=False)
        radius = np.where(np.arange(len(angle)) % 2, rng.uniform(0.35, 0.6), 1.0)
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    if cut == "box":
        points = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float) * 0.95
    if cut == "corner":
        points = np.array([(-1, -1), (0.1, -1), (0.1, 0.1), (1, 0.1), (1, 1), (-1, 1)]) * 0.95
    return np.asarray(points * np.array([1.0, 1.0 if cut in UNSEEN_CUTS else rng.uniform(0.45, 1)]))


def _cut(rng: np.random.Generator, cut: str, picture: Pixels) -> Pixels:
    """A cut-out of a crop of ``picture``."""
    large = 4 * SPRITE
    mask = Image.new("L", (large, large))
    points = (_outline(rng, cut) * 0.48 + 0.5) * large
    ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in points], fill=255)
    if cut == "ring":
        ImageDraw.Draw(mask).ellipse((0.3 * large, 0.4 * large, 0.65 * large, 0.75 * large), fill=0)
    alpha = np.asarray(mask.resize((SPRITE, SPRITE), Image.Resampling.BOX), np.float32)[..., None]
    colours = crop(rng, picture, SPRITE, 0.1).astype(np.float32)
    contrast = rng.uniform(1, 1.8)
    colours = ((colours - colours.mean()) * contrast + colours.mean() + rng.normal(0, 25, 3)).clip(0, 255)
    return np.concatenate([colours * alpha / 255, alpha], axis=2).astype(np.uint8)


def _sprites(
    rng: np.random.Generator, count: int, pictures: Pixels, shapes: Sequence[str], surfaces: Sequence[str],
    cuts: Sequence[str],
) -> Pixels:  # fmt: skip
    """``count`` sprites, half of them solids and half cut-outs of the pictures."""
    solids = [_solid(rng, shapes[number % len(shapes)], surfaces) for number in range(count // 2)]
    rest = [
        _cut(rng, cuts[number % len(cuts)], pictures[int(rng.integers(len(pictures)))])
        for number in range(count - count // 2)
    ]
    return np.stack(solids + rest)


def training_world(seed: int, pictures: Pixels, sprites: int) -> World:
    """The generated scenes ``pictures`` of a training, and so many sprites of solids and cut-outs of those scenes."""
    rng = np.random.default_rng([seed, 18])
    return _world(pictures, _sprites(rng, sprites, pictures, SOLIDS, SURFACES, CUTS))


def _over(rng: np.random.Generator, photographs: Sequence[Pixels], count: int) -> Pixels:
    """``count`` crops of the photographs in turn, the busiest of a few tries each."""
    found = []
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        tries = np.stack([crop(rng, photograph, SIDE, 0.5) for _ in range(3)])
        found.append(tries[int(busy_share(tries).argmax())])
    return np.stack(found)


def world_over(photographs: Sequence[Pixels], count: int = 120, half: int = 1, seed: int = WORLD) -> World:
    """A world over photographs, with things that no training draws: the everyday shapes of one ``half`` (0 or 1) of
    them, patterns and cuts unseen."""
    rng = np.random.default_rng([seed, half])
    pictures = _over(rng, photographs, count)
    return _world(pictures, _sprites(rng, count, pictures, EVERYDAY[half::2], UNSEEN_SURFACES, UNSEEN_CUTS))


def held_out_world() -> World:
    """Over the test photographs."""
    return world_over(list(chosen(TEST).values()), half=1)


def calibration_world() -> World:
    """Over the calibration photographs, with the other everyday shapes."""
    return world_over(list(chosen(CALIBRATION).values()), half=0)
