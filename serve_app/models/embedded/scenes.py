"""Seeded scenes: a picture, a caption that is true of it, and the boxes of what can be detected in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from serve_app.models.embedded.backgrounds import (
    PHOTOGRAPHS,
    SURFACES,
    Pixels,
    background,
    crop,
    heap,
    jitter,
    noise,
    photograph,
    random_colour,
    surface,
)
from serve_app.models.embedded.impressions import impression
from serve_app.models.embedded.moods import MOODS, recolour, set_mood
from serve_app.models.embedded.portraits import portrait
from serve_app.models.embedded.print_text import page, place_text
from serve_app.models.embedded.rendering import FINISHES, SUPERSAMPLE, Light, Solid, renderer, visible_box
from serve_app.models.embedded.solids import EVERYDAY, SOLIDS
from serve_app.models.embedded.words import COLOURLESS, Describable, Group, SceneFacts, names_colour

LABELS = (*SOLIDS, "text block")
REVISION = 2  # raised by every change that draws other scenes, so that none are mixed up on disk
_RADII = {"small": (0.065, 0.1), "medium": (0.115, 0.16), "large": (0.18, 0.27)}
_AREA = dict.fromkeys(SOLIDS, 1.4) | dict.fromkeys(EVERYDAY, 0.7)  # the least silhouettes, in squared radii
_LEAST_VISIBLE = 0.45  # share of its silhouette that must show for a solid to be mentioned and boxed
_LEAST_CONTRAST = 16.0  # mean difference, of 255, between a solid's pixels and what it hides
_TRIES = 1000  # a few are enough, but for backgrounds on which nothing shows

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Scene:
    """``pixels`` uint8 [side, side, 3]; ``captions`` are wordings of the same truth and ``wrong`` the same wordings
    with one thing changed (empty where nothing can be said); ``boxes`` x1, y1, x2, y2 in pixels with their ``labels``,
    the names of shapes or "text block"."""

    pixels: Pixels
    captions: tuple[str, ...]
    wrong: tuple[str, ...]
    boxes: tuple[Box, ...]
    labels: tuple[str, ...]
    facts: Describable

    @property
    def caption(self) -> str:
        return self.captions[0]


@dataclass(frozen=True)
class Mix:
    """Shares of the kinds of scene; the rest are solids, of whose groups ``everyday`` are everyday shapes, and half
    have a finish or one of the patterns ``surfaces``.

    With ``full`` the first of the ``wordings`` drops nothing.
    """

    photographs: float = 0.22
    pages: float = 0.05
    empty: float = 0.0
    moods: float = 0.35
    texts: float = 0.15
    everyday: float = 0.3
    surfaces: tuple[str, ...] = SURFACES
    full: bool = False
    wordings: int = 1
    portraits: float = 0.0
    """Of single meshes as the multi-view renderer draws them."""


CLIP_MIX = Mix(wordings=3)
DETECTOR_MIX = Mix(photographs=0.12, pages=0.03, empty=0.05, moods=0.25, texts=0.35, everyday=0.1)
MESHES_MIX = replace(DETECTOR_MIX, portraits=0.4)


def _groups(rng: np.random.Generator, mix: Mix) -> list[Group]:
    number = int(rng.choice([1, 2, 3], p=[0.5, 0.38, 0.12]))
    groups: list[Group] = []
    for _ in range(number):
        count = (
            int(rng.choice([1, 2, 3, 4], p=[0.6, 0.2, 0.12, 0.08]))
            if number == 1
            else int(rng.choice([1, 2, 3], p=[0.75, 0.18, 0.07]))
        )
        size = str(
            rng.choice(["small", "medium", "large"], p=[0.3, 0.4, 0.3] if number * count < 4 else [0.6, 0.4, 0.0])
        )
        special = rng.random() < 0.5
        surface = str(rng.choice([*mix.surfaces, *FINISHES])) if special else "plain"
        shape = str(rng.choice(EVERYDAY if rng.random() < mix.everyday else SOLIDS))
        taken = tuple(group.colour for group in groups)
        groups.append(Group(shape, random_colour(rng, taken), size, surface, count))
    return groups


def _solids(rng: np.random.Generator, groups: list[Group]) -> list[tuple[int, Solid]]:
    """Solids with the number of their group, placed so that they overlap little, without those that fit nowhere."""
    placed: list[tuple[int, Solid]] = []
    tilt = rng.uniform(12, 42)
    for number, group in enumerate(groups):
        texture = None if group.surface in ("plain", *FINISHES) else surface(rng, group.surface)
        finish = group.surface if group.surface in FINISHES else "matte"
        for _ in range(group.count):
            radius = rng.uniform(*_RADII[group.size])
            for _ in range(25):
                x, y = rng.uniform(radius * 0.8, 1 - radius * 0.8, 2)
                if all(np.hypot(x - other.x, y - other.y) > 0.82 * (radius + other.radius) for _, other in placed):
                    break
            else:
                continue
            lean, turn = _pose(rng, group.shape, tilt)
            rgb = jitter(rng, group.colour) / 255
            placed.append(
                (number, Solid(group.shape, tuple(rgb), x, y, radius, rng.uniform(4.5, 9), lean, turn, texture, finish))
            )
    return placed


def _pose(rng: np.random.Generator, shape: str, tilt: float) -> tuple[float, tuple[float, float, float]]:
    """How far a solid leans towards the viewer, and its turn, so that what it is can be seen."""
    heading = rng.uniform(0, 360)
    if shape in ("star", "heart"):  # from the side they are bars
        return rng.uniform(5, 25), (rng.uniform(-45, 45), 0.0, 0.0)
    if shape == "mug":  # the handle at one side
        return tilt, (rng.uniform(-60, 60) + 180 * int(rng.random() < 0.5), 0.0, 0.0)
    free = rng.random() < 0.25 and shape not in EVERYDAY
    pitch, roll = rng.uniform(-35, 35, 2) if free else (0.0, 0.0)
    return tilt + (20 if shape == "torus" else 0), (heading, float(pitch), float(roll))


def _relation(first: list[Box], second: list[Box]) -> str | None:
    """Which relation clearly holds between all of the first boxes and all of the second."""
    a, b = np.array(first), np.array(second)
    ax, ay, bx, by = (a[:, 0] + a[:, 2]) / 2, (a[:, 1] + a[:, 3]) / 2, (b[:, 0] + b[:, 2]) / 2, (b[:, 1] + b[:, 3]) / 2
    gaps = {
        "left of": bx.min() - ax.max(),
        "right of": ax.min() - bx.max(),
        "above": by.min() - ay.max(),
        "below": ay.min() - by.max(),
    }
    best = max(gaps, key=lambda name: float(gaps[name]))
    return best if gaps[best] > 0.12 else None


def _place(box: Box) -> str | None:
    x, y = (box[0] + box[2]) / 2 - 0.5, (box[1] + box[3]) / 2 - 0.5
    if max(abs(x), abs(y)) < 0.12:
        return "centre"
    if max(abs(x), abs(y)) < 0.18 or 0.66 < abs(x) / max(abs(y), 1e-6) < 1.5:
        return None
    return ("left" if x < 0 else "right") if abs(x) > abs(y) else ("top" if y < 0 else "bottom")


def _composite(rng: np.random.Generator, under: Pixels, solids: list[Solid]) -> tuple[Pixels, NDArray[np.uint8]]:
    light = Light(rng.uniform(-70, 70), rng.uniform(-55, -25), rng.uniform(0.55, 0.65), rng.uniform(0.42, 0.5))
    drawn, identity = renderer(under.shape[0]).render(solids, light)
    cover = drawn[..., 3:]
    canvas = under.astype(np.float32)
    if rng.random() < 0.5:
        shift = int(under.shape[0] * rng.uniform(0.01, 0.05))
        shade = np.roll(cover[..., 0], (shift, int(rng.integers(-shift, shift + 1))), (0, 1))
        shade[:shift] = 0  # what was rolled round the edge
        soft = Image.fromarray((shade * 255).astype(np.uint8)).filter(ImageFilter.BoxBlur(shift))
        canvas *= 1 - rng.uniform(0.2, 0.6) * np.asarray(soft)[..., None] / np.float32(255)
    return (drawn[..., :3] + canvas * (1 - cover)).clip(0, 255).astype(np.uint8), identity


def _scaled(box: Box, factor: float) -> Box:
    return box[0] * factor, box[1] * factor, box[2] * factor, box[3] * factor


def _worded(rng: np.random.Generator, facts: Describable, mix: Mix) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Captions of the facts, and each once more with one thing wrong."""
    right, wrong = [], []
    for number in range(mix.wordings):
        full, seed = mix.full and not number, int(rng.integers(2**32))
        said = facts.describe(np.random.default_rng(seed), full)
        right.append(said)
        for _ in range(8):  # what was altered may be among the parts left out
            false = facts.altered(rng).describe(np.random.default_rng(seed), full)
            if false != said:
                wrong.append(false)
                break
        else:
            wrong.append("")
    return tuple(right), tuple(wrong)


def _solid_scene(rng: np.random.Generator, side: int, mix: Mix, photographs: dict[str, Pixels] | None) -> Scene | None:
    groups = _groups(rng, mix)
    under, phrases = background(rng, side, photographs)
    owners, solids = zip(*_solids(rng, groups), strict=True)
    pixels, identity = _composite(rng, under, list(solids))
    scale = 1 / (side * SUPERSAMPLE)
    boxes: list[Box] = []
    labels: list[str] = []
    mine: dict[int, list[Box]] = {number: [] for number in range(len(groups))}
    for index, solid in enumerate(solids):
        mask = identity == index + 1
        box = visible_box(mask)
        if box is None or mask.sum() * scale**2 < _LEAST_VISIBLE * _AREA[solid.shape] * solid.radius**2:
            return None  # mostly hidden: draw another scene rather than say something doubtful
        shown = mask[::SUPERSAMPLE, ::SUPERSAMPLE]
        if np.abs(pixels[shown].astype(np.int16) - under[shown]).mean() < _LEAST_CONTRAST:
            return None  # nearly the colour of what lies behind it
        boxes.append(_scaled(box, 1 / SUPERSAMPLE))
        labels.append(solid.shape)
        mine[owners[index]].append(_scaled(box, scale))
    if any(len(mine[number]) != group.count for number, group in enumerate(groups)):
        return None
    text = None
    if rng.random() < mix.texts:
        printed = place_text(rng, pixels, identity[::SUPERSAMPLE, ::SUPERSAMPLE] > 0)
        if printed:
            pixels, where = printed
            boxes.append(where)
            labels.append("text block")
            text = _place(_scaled(where, 1 / side)) or ("top" if where[1] + where[3] < side else "bottom")
    mood = str(rng.choice(MOODS)) if rng.random() < mix.moods else None
    if mood:
        pixels = set_mood(rng, pixels, mood)
        phrases = phrases if mood not in COLOURLESS else tuple(words for words in phrases if not names_colour(words))
    relation = _relation(mine[0], mine[1]) if len(groups) > 1 else None
    if len(groups) == 1 and groups[0].count == 1:
        groups[0] = replace(groups[0], place=_place(mine[0][0]))
    shapes = (*SOLIDS, *EVERYDAY) if mix.everyday else SOLIDS
    facts = SceneFacts(tuple(groups), relation, phrases, mood, text, shapes)
    return Scene(pixels, *_worded(rng, facts, mix), tuple(boxes), tuple(labels), facts)


def _photograph(rng: np.random.Generator, side: int, mix: Mix, photographs: dict[str, Pixels] | None) -> Scene:
    """A crop of a photograph, or a stand-in for one, described by what can be computed from it."""
    kind, what = rng.random(), ""
    if kind < 0.6:
        named = photographs is None
        names = sorted(PHOTOGRAPHS if photographs is None else photographs)
        name = names[int(rng.integers(len(names)))]
        pixels = crop(rng, photograph(name) if photographs is None else photographs[name], side, 0.2)
        what = PHOTOGRAPHS[name][1] if named else ""
        pixels = recolour(rng, pixels) if rng.random() < 0.5 else pixels
    else:
        pixels = heap(rng, side) if kind < 0.85 else noise(rng, side, int(rng.integers(2, 5)))
    facts = impression(pixels, what)
    return Scene(pixels, *_worded(rng, facts, mix), (), (), facts)


def generate(
    seed: int, index: int, side: int, mix: Mix = CLIP_MIX, photographs: dict[str, Pixels] | None = None
) -> Scene:
    """Scene number ``index`` of the world ``seed``; the same arguments give the same scene.

    ``photographs`` stands in for the training photographs, for evaluation on backgrounds held out.
    """
    rng = np.random.default_rng([seed, index])
    kind = rng.random()
    if kind < mix.photographs:
        return _photograph(rng, side, mix, photographs)
    if kind < mix.photographs + mix.pages:
        sheet = page(rng, side)
        return Scene(sheet.pixels, *_worded(rng, sheet.facts, mix), (sheet.box,), ("text block",), sheet.facts)
    if kind < mix.photographs + mix.pages + mix.empty:
        pixels, _ = background(rng, side, photographs)
        printed = place_text(rng, pixels, np.zeros((side, side), bool)) if rng.random() < 0.5 else None
        pixels, boxes = (printed[0], (printed[1],)) if printed else (pixels, ())
        facts = impression(pixels)
        return Scene(pixels, *_worded(rng, facts, mix), boxes, ("text block",) * len(boxes), facts)
    if kind >= 1 - mix.portraits:
        one = portrait(rng, side)
        facts = impression(one.pixels)
        return Scene(one.pixels, *_worded(rng, facts, mix), (one.box,), (one.shape,), facts)
    for _ in range(_TRIES):
        scene = _solid_scene(rng, side, mix, photographs)
        if scene is not None:
            return scene
    raise RuntimeError(f"no clear scene in {_TRIES} tries: seed {seed}, scene {index}, side {side}")
