"""Pictures that no training sees: the photographs of the retrieval example, and scenes on crops of them.

Some of the photographs calibrate the detector, others test it, so that neither says anything about the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from importlib.resources import files
from itertools import cycle, islice

import numpy as np
from PIL import Image

from serve_app.models.embedded.backgrounds import UNSEEN_SURFACES, Pixels
from serve_app.models.embedded.corpus import Corpus, make
from serve_app.models.embedded.scenes import DETECTOR_MIX, Mix

CALIBRATION = ("camera.png", "coffee.png", "motorcycle_left.png")
TEST = ("astronaut.png", "chelsea.png", "horse.png", "rocket.jpg")
NAMES = tuple(sorted((*CALIBRATION, *TEST, "page.png")))  # ``page`` shows text of its own: no background
WORLD = 1_000_003  # the seed of the held-out world; trainings use small seeds
CALIBRATION_WORLD = 2_000_003
SHAPES_MIX = replace(DETECTOR_MIX, photographs=0, pages=0, empty=0, surfaces=UNSEEN_SURFACES)


@lru_cache(maxsize=1)
def held_out_photographs() -> dict[str, Pixels]:
    """scikit-image's eight photographs by file name, uint8 [H, W, 3]."""
    pictures = {}
    for name in NAMES:
        with (files("skimage.data") / name).open("rb") as stream:
            pictures[name] = np.asarray(Image.open(stream).convert("RGB"))
    return pictures


def held_out_pairs(count: int, side: int) -> Corpus:
    """Scenes of the held-out world with two captions each: one that drops nothing, and a free one."""
    return make(WORLD, 0, count, side, Mix(full=True, wordings=2))


def held_out_shapes(count: int, side: int) -> Corpus:
    """Scenes of solids and text on crops of the test photographs."""
    return make(WORLD, 0, count, side, SHAPES_MIX, chosen(TEST))


def calibration_shapes(count: int, side: int) -> Corpus:
    """Scenes of solids and text of a third world, on crops of the calibration photographs."""
    return make(CALIBRATION_WORLD, 0, count, side, SHAPES_MIX, chosen(CALIBRATION))


def calibration_negatives(count: int) -> list[Pixels]:
    """Crops with nothing to find, of the calibration photographs in turn.

    Those of the training photographs would not do: a network that knows them errs a fifth as often there as elsewhere.
    """
    return _crops(list(chosen(CALIBRATION).values()), count)


def held_out_negatives(count: int) -> list[Pixels]:
    """Crops with nothing to find, of the test photographs in turn."""
    return _crops(list(chosen(TEST).values()), count)


def _crops(pictures: list[Pixels], count: int) -> list[Pixels]:
    """Seeded rectangles, a quarter of each side to all of it, uint8 [H, W, 3] of many sizes and shapes."""
    rng = np.random.default_rng(CALIBRATION_WORLD)
    found = []
    for picture in islice(cycle(pictures), count):
        sides = np.array(picture.shape[:2])
        height, width = (sides * rng.uniform(1 / 3, 1) * rng.uniform(0.75, 1, 2)).astype(int)
        top, left = rng.integers(sides - (height, width) + 1)
        found.append(picture[top : top + height, left : left + width])
    return found


def chosen(names: Iterable[str]) -> dict[str, Pixels]:
    """The held-out photographs of these names."""
    return {name: held_out_photographs()[name] for name in names}
