"""Pictures that no training sees: the photographs of the retrieval example, and scenes on crops of them."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

import numpy as np
from PIL import Image

from serve_app.models.embedded.backgrounds import Pixels
from serve_app.models.embedded.corpus import Corpus, make
from serve_app.models.embedded.scenes import Mix

NAMES = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "horse.png",
    "motorcycle_left.png",
    "page.png",
    "rocket.jpg",
)
WORLD = 1_000_003  # the seed of the held-out world; trainings use small seeds


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
    """Scenes of solids and text on crops of the held-out photographs (``page`` shows text of its own: left out)."""
    photographs = {name: pixels for name, pixels in held_out_photographs().items() if name != "page.png"}
    return make(WORLD, 0, count, side, Mix(photographs=0, pages=0, moods=0.25, texts=0.35), photographs)
