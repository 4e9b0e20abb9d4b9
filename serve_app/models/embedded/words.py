"""The vocabulary of the generated world: colours, synonyms, and the captions made of them.

What the pictures show and what the captions say come from the same tables, so that a caption is never wrong; parts of
it are dropped at random, so that the text tower meets free wording.
"""

from __future__ import annotations

from dataclasses import dataclass

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
_COLOUR_WORDS = {"grey": ("grey", "gray"), "turquoise": ("turquoise", "cyan"), "purple": ("purple", "violet")}
_SHAPE_WORDS = {
    "cube": ("cube", "cube", "box"),
    "sphere": ("sphere", "ball", "sphere"),
    "cylinder": ("cylinder", "cylinder", "can"),
    "cone": ("cone",),
    "torus": ("torus", "ring", "doughnut"),
    "pyramid": ("pyramid",),
}
_SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge"), "medium": ("", "medium-sized")}
_NUMBERS = {1: ("a", "one"), 2: ("two", "2", "a pair of"), 3: ("three", "3"), 4: ("four", "4")}
_RELATIONS = {
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "above": ("above", "over", "higher than"),
    "below": ("below", "under", "beneath"),
}
_PLACES = {
    "left": ("on the left", "at the left"),
    "right": ("on the right", "at the right"),
    "top": ("at the top", "in the upper part"),
    "bottom": ("at the bottom", "in the lower part"),
    "centre": ("in the middle", "in the centre"),
}
_MOODS = {
    "day": ("by day", "in daylight", "in bright sunlight"),
    "night": ("at night", "in the dark", "by night"),
    "noisy": ("with a lot of noise", "noisy", "grainy"),
    "blurred": ("blurred", "blurry", "out of focus"),
    "black-and-white": ("in black and white", "black-and-white", "in shades of grey"),
    "sepia": ("in sepia", "in sepia tones", "like an old photograph"),
}
_TEXT_WORDS = ("with printed text", "with some text", "with a caption", "with words on it", "with writing")
_LEADS = ("", "", "", "a picture of ", "a photo of ", "an image of ", "a rendering of ", "there is ", "we see ")


@dataclass(frozen=True)
class Group:
    """``count`` equal solids; ``pattern`` is plain or the name of a texture; ``place`` where a lone one stands."""

    shape: str
    colour: str
    size: str
    pattern: str
    count: int
    place: str | None = None


@dataclass(frozen=True)
class Facts:
    """What a scene shows. ``relation`` holds from the first group to the second; ``background`` is a full phrase."""

    groups: tuple[Group, ...]
    relation: str | None
    background: tuple[str, ...]
    mood: str | None
    text: str | None

    @property
    def colourless(self) -> bool:
        return self.mood in ("black-and-white", "sepia")


def _pick(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))]


def _plural(noun: str) -> str:
    return {"box": "boxes", "torus": "tori", "doughnut": "doughnuts"}.get(noun, noun + "s")


def colour_word(rng: np.random.Generator, colour: str) -> str:
    """The colour or a synonym."""
    return _pick(rng, _COLOUR_WORDS.get(colour, (colour,)))


def group_phrase(rng: np.random.Generator, group: Group, facts: Facts, full: bool) -> str:
    """ "two small striped red cubes", with the adjectives dropped at random unless ``full``."""
    keep = 1.0 if full else 0.75
    adjectives = []
    if rng.random() < keep:
        adjectives.append(_pick(rng, _SIZE_WORDS[group.size]))
    if group.pattern != "plain" and rng.random() < keep:
        adjectives.append(group.pattern)
    if not facts.colourless and (full or rng.random() < 0.92):
        adjectives.append(colour_word(rng, group.colour))
    noun = _pick(rng, _SHAPE_WORDS[group.shape])
    words = [word for word in adjectives if word] + [noun if group.count == 1 else _plural(noun)]
    number = _pick(rng, _NUMBERS[group.count])
    article = "an" if number == "a" and words[0][0] in "aeiou" else number
    return " ".join([article, *words])


def _objects(rng: np.random.Generator, facts: Facts, full: bool) -> str:
    groups = list(facts.groups)
    if not full and len(groups) > 1 and rng.random() < 0.12:
        groups = groups[: len(groups) - 1]
    phrases = [group_phrase(rng, group, facts, full) for group in groups]
    if len(groups) >= 2 and facts.relation and (full or rng.random() < 0.7):
        first = f"{phrases[0]} {_pick(rng, _RELATIONS[facts.relation])} {phrases[1]}"
        return " and ".join([first, *phrases[2:]])
    if len(groups) == 1 and groups[0].place and (full or rng.random() < 0.6):
        return f"{phrases[0]} {_pick(rng, _PLACES[groups[0].place])}"
    if rng.random() < 0.5:
        phrases.reverse()
    return " and ".join([", ".join(phrases[:-1]), phrases[-1]]) if len(phrases) > 1 else phrases[0]


def caption(rng: np.random.Generator, facts: Facts, full: bool = False) -> str:
    """One sentence about the scene; ``full`` keeps every part, otherwise parts are dropped at random."""
    parts = [_pick(rng, _LEADS) + _objects(rng, facts, full)] if facts.groups else []
    if facts.background and (full or rng.random() < 0.6):
        parts.append(_pick(rng, facts.background))
    if facts.text and (full or rng.random() < 0.7):
        parts.append(_pick(rng, _TEXT_WORDS) + ("" if rng.random() < 0.4 else " " + _pick(rng, _PLACES[facts.text])))
    if facts.mood and (full or rng.random() < 0.75):
        mood = _pick(rng, _MOODS[facts.mood])
        if rng.random() < 0.3:
            return f"{mood}, {' '.join(parts)}"
        parts.append(mood)
    return " ".join(parts) if parts else "a picture"
