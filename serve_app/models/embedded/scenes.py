"""Seeded scenes: a picture, a caption that is true of it, and the boxes of what can be detected in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from serve_app.models.embedded.backgrounds import (
    PHOTOGRAPHS,
    TEXTURES,
    Pixels,
    background,
    crop,
    heap,
    jitter,
    noise,
    photograph,
    random_colour,
    texture,
)
from serve_app.models.embedded.impressions import impression
from serve_app.models.embedded.moods import MOODS, recolour, set_mood
from serve_app.models.embedded.print_text import page, place_text
from serve_app.models.embedded.rendering import SUPERSAMPLE, Light, Solid, renderer, visible_box
from serve_app.models.embedded.solids import SOLIDS
from serve_app.models.embedded.words import Facts, Group, caption

LABELS = (*SOLIDS, "text block")
REVISION = 1  # raised by every change that draws other scenes, so that none are mixed up on disk
_RADII = {"small": (0.065, 0.1), "medium": (0.115, 0.16), "large": (0.18, 0.27)}
_LEAST_VISIBLE = 0.45  # share of a solid's own pixels that must show for it to be mentioned and boxed

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Scene:
    """``pixels`` uint8 [side, side, 3]; ``captions`` are wordings of the same truth; ``boxes`` x1, y1, x2, y2
    in pixels with their ``labels`` out of LABELS;
    ``facts`` is None for pictures without a plan (photographs, pages)."""

    pixels: Pixels
    captions: tuple[str, ...]
    boxes: tuple[Box, ...]
    labels: tuple[str, ...]
    facts: Facts | None = None

    @property
    def caption(self) -> str:
        return self.captions[0]


@dataclass(frozen=True)
class Mix:
    """Shares of the kinds of scene; the rest are solids. With ``full`` the first of the ``wordings`` drops nothing."""

    photographs: float = 0.22
    pages: float = 0.05
    empty: float = 0.0
    moods: float = 0.35
    texts: float = 0.15
    full: bool = False
    wordings: int = 1


CLIP_MIX = Mix(wordings=3)
DETECTOR_MIX = Mix(photographs=0.12, pages=0.03, empty=0.05, moods=0.25, texts=0.35)


def _groups(rng: np.random.Generator) -> list[Group]:
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
        pattern = str(rng.choice(["plain", *TEXTURES], p=[0.7, 0.1, 0.1, 0.1]))
        taken = tuple(group.colour for group in groups)
        groups.append(Group(str(rng.choice(SOLIDS)), random_colour(rng, taken), size, pattern, count))
    return groups


def _solids(rng: np.random.Generator, groups: list[Group]) -> list[tuple[int, Solid]]:
    """Solids with the number of their group, placed so that they overlap little, without those that fit nowhere."""
    placed: list[tuple[int, Solid]] = []
    tilt = rng.uniform(12, 42)
    for number, group in enumerate(groups):
        surface = None
        if group.pattern != "plain":
            white = np.full(3, 255.0)
            dark = np.full(3, rng.uniform(20, 90))
            surface = texture(rng, group.pattern, 64, white, dark)
        for _ in range(group.count):
            radius = rng.uniform(*_RADII[group.size])
            for _ in range(25):
                x, y = rng.uniform(radius * 0.8, 1 - radius * 0.8, 2)
                if all(np.hypot(x - other.x, y - other.y) > 0.82 * (radius + other.radius) for _, other in placed):
                    break
            else:
                continue
            free = rng.random() < 0.25
            turn = (rng.uniform(0, 360), rng.uniform(-35, 35) if free else 0.0, rng.uniform(-35, 35) if free else 0.0)
            rgb = jitter(rng, group.colour) / 255
            lean = tilt + (20 if group.shape == "torus" else 0)
            placed.append(
                (number, Solid(group.shape, tuple(rgb), x, y, radius, rng.uniform(4.5, 9), lean, turn, surface))
            )
    return placed


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
    light = Light(rng.uniform(-70, 70), rng.uniform(-70, -15), rng.uniform(0.6, 0.9), rng.uniform(0.4, 0.6))
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


def _solid_scene(rng: np.random.Generator, side: int, mix: Mix, photographs: dict[str, Pixels] | None) -> Scene | None:
    groups = _groups(rng)
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
        if box is None or mask.sum() * scale**2 < _LEAST_VISIBLE * 1.4 * solid.radius**2:
            return None  # mostly hidden: draw another scene rather than say something doubtful
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
    relation = _relation(mine[0], mine[1]) if len(groups) > 1 else None
    if len(groups) == 1 and groups[0].count == 1:
        groups[0] = replace(groups[0], place=_place(mine[0][0]))
    facts = Facts(tuple(groups), relation, phrases, mood, text)
    wordings = tuple(caption(rng, facts, mix.full and not number) for number in range(mix.wordings))
    return Scene(pixels, wordings, tuple(boxes), tuple(labels), facts)


def _photograph(rng: np.random.Generator, side: int, mix: Mix, photographs: dict[str, Pixels] | None) -> Scene:
    """A crop of a photograph, or a stand-in for one, described by what can be computed from it."""
    kind, what = rng.random(), None
    if kind < 0.6:
        named = photographs is None
        names = sorted(PHOTOGRAPHS if photographs is None else photographs)
        name = names[int(rng.integers(len(names)))]
        pixels = crop(rng, photograph(name) if photographs is None else photographs[name], side, 0.2)
        what = PHOTOGRAPHS[name][1] if named and rng.random() < 0.5 else None
        pixels = recolour(rng, pixels) if rng.random() < 0.5 else pixels
    else:
        pixels = heap(rng, side) if kind < 0.85 else noise(rng, side, int(rng.integers(2, 5)))
    words = [impression(rng, pixels) for _ in range(mix.wordings)]
    return Scene(pixels, tuple(f"{what}, {said}" if what else said for said in words), (), ())


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
        pixels, box = page(rng, side)
        words = (
            "a page of text",
            "a printed page",
            "a page of a book",
            "a scan of a text",
            "text printed on paper",
            "a page of writing",
        )
        chosen = tuple(str(rng.choice(words)) for _ in range(mix.wordings))
        return Scene(pixels, chosen, (box,), ("text block",))
    if kind < mix.photographs + mix.pages + mix.empty:
        pixels, phrases = background(rng, side, photographs)
        printed = place_text(rng, pixels, np.zeros((side, side), bool)) if rng.random() < 0.5 else None
        if printed:
            return Scene(printed[0], ("printed text",), (printed[1],), ("text block",))
        return Scene(pixels, phrases[:1], (), ())
    while True:
        scene = _solid_scene(rng, side, mix, photographs)
        if scene is not None:
            return scene
