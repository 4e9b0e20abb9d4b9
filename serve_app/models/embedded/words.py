"""The vocabulary of the generated world: colours, synonyms, and the captions made of them.

What the pictures show and what the captions say come from the same tables, so that a caption is never wrong; parts of
it are dropped at random, so that the text tower meets free wording. Each kind of picture has its facts: what
``describe`` says of them is true, and what it says of the ``altered`` ones, with the same random numbers, is the same
sentence with one thing wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (205, 25, 25),
    "orange": (240, 125, 15),
    "yellow": (238, 215, 30),
    "green": (35, 150, 45),
    "turquoise": (35, 195, 190),
    "blue": (30, 60, 205),
    "purple": (125, 35, 165),
    "pink": (245, 130, 180),
    "brown": (115, 68, 30),
    "black": (26, 26, 28),
    "grey": (128, 128, 128),
    "white": (242, 242, 242),
}
COLOURLESS = ("black-and-white", "sepia")  # of the moods
_COLOUR_WORDS = {"grey": ("grey", "gray"), "turquoise": ("turquoise", "cyan"), "purple": ("purple", "violet")}
_SHAPE_WORDS = {
    "cube": ("cube", "cube", "box"),
    "sphere": ("sphere", "ball", "sphere"),
    "cylinder": ("cylinder", "cylinder", "can"),
    "torus": ("torus", "ring", "doughnut"),
    "mug": ("mug", "cup"),
}
_PLURALS = {"box": "boxes", "torus": "tori"}
_SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge"), "medium": ("", "medium-sized")}
_SURFACE_WORDS = {
    "striped": ("striped",),
    "checkered": ("checkered", "checked"),
    "spotted": ("spotted", "dotted"),
    "wooden": ("wooden",),
    "marbled": ("marbled", "marble"),
    "shiny": ("shiny", "glossy", "polished"),
    "metal": ("metal", "metallic"),
}
_NUMBERS = {1: ("a", "a", "one"), 2: ("two", "2", "a pair of"), 3: ("three", "3"), 4: ("four", "4")}
_RELATIONS = {
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "above": ("above", "over", "higher than"),
    "below": ("below", "under", "beneath"),
}
_SIDES = {
    "left of": ("on the left", "on the right"),
    "right of": ("on the right", "on the left"),
    "above": ("at the top", "at the bottom"),
    "below": ("at the bottom", "at the top"),
}
OPPOSITES = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
_PLACES = {
    "left": ("on the left", "at the left"),
    "right": ("on the right", "at the right"),
    "top": ("at the top", "in the upper part"),
    "bottom": ("at the bottom", "in the lower part"),
    "centre": ("in the middle", "in the centre"),
}
_MOOD_WORDS = {
    "day": ("by day", "in daylight", "in bright sunlight"),
    "night": ("at night", "in the dark", "by night"),
    "noisy": ("with a lot of noise", "noisy", "grainy"),
    "blurred": ("blurred", "blurry", "out of focus"),
    "black-and-white": ("in black and white", "black-and-white", "in shades of grey"),
    "sepia": ("in sepia", "in sepia tones", "like an old photograph"),
}
_TEXT_WORDS = ("with printed text", "with some text", "with a caption", "with words on it", "with writing")
_LEADS = ("", "", "", "", "a picture of ", "a photo of ", "an image of ", "a rendering of ", "a view of ", "we see ")
_PAGES = ("a page of text", "a printed page", "a page of a book", "a scan of a text", "text on paper", "a document")


class Describable(Protocol):
    """The facts of a picture."""

    def describe(self, rng: np.random.Generator, full: bool) -> str:
        """One true sentence; ``full`` keeps every part, otherwise parts are dropped at random.

        The number of draws from ``rng`` does not depend on the facts' values, so that equal generators word equally.
        """
        ...

    def altered(self, rng: np.random.Generator) -> Self:
        """The same facts with one of them changed, so that what is said of it is wrong."""
        ...


def pick(rng: np.random.Generator, words: Sequence[str]) -> str:
    """One of the words, by exactly one draw."""
    return words[int(rng.random() * len(words))]


def other(rng: np.random.Generator, words: Sequence[str], than: str) -> str:
    return pick(rng, [word for word in words if word != than])


def colour_word(rng: np.random.Generator, colour: str) -> str:
    """The colour or a synonym."""
    return pick(rng, _COLOUR_WORDS.get(colour, (colour,)))


def names_colour(words: str) -> bool:
    """Whether a phrase tells a colour."""
    known = {*COLOURS, *(synonym for synonyms in _COLOUR_WORDS.values() for synonym in synonyms)}
    return bool(known & set(words.split()))


def with_article(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def listed(phrases: Sequence[str]) -> str:
    """ "a, b and c"."""
    return " and ".join([", ".join(phrases[:-1]), phrases[-1]]) if len(phrases) > 1 else phrases[0]


@dataclass(frozen=True)
class Group:
    """``count`` equal solids; ``surface`` is plain, a texture or a finish; ``place`` where a lone one stands."""

    shape: str
    colour: str
    size: str
    surface: str
    count: int
    place: str | None = None

    def phrase(self, rng: np.random.Generator, full: bool, coloured: bool) -> str:
        """ "two small striped red cubes", with the adjectives dropped at random unless ``full``."""
        size, surface, colour = (full or rng.random() < keep for keep in (0.7, 0.75, 0.92))
        words = (
            (size, pick(rng, _SIZE_WORDS[self.size])),
            (surface, pick(rng, _SURFACE_WORDS.get(self.surface, ("",)))),
            (colour and coloured, colour_word(rng, self.colour)),
        )
        noun, number = pick(rng, _SHAPE_WORDS.get(self.shape, (self.shape,))), pick(rng, _NUMBERS[self.count])
        if self.count > 1:
            noun = _PLURALS.get(noun, noun + "s")
        said = " ".join([word for kept, word in words if kept and word] + [noun])
        return with_article(said) if number == "a" else f"{number} {said}"

    def altered(self, rng: np.random.Generator, shapes: Sequence[str], coloured: bool) -> Group:
        what = pick(rng, ("shape", "shape", "shape", "colour" if coloured else "shape", "size", "count", "surface"))
        if what == "shape":
            return replace(self, shape=other(rng, shapes, self.shape))
        if what == "colour":
            return replace(self, colour=other(rng, list(COLOURS), self.colour))
        if what == "size" and self.size != "medium":
            return replace(self, size="large" if self.size == "small" else "small")
        if what == "count":
            return replace(self, count=int(other(rng, "1234", str(self.count))))
        gleams = self.surface in ("shiny", "metal")  # what is metal may well be called shiny
        surfaces = [name for name in _SURFACE_WORDS if not (gleams and name in ("shiny", "metal"))]
        return replace(self, surface=other(rng, surfaces, self.surface))


@dataclass(frozen=True)
class SceneFacts:
    """What a rendered scene shows. ``relation`` holds from the first group to the second; ``background`` are full
    phrases for it; ``text`` is where words are printed; ``shapes`` are those that the scene could have shown."""

    groups: tuple[Group, ...]
    relation: str | None
    background: tuple[str, ...]
    mood: str | None
    text: str | None
    shapes: tuple[str, ...]

    @property
    def coloured(self) -> bool:
        return self.mood not in COLOURLESS

    def describe(self, rng: np.random.Generator, full: bool) -> str:
        lead, objects = pick(rng, _LEADS), self._objects(rng, full)
        behind, text, place, mood = (full or rng.random() < keep for keep in (0.6, 0.75, 0.6, 0.75))
        parts = [lead + objects]
        ground = pick(rng, self.background or ("",))
        if behind and ground:
            parts.append(ground)
        printed, where = pick(rng, _TEXT_WORDS), pick(rng, _PLACES[self.text or "top"])
        if text and self.text:
            parts.append(f"{printed} {where}" if place else printed)
        air = pick(rng, _MOOD_WORDS.get(self.mood or "", ("",)))
        ahead = rng.random() < 0.3
        if mood and air:
            return f"{air}, {' '.join(parts)}" if ahead else " ".join([*parts, air])
        return " ".join(parts)

    def _objects(self, rng: np.random.Generator, full: bool) -> str:
        phrases = [group.phrase(rng, full, self.coloured) for group in self.groups]
        fewer, related, sides, placed, turned = rng.random(5)
        if self.relation:
            joint, (here, there) = pick(rng, _RELATIONS[self.relation]), _SIDES[self.relation]
            if full or related < 0.75:
                if sides < 0.25:
                    pair = f"{phrases[0]} {here} and {phrases[1]} {there}"
                else:
                    pair = f"{phrases[0]} {joint} {phrases[1]}"
                return " and ".join([pair, *phrases[2:]])
        where = pick(rng, _PLACES[self.groups[0].place or "top"])
        if len(phrases) == 1 and self.groups[0].place and (full or placed < 0.6):
            return f"{phrases[0]} {where}"
        if not full and len(phrases) > 1 and fewer < 0.12:
            phrases.pop()
        return listed(phrases[::-1] if turned < 0.5 else phrases)

    def altered(self, rng: np.random.Generator) -> SceneFacts:
        number, fate = int(rng.random() * len(self.groups)), rng.random()
        if self.relation and fate < 0.25:
            return replace(self, relation=OPPOSITES[self.relation])
        if self.mood and fate < 0.35:
            return replace(self, mood=other(rng, list(_MOOD_WORDS), self.mood))
        if self.coloured and len(self.groups) > 1 and fate < 0.5:  # the same words, bound the other way round
            one, two = self.groups[:2]
            swapped = (replace(one, shape=two.shape), replace(two, shape=one.shape))
            return replace(self, groups=(*swapped, *self.groups[2:]))
        groups = list(self.groups)
        groups[number] = groups[number].altered(rng, self.shapes, self.coloured)
        return replace(self, groups=tuple(groups))


@dataclass(frozen=True)
class PageFacts:
    """What a page of text looks like. ``paper`` and ``ink`` are names of colours, paper in a light tone unless it is
    black; ``size`` of its print is small, large or, in between, empty."""

    paper: str
    ink: str
    size: str
    columns: int
    heading: bool
    tilted: bool

    def describe(self, rng: np.random.Generator, full: bool) -> str:
        said, paper, size, columns, heading, tilted = (full or rng.random() < 0.6 for _ in range(6))
        page = pick(rng, _PAGES) if rng.random() < 0.9 else "writing"
        ground, ink = colour_word(rng, self.paper), colour_word(rng, self.ink)
        print_size = pick(rng, ("small", "fine", "tiny") if self.size == "small" else ("large", "big"))
        parts = [page]
        if size and self.size:
            parts.append(f"in {print_size} {ink} print" if said else f"in {print_size} print")
        elif said:
            parts.append(f"in {ink}")
        if paper:
            parts.append(f"on {ground}")
        if columns:
            parts.append("in two columns" if self.columns == 2 else "in one column")
        if heading and self.heading:
            parts.append("with a heading")
        if tilted and self.tilted:
            parts.append("tilted")
        return " ".join(parts)

    def altered(self, rng: np.random.Generator) -> PageFacts:
        what = pick(rng, ("paper", "ink", "columns", "heading", "tilted"))
        if what == "paper":
            return replace(self, paper=other(rng, list(COLOURS), self.paper))
        if what == "ink":
            return replace(self, ink=other(rng, list(COLOURS), self.ink))
        if what == "columns":
            return replace(self, columns=3 - self.columns)
        return replace(self, heading=not self.heading) if what == "heading" else replace(self, tilted=not self.tilted)
