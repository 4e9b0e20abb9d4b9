"""How the outputs of a detector are read: one function for each layout that a manifest row may name.

A layout takes the outputs for one picture (no batch axis), the least score and the input size (height, width) and gives
:class:`Candidates` before non-maximum suppression.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Outputs = Sequence[NDArray[Any]]


@dataclass(frozen=True)
class Candidates:
    """``boxes`` [M, 4] as x1, y1, x2, y2 in pixels of the network's input; ``scores`` [M]; ``classes`` [M]."""

    boxes: Floats
    scores: Floats
    classes: NDArray[np.int64]


Layout = Callable[[Outputs, float, tuple[int, int]], Candidates]


def fastestdet(outputs: Outputs, threshold: float, size: tuple[int, int]) -> Candidates:
    """One map [5 + C, h, w]: objectness, dx, dy, width, height, then C class probabilities.

    The decoding of FastestDet (github.com/dog-qiuqiu/FastestDet, ``handle_preds``): the score is
    objectness^0.6 x class^0.4, offsets are tanh of a cell, sizes are sigmoids of the whole input.
    """
    cells = np.asarray(outputs[0], np.float32)
    objectness, offsets, sides, classes = cells[0], np.tanh(cells[1:3]), _sigmoid(cells[3:5]), cells[5:]
    scores = objectness.clip(0, 1) ** 0.6 * classes.max(axis=0).clip(0, 1) ** 0.4
    row, column = np.nonzero(scores >= threshold)
    height, width = size
    x = (column + offsets[0, row, column]) / scores.shape[1] * width
    y = (row + offsets[1, row, column]) / scores.shape[0] * height
    boxes = _corners(x, y, sides[0, row, column] * width, sides[1, row, column] * height)
    return Candidates(boxes, scores[row, column], classes.argmax(axis=0)[row, column])


def yolo(outputs: Outputs, threshold: float, size: tuple[int, int]) -> Candidates:
    """One array [4 + C, A]: centre x, centre y, width, height in input pixels, then C class probabilities."""
    rows = np.asarray(outputs[0], np.float32).T
    return _above(_corners(*rows[:, :4].T), rows[:, 4:], threshold)


def dets_labels(outputs: Outputs, threshold: float, size: tuple[int, int]) -> Candidates:
    """Detections [M, 5] (x1, y1, x2, y2 in input pixels, score) and labels [M], as MMDeploy exports end to end."""
    detections, labels = np.asarray(outputs[0], np.float32), np.asarray(outputs[1]).astype(np.int64)
    keep = detections[:, 4] >= threshold
    return Candidates(detections[keep, :4], detections[keep, 4], labels[keep])


def scores_boxes(outputs: Outputs, threshold: float, size: tuple[int, int]) -> Candidates:
    """Scores [A, 1 + C], the background first, and boxes [A, 4] as x1, y1, x2, y2 in parts of the input."""
    scores, boxes = np.asarray(outputs[0], np.float32), np.asarray(outputs[1], np.float32)
    height, width = size
    return _above(boxes * np.array([width, height, width, height], np.float32), scores[:, 1:], threshold)


def yolox(outputs: Outputs, threshold: float, size: tuple[int, int]) -> Candidates:
    """One array [A, 5 + C] on the grids of strides 8, 16 and 32, row by row: centre in cells relative to the cell,
    logarithm of the sides in cells, objectness, C class probabilities.

    The decoding of YOLOX (github.com/Megvii-BaseDetection/YOLOX, ``demo_postprocess``); the score is their product.
    """
    rows = np.asarray(outputs[0], np.float32)
    grids = [_grid(size, stride) for stride in (8, 16, 32)]
    cells, strides = (np.concatenate(parts).astype(np.float32) for parts in zip(*grids, strict=True))
    if len(cells) != len(rows):
        raise ValueError(f"a yolox network of input {size} has {len(cells)} anchors, this one gave {len(rows)}")
    x, y = ((rows[:, :2] + cells) * strides).T
    width, height = (np.exp(rows[:, 2:4].clip(max=20)) * strides).T
    return _above(_corners(x, y, width, height), rows[:, 4:5] * rows[:, 5:], threshold)


LAYOUTS: dict[str, Layout] = {
    layout.__name__: layout for layout in (fastestdet, yolo, dets_labels, scores_boxes, yolox)
}  # fmt: skip


def non_maximum_suppression(candidates: Candidates, iou: float, limit: int) -> Candidates:
    """Greedy and per class: of boxes of one class that overlap by more than ``iou`` the best stays. Best first."""
    order = np.argsort(-candidates.scores, kind="stable")
    boxes, classes = candidates.boxes[order], candidates.classes[order]
    areas = np.prod((boxes[:, 2:] - boxes[:, :2]).clip(min=0), axis=1)
    alive = np.ones(len(order), bool)
    kept: list[int] = []
    for best in range(len(order)):
        if not alive[best]:
            continue
        kept.append(best)
        if len(kept) == limit:
            break
        corner = np.maximum(boxes[best, :2], boxes[best + 1 :, :2])
        shared = np.prod((np.minimum(boxes[best, 2:], boxes[best + 1 :, 2:]) - corner).clip(min=0), axis=1)
        union = areas[best] + areas[best + 1 :] - shared
        alive[best + 1 :] &= (shared <= iou * union) | (classes[best + 1 :] != classes[best])
    chosen = order[kept]
    return Candidates(candidates.boxes[chosen], candidates.scores[chosen], candidates.classes[chosen])


def _above(boxes: Floats, scores: Floats, threshold: float) -> Candidates:
    classes = scores.argmax(axis=1)
    best = scores[np.arange(len(scores)), classes]
    keep = best >= threshold
    return Candidates(boxes[keep], best[keep], classes[keep])


def _corners(x: Floats, y: Floats, width: Floats, height: Floats) -> Floats:
    return np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=1).astype(np.float32)


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * values)), np.float32)


def _grid(size: tuple[int, int], stride: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows, columns = size[0] // stride, size[1] // stride
    y, x = np.divmod(np.arange(rows * columns), columns)
    return np.stack([x, y], axis=1), np.full((rows * columns, 1), stride)
