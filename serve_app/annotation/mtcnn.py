"""The cascade of MTCNN (Zhang et al. 2016, "Joint Face Detection and Alignment using Multitask Cascaded Convolutional
Networks") on ONNX Runtime, for many pictures of any sizes at once.

Steps, thresholds and roundings are those of facenet-pytorch 2.6.0, so that the faces are the same to a pixel; but the
pyramid is cut into tiles of a few fixed shapes, and the later networks see the crops of all pictures together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from serve_app.annotation.area_resize import Sums, crops, summed
from serve_app.annotation.pyramid import STEP, WINDOW, Tile, levels, tiles
from serve_app.annotation.suppression import REACH, suppress, suppress_windows

In = TypeVar("In")
Out = TypeVar("Out")
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

THRESHOLDS = (0.6, 0.7, 0.7)
"""Least probability of a face in the eyes of each network."""
SAME_SCALE, SAME_PICTURE = 0.5, 0.7
"""Overlaps above which the worse of two boxes goes: among windows of one scale, and among all boxes of a picture."""
MOST_PROPOSALS = 2000
"""Boxes of one picture that the second network sees, the best ones: bounds what noise can cost."""
PASS_PIXELS = 8_000_000
"""Pixels of the pictures that go through the cascade together: each takes about 30 bytes meanwhile."""
TILES, CROPS = 1, 32
"""Tiles and crops that go into one call of a network on a CPU: more do not fit a core's cache."""
TILES_ON_GPU, CROPS_ON_GPU = 64, 512


@dataclass(frozen=True)
class Boxes:
    """Boxes of several pictures: ``picture`` [n] their numbers, ``corners`` float32 [n, 4], ``scores`` float32 [n]."""

    picture: Ints
    corners: Floats
    scores: Floats

    def take(self, which: NDArray[Any]) -> Self:
        return type(self)(self.picture[which], self.corners[which], self.scores[which])


@dataclass(frozen=True)
class Found:
    """The faces of one picture, best first: ``corners`` float32 [n, 4] x1, y1, x2, y2 in its pixels, which may lie
    outside; ``scores`` float32 [n]; ``landmarks`` float32 [n, 5, 2] x, y."""

    corners: Floats
    scores: Floats
    landmarks: Floats


class Cascade:
    """Finds faces and their landmarks in pictures uint8 [H, W, 3]."""

    def __init__(
        self, pnet: InferenceSession, rnet: InferenceSession, onet: InferenceSession, min_face: int,
        threads: int = 1, on_gpu: bool = False,
    ) -> None:  # fmt: skip
        """``min_face`` is the least side of a face in pixels. ``threads`` call the networks side by side, so that each
        session needs one of its own only."""
        self._pnet, self._rnet, self._onet = pnet, rnet, onet
        self._min_face = min_face
        self._tiles, self._crops = (TILES_ON_GPU, CROPS_ON_GPU) if on_gpu else (TILES, CROPS)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="mtcnn") if threads > 1 else None

    def run(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Found]:
        """The faces of each picture; one whose shorter side is below ``min_face`` has none."""
        found: list[Found] = []
        for group in _passes(pictures):
            found += self._pass(group)
        return found

    def _pass(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Found]:
        tables = self._map(summed, pictures)
        boxes = self._refine(tables, self._propose(tables))
        boxes, landmarks = self._decide(tables, boxes)
        found = []
        for number in range(len(pictures)):
            own = np.nonzero(boxes.picture == number)[0]
            own = own[suppress(boxes.corners[own], boxes.scores[own], SAME_PICTURE, "smaller")]
            found.append(Found(boxes.corners[own], boxes.scores[own], landmarks[own]))
        return found

    def _map(self, function: Callable[[In], Out], items: Iterable[In]) -> list[Out]:
        return list((self._pool.map if self._pool else map)(function, items))

    def _propose(self, tables: Sequence[Sums]) -> Boxes:
        """Windows with a face at any scale, moved to where the first network thinks it is, as squares."""
        by_shape: dict[tuple[int, ...], list[Tile]] = defaultdict(list)
        for level in self._map(tiles, levels(tables, self._min_face, gap=REACH)):
            for tile in level:
                by_shape[tile.pixels.shape].append(tile)
        calls = [
            alike[start : start + self._tiles]
            for alike in by_shape.values()
            for start in range(0, len(alike), self._tiles)
        ]
        rows, columns, boxes, shifts = _joined(self._map(self._windows, calls))
        kept = suppress_windows(rows, columns, boxes.corners, boxes.scores, SAME_SCALE)
        boxes, shifts = boxes.take(kept), shifts[kept]
        kept = _per_picture(boxes, len(tables), MOST_PROPOSALS)
        boxes, shifts = boxes.take(kept), shifts[kept]
        sides = boxes.corners[:, 2:] - boxes.corners[:, :2]
        return Boxes(boxes.picture, _squares(boxes.corners + shifts * np.tile(sides, 2)), boxes.scores)

    def _windows(self, alike: Sequence[Tile]) -> tuple[Ints, Ints, Boxes, Floats]:
        """The windows of tiles of one shape that may hold a face: row and column on the lattice, box, regression."""
        probability, regression = _call(self._pnet, np.stack([tile.pixels for tile in alike]))
        which, row, column = np.nonzero(probability >= THRESHOLDS[0])
        place = np.array([tile.first for tile in alike])[which] + np.stack([row, column], axis=1)
        inside = (place >= 0).all(axis=1)
        which, row, column, place = which[inside], row[inside], column[inside], place[inside]
        scale = np.array([tile.level.scale for tile in alike], np.float32)[which, None]
        start = (place[:, ::-1] * STEP + 1).astype(np.float32)
        corners = np.concatenate([np.floor(start / scale), np.floor((start + WINDOW - 1) / scale)], axis=1)
        picture = np.array([tile.level.picture for tile in alike])[which]
        base = np.array([tile.level.base for tile in alike])[which]
        boxes = Boxes(picture, corners, probability[which, row, column])
        return base + place[:, 0], place[:, 1], boxes, regression[which, :, row, column]

    def _refine(self, tables: Sequence[Sums], boxes: Boxes) -> Boxes:
        """What the second network leaves of the proposals, better placed, as squares."""
        boxes, (scores, shifts) = self._look(self._rnet, tables, boxes, 24, (0, 4))
        sure = scores > THRESHOLDS[1]
        boxes, shifts = Boxes(boxes.picture[sure], boxes.corners[sure], scores[sure]), shifts[sure]
        kept = _per_picture(boxes, len(tables), MOST_PROPOSALS)
        boxes, shifts = boxes.take(kept), shifts[kept]
        return Boxes(boxes.picture, _squares(_moved(boxes.corners, shifts)), boxes.scores)

    def _decide(self, tables: Sequence[Sums], boxes: Boxes) -> tuple[Boxes, Floats]:
        """Faces and their landmarks [n, 5, 2]."""
        boxes, (scores, shifts, marks) = self._look(self._onet, tables, boxes, 48, (0, 4, 10))
        sure = scores > THRESHOLDS[2]
        picture, corners, marks = boxes.picture[sure], boxes.corners[sure], marks[sure].reshape(-1, 2, 5)
        sides = corners[:, 2:] - corners[:, :2] + 1
        landmarks = (marks * sides[:, :, None] + corners[:, :2, None] - 1).transpose(0, 2, 1)
        return Boxes(picture, _moved(corners, shifts[sure]), scores[sure]), landmarks

    def _look(
        self, network: InferenceSession, tables: Sequence[Sums], boxes: Boxes, side: int, widths: tuple[int, ...]
    ) -> tuple[Boxes, list[Floats]]:
        """The boxes that lie in their picture, and a network's outputs for them; each output has ``widths`` columns."""
        limits = np.array([[table.shape[2] - 1, table.shape[1] - 1] for table in tables], np.int64)
        whole = boxes.corners.astype(np.int64)
        whole = np.concatenate([whole[:, :2].clip(1) - 1, np.minimum(whole[:, 2:], limits[boxes.picture])], axis=1)
        inside = np.nonzero((whole[:, 2:] > whole[:, :2]).all(axis=1))[0]
        boxes, whole = boxes.take(inside), whole[inside]

        def call(start: int) -> list[Floats]:
            picture, corners = boxes.picture[start : start + self._crops], whole[start : start + self._crops]
            pixels = np.empty((len(corners), 3, side, side), np.float32)
            for number in np.unique(picture):
                pixels[picture == number] = crops(tables[number], corners[picture == number], side)
            return _call(network, pixels)

        empty = [np.empty((0, width) if width else 0, np.float32) for width in widths]
        outputs = self._map(call, range(0, len(whole), self._crops))
        return boxes, [np.concatenate(each) for each in zip(empty, *outputs, strict=True)]


def _passes(pictures: Sequence[NDArray[np.uint8]]) -> Iterator[Sequence[NDArray[np.uint8]]]:
    """The pictures in groups of at most ``PASS_PIXELS``, or of one."""
    start = pixels = 0
    for end, picture in enumerate(pictures):
        size = picture.shape[0] * picture.shape[1]
        if end > start and pixels + size > PASS_PIXELS:
            yield pictures[start:end]
            start, pixels = end, 0
        pixels += size
    if start < len(pictures):
        yield pictures[start:]


def _call(network: InferenceSession, pixels: Floats) -> list[Floats]:
    outputs: list[Floats] = network.run(None, {network.get_inputs()[0].name: pixels})
    return outputs


def _joined(parts: Sequence[tuple[Ints, Ints, Boxes, Floats]]) -> tuple[Ints, Ints, Boxes, Floats]:
    none = np.empty(0, np.int64)
    nothing = (
        none,
        none,
        Boxes(none, np.empty((0, 4), np.float32), np.empty(0, np.float32)),
        np.empty((0, 4), np.float32),
    )
    rows, columns, boxes, shifts = zip(nothing, *parts, strict=True)
    fields = (np.concatenate([getattr(each, name) for each in boxes]) for name in ("picture", "corners", "scores"))
    return np.concatenate(rows), np.concatenate(columns), Boxes(*fields), np.concatenate(shifts)


def _per_picture(boxes: Boxes, pictures: int, most: int) -> Ints:
    """Which boxes stay where no two of a picture are the same; of each at most the ``most`` best enter."""
    kept = [np.empty(0, np.int64)]
    for number in range(pictures):
        own = np.nonzero(boxes.picture == number)[0]
        own = own[np.argsort(-boxes.scores[own], kind="stable")[:most]]
        kept.append(own[suppress(boxes.corners[own], boxes.scores[own], SAME_PICTURE)])
    return np.concatenate(kept)


def _moved(corners: Floats, shifts: Floats) -> Floats:
    """Boxes moved by a regression, in sides that count both ends' pixels."""
    moved: Floats = corners + shifts * np.tile(corners[:, 2:] - corners[:, :2] + 1, 2)
    return moved


def _squares(corners: Floats) -> Floats:
    """The boxes made square about their middles."""
    sides = corners[:, 2:] - corners[:, :2]
    longer = sides.max(axis=1, keepdims=True)
    start = corners[:, :2] + sides * 0.5 - longer * 0.5
    return np.concatenate([start, start + longer], axis=1)
