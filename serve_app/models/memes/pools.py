"""The three folders of pictures that MemeTector learns from, read once into arrays that stay on the disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serve_app.errors import Problem
from serve_app.media import images
from serve_app.models.memes.world import BOXES

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]
FindText = Callable[[bytes], Sequence[Box]]
"""The boxes of the words in a picture, x1, y1, x2, y2 in its pixels."""
FindPart = Callable[[float, float, Sequence[Box], int], Box | None]
"""The largest rectangle without text: of width, height, boxes and a seed, or None where there is none."""
Tell = Callable[[str, int, int], None]
"""Hears what is being read, how many are done and how many there are."""

MEME, PART, WITH_TEXT, WITHOUT_TEXT = range(4)
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".avif", ".heic", ".tif", ".tiff"}


@dataclass(frozen=True)
class Pools:
    """``pixels`` by kind (MEME, PART, ...): uint8 [N, side, side, 3]. Part i is cut out of meme i; ``parted`` says
    which memes have one. ``text`` float32 [memes, grid, grid]: how much of each patch the boxes of words cover."""

    pixels: tuple[Pixels, Pixels, Pixels, Pixels]
    parted: NDArray[np.bool_]
    text: NDArray[np.float32]

    def count(self, kind: int) -> int:
        return len(self.pixels[kind])

    def pick(self, kinds: NDArray[np.int64], numbers: NDArray[np.int64]) -> Pixels:
        """Pictures uint8 [len(kinds), side, side, 3] by kind and number within it."""
        return np.stack([self.pixels[kind][number] for kind, number in zip(kinds, numbers, strict=True)])


def pictures(folder: Path) -> list[Path]:
    """The pictures of a folder by name; raises ``Problem`` where there is none."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise Problem("bad_request", f"{folder} holds no pictures", f"put {', '.join(sorted(SUFFIXES))} there")
    return found


def read_pools(
    folders: tuple[Path, Path, Path],
    side: int,
    grid: int,
    cache: Path,
    find_part: FindPart,
    find_text: FindText | None = None,
    seed: int = 0,
    tell: Tell | None = None,
) -> Pools:
    """Read memes, pictures with text and pictures without, stretched to ``side``; what is in ``cache`` is taken as is.

    The boxes of words are those of the memes' ``boxes.json``, and of ``find_text`` where it says nothing. Raises
    ``Problem`` for folders without pictures, for pictures that cannot be read, and where boxes are wanting.
    """
    cache.mkdir(parents=True, exist_ok=True)
    memes, *others = (pictures(folder) for folder in folders)
    boxes = _boxes(memes, cache, find_text, tell)
    mark = _mark(memes, f"{side} {grid} {seed} {boxes}")
    whole, parts, said = (cache / f"memes-{mark}-{name}" for name in ("whole.npy", "parts.npy", "said.npz"))
    if not said.exists():
        _write_memes(memes, boxes, side, grid, find_part, seed, (whole, parts, said), tell)
    rest = [_pixels(paths, folder.name, side, cache, tell) for paths, folder in zip(others, folders[1:], strict=True)]
    arrays = (np.load(whole, mmap_mode="r"), np.load(parts, mmap_mode="r"), rest[0], rest[1])
    with np.load(said) as known:
        return Pools(arrays, known["parted"], known["text"])


def _mark(paths: Sequence[Path], more: str) -> str:
    """A name for these files as they are now, and whatever else counts."""
    told = "\n".join(f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths)
    return hashlib.sha256(f"{told}\n{more}".encode()).hexdigest()[:16]


def _boxes(memes: Sequence[Path], cache: Path, find_text: FindText | None, tell: Tell | None) -> list[list[Box]]:
    beside = memes[0].parent / BOXES
    known: dict[str, list[Box]] = json.loads(beside.read_text()) if beside.exists() else {}
    wanting = [path for path in memes if path.name not in known]
    if not wanting:
        return [known[path.name] for path in memes]
    if find_text is None:
        raise Problem("bad_request", f"{beside} has no boxes for {len(wanting)} memes", "give a reader of text")
    kept = cache / f"boxes-{_mark(wanting, '')}.json"
    found: dict[str, list[Box]] = json.loads(kept.read_text()) if kept.exists() else {}
    for done, path in enumerate(wanting):
        if path.name not in found:
            found[path.name] = list(find_text(path.read_bytes()))
            if done % 100 == 99:
                kept.write_text(json.dumps(found))
        if tell:
            tell("words", done + 1, len(wanting))
    kept.write_text(json.dumps(found))
    return [(known | found)[path.name] for path in memes]


def _stretched(pixels: Pixels, side: int) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0))


def _within(pixels: Pixels, part: Box) -> Pixels:
    """The whole pixels within a part: a resampling beyond them would take a sliver of the words along."""
    x1, y1, x2, y2 = part
    return pixels[ceil(y1 - 1e-6) : floor(y2 + 1e-6), ceil(x1 - 1e-6) : floor(x2 + 1e-6)]


def _read(path: Path) -> Pixels:
    try:
        return images.decode(path.read_bytes()).pixels
    except Problem as problem:
        raise Problem(problem.code, f"{path.name}: {problem.detail}", problem.remedy) from problem


def _pixels(paths: Sequence[Path], what: str, side: int, cache: Path, tell: Tell | None) -> Pixels:
    path = cache / f"pictures-{_mark(paths, str(side))}.npy"
    if not path.exists():
        array = _new(path, len(paths), side)
        for number, one in enumerate(paths):
            array[number] = _stretched(_read(one), side)
            if tell:
                tell(what, number + 1, len(paths))
        _finish(array, path)
    found: Pixels = np.load(path, mmap_mode="r")
    return found


def _write_memes(
    memes: Sequence[Path],
    boxes: Sequence[Sequence[Box]],
    side: int,
    grid: int,
    find_part: FindPart,
    seed: int,
    out: tuple[Path, Path, Path],
    tell: Tell | None,
) -> None:
    whole, parts = (_new(path, len(memes), side) for path in out[:2])
    text, parted = np.empty((len(memes), grid, grid), np.float32), np.zeros(len(memes), np.bool_)
    for number, (path, found) in enumerate(zip(memes, boxes, strict=True)):
        pixels = _read(path)
        height, width = pixels.shape[:2]
        whole[number] = _stretched(pixels, side)
        part = find_part(width, height, found, seed + number)
        if part is not None:
            parts[number], parted[number] = _stretched(_within(pixels, part), side), True
        text[number] = covered(found, width, height, grid)
        if tell:
            tell("memes", number + 1, len(memes))
    _finish(whole, out[0])
    _finish(parts, out[1])
    np.savez(out[2], text=text, parted=parted)


def covered(boxes: Sequence[Box], width: float, height: float, grid: int) -> NDArray[np.float32]:
    """How much of each patch of a picture the boxes cover, float32 [grid, grid] in 0..1; where they overlap, the most
    that one of them covers."""
    most = np.zeros((grid, grid), np.float32)
    edges = np.arange(grid)
    for x1, y1, x2, y2 in boxes:
        across = np.clip(np.minimum(x2 / width * grid, edges + 1) - np.maximum(x1 / width * grid, edges), 0, 1)
        down = np.clip(np.minimum(y2 / height * grid, edges + 1) - np.maximum(y1 / height * grid, edges), 0, 1)
        most = np.maximum(most, np.outer(down, across).astype(np.float32))
    return most


def _new(path: Path, count: int, side: int) -> np.memmap[tuple[int, ...], np.dtype[np.uint8]]:
    return np.lib.format.open_memmap(path.with_suffix(".part"), "w+", np.uint8, (count, side, side, 3))


def _finish(array: np.memmap[tuple[int, ...], np.dtype[np.uint8]], path: Path) -> None:
    array.flush()
    path.with_suffix(".part").replace(path)
