"""A world of memes in three folders, as the training takes them: memes, pictures with print, pictures without."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from serve_app.models.memes.captions import Box, caption
from serve_app.models.memes.scenery import Pixels, cluttered, scenery, taken
from serve_app.models.memes.signs import with_print

SIDE = 300
KINDS = ("memes", "with-text", "without-text")
BOXES = "boxes.json"
"""In a folder of memes, file name -> the boxes of its words, x1, y1, x2, y2 in pixels."""


def draw(kind: str, seed: int, number: int, side: int = SIDE) -> tuple[Pixels, list[Box]]:
    """Picture ``number`` of a kind out of KINDS, uint8 [side, side, 3], and the boxes of what makes it a meme.

    Raises ValueError for another kind.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind), number])
    if kind == "with-text":
        return taken(rng, with_print(rng, side)), []
    pixels = scenery(rng, side)
    pixels = taken(rng, cluttered(rng, pixels) if rng.random() < 0.4 else pixels)
    return caption(rng, pixels) if kind == "memes" else (pixels, [])


def write_world(
    out: Path,
    counts: dict[str, int],
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write so many pictures of each kind as JPEG under ``out``; those that are there already stay as they are."""
    done, every = 0, sum(counts.values())
    for kind, count in counts.items():
        folder = out / kind
        folder.mkdir(parents=True, exist_ok=True)
        known = folder / BOXES
        boxes: dict[str, list[Box]] = json.loads(known.read_text()) if known.exists() else {}
        for number in range(count):
            path = folder / f"{number:06d}.jpg"
            if not path.exists() or (kind == "memes" and path.name not in boxes):
                pixels, boxes[path.name] = draw(kind, seed, number)
                quality = int(np.random.default_rng([seed, number]).integers(45, 96))
                Image.fromarray(pixels).save(path, quality=quality)
            done += 1
            if progress:
                progress(done, every)
        if kind == "memes":
            known.write_text(json.dumps(boxes))
