"""Generated scenes kept on disk as shards, so that training reads instead of renders; an interrupted build resumes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serve_app.models.embedded.backgrounds import Pixels
from serve_app.models.embedded.scenes import LABELS, Mix, generate

SHARD = 500
MOST_BOXES = 10
_FIELDS = ("pixels", "captions", "wrong", "boxes")


@dataclass(frozen=True)
class Corpus:
    """``pixels`` uint8 [N, side, side, 3]; ``captions`` [N, wordings] and ``wrong`` [N, wordings], the same with one
    thing changed; ``boxes`` float32 [N, MOST_BOXES, 5]: x1, y1, x2, y2 in pixels and the number of the label, rows of
    -1 where there is none."""

    pixels: NDArray[np.uint8]
    captions: NDArray[np.str_]
    wrong: NDArray[np.str_]
    boxes: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.pixels)


def make(
    seed: int, first: int, count: int, side: int, mix: Mix, photographs: dict[str, Pixels] | None = None
) -> Corpus:
    """Scenes ``first`` to ``first + count`` of the world ``seed``."""
    scenes = [generate(seed, first + index, side, mix, photographs) for index in range(count)]
    boxes = np.full((count, MOST_BOXES, 5), -1, np.float32)
    for row, scene in zip(boxes, scenes, strict=True):
        known = [pair for pair in zip(scene.boxes, scene.labels, strict=True) if pair[1] in LABELS]
        for number, (box, label) in enumerate(known):
            row[number] = (*box, LABELS.index(label))
    return Corpus(
        np.stack([scene.pixels for scene in scenes]),
        np.array([scene.captions for scene in scenes]),
        np.array([scene.wrong for scene in scenes]),
        boxes,
    )


def _save(path: Path, seed: int, first: int, count: int, side: int, mix: Mix) -> None:
    part = make(seed, first, count, side, mix)
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as stream:
        np.savez(stream, **{name: getattr(part, name) for name in _FIELDS})
    unfinished.replace(path)


def _load(path: Path) -> Corpus:
    with np.load(path, allow_pickle=False) as data:
        return Corpus(*(data[name] for name in _FIELDS))


def corpus(
    folder: Path,
    seed: int,
    count: int,
    side: int,
    mix: Mix,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Corpus:
    """The first ``count`` scenes of the world, built where ``folder`` lacks them; ``progress(done, all)`` per shard.

    The shards of one folder must come from one seed, side and mix: the caller names the folder after them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = [(folder / f"{first:07d}-{min(SHARD, count - first)}.npz", first) for first in range(0, count, SHARD)]
    missing = [(path, first) for path, first in shards if not path.exists()]
    if len(missing) == 1:  # a single shard is not worth another process
        path, first = missing.pop()
        _save(path, seed, first, min(SHARD, count - first), side, mix)
    if missing:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            jobs = [
                pool.submit(_save, path, seed, first, min(SHARD, count - first), side, mix) for path, first in missing
            ]
            for done, job in enumerate(as_completed(jobs), len(shards) - len(missing) + 1):
                job.result()
                if progress:
                    progress(done, len(shards))
    parts = [_load(path) for path, _ in shards]
    return Corpus(*(np.concatenate([getattr(part, name) for part in parts]) for name in _FIELDS))
