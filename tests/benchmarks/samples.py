"""Photographs and sentences that are the same for the service and for the bare loops."""

from __future__ import annotations

import functools
import io

import numpy as np
from PIL import Image
from skimage import data

PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "page", "rocket")
WORDS = (
    "a red blue green large small old new photo drawing page of text about sea with cat dog cup rocket horse house",
    "road tree sky cloud river at night in rain under bright grey quiet crowded empty street market garden bridge",
)


@functools.cache
def pictures() -> list[bytes]:
    """JPEG files (quality 90) of photographs that ship with scikit-image."""
    files = []
    for name in PHOTOGRAPHS:
        out = io.BytesIO()
        Image.fromarray(getattr(data, name)()).convert("RGB").save(out, "JPEG", quality=90)
        files.append(out.getvalue())
    return files


@functools.cache
def sentences(count: int = 256, words: int = 8) -> list[str]:
    """Seeded sentences of ``words`` words, nearly all different."""
    random = np.random.default_rng(7)
    return [" ".join(random.choice(" ".join(WORDS).split(), words)) for _ in range(count)]


def many() -> list[str]:
    """More sentences than the service keeps vectors of, so that in turn each has to be encoded."""
    # Here, not above: the bare loops have no use for Ray.
    from graphs.embedding import KEPT

    return sentences(2 * KEPT)
