"""What a detector's raw output is worth: non-maximum suppression and average precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def iou_matrix(a: Floats, b: Floats) -> Floats:
    """Overlap [A, B] of x1y1x2y2 boxes [A, 4] and [B, 4]."""
    inner = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = inner.clip(0).prod(-1)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(-1), (b[:, 2:] - b[:, :2]).prod(-1)
    return np.asarray(shared / np.maximum(area_a[:, None] + area_b[None] - shared, 1e-6), np.float32)


def detections(output: Floats, threshold: float, nms_iou: float) -> Floats:
    """One picture's ``yolo`` output [4 + C, A] to rows x1, y1, x2, y2, score, class, best first.

    Non-maximum suppression is per class.
    """
    scores = output[4:].max(axis=0)
    keep = np.flatnonzero(scores >= threshold)
    keep = keep[np.argsort(-scores[keep], kind="stable")]
    centre, size = output[:2, keep].T, output[2:4, keep].T
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    classes = output[4:, keep].argmax(axis=0)
    overlaps = (iou_matrix(boxes, boxes) > nms_iou) & (classes[:, None] == classes[None])
    alive: list[int] = []
    for index in range(len(keep)):
        if not overlaps[index, alive].any():
            alive.append(index)
    rows = np.concatenate([boxes, scores[keep, None], classes[:, None]], axis=1)
    return rows[alive].astype(np.float32)


def average_precision(found: list[Floats], truth: list[Floats], label: int, least_iou: float = 0.5) -> float:
    """Area under the interpolated precision-recall curve of one class over pictures (all-point, as Pascal VOC 2010).

    ``found`` rows are x1, y1, x2, y2, score, class; ``truth`` rows x1, y1, x2, y2, class. nan without any truth.
    """
    scores, hits = [], []
    total = sum(int((boxes[:, 4] == label).sum()) for boxes in truth)
    for rows, boxes in zip(found, truth, strict=True):
        mine, theirs = rows[rows[:, 5] == label], boxes[boxes[:, 4] == label]
        free = np.ones(len(theirs), bool)
        overlaps = iou_matrix(mine[:, :4], theirs[:, :4])
        for index in np.argsort(-mine[:, 4], kind="stable"):
            candidates = np.where(free, overlaps[index], -1) if len(theirs) else np.array([-1.0])
            best = int(candidates.argmax())
            hit = candidates[best] >= least_iou
            if hit:
                free[best] = False
            scores.append(mine[index, 4])
            hits.append(bool(hit))
    if not total:
        return float("nan")
    order = np.argsort(-np.array(scores, np.float32), kind="stable")
    right = np.cumsum(np.array(hits, bool)[order])
    recall = right / total
    precision = right / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))
