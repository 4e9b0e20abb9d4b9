"""Each layout against a plain loop that follows the published post-processing one cell at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from serve_app.annotation.detector_layouts import LAYOUTS, Candidates, non_maximum_suppression


def rows_of(found: Candidates) -> list[tuple[float, ...]]:
    return sorted(
        (*box, score, kind) for box, score, kind in zip(found.boxes, found.scores, found.classes, strict=True)
    )


def same(found: Candidates, wanted: list[tuple[float, ...]]) -> None:
    assert len(wanted) > 3
    assert np.allclose(rows_of(found), sorted(wanted), rtol=1e-4, atol=1e-3)


def test_fastestdet_against_its_published_loop() -> None:
    dice = np.random.default_rng(3)
    maps = dice.normal(size=(85, 6, 5)).astype(np.float32)
    maps[0], maps[5:] = dice.uniform(size=(6, 5)), dice.dirichlet(np.full(80, 0.05), (6, 5)).transpose(2, 0, 1)
    wanted = []
    for row in range(6):
        for column in range(5):
            cell = [float(value) for value in maps[:, row, column]]
            best = max(range(80), key=lambda kind: cell[5 + kind])
            score = cell[0] ** 0.6 * cell[5 + best] ** 0.4
            if score >= 0.5:
                width, height = 1 / (1 + math.exp(-cell[3])), 1 / (1 + math.exp(-cell[4]))
                x, y = (column + math.tanh(cell[1])) / 5, (row + math.tanh(cell[2])) / 6
                wanted.append((320 * (x - width / 2), 352 * (y - height / 2), 320 * (x + width / 2),
                               352 * (y + height / 2), score, best))  # fmt: skip
    same(LAYOUTS["fastestdet"]([maps], 0.5, (352, 320)), wanted)


def test_yolox_against_its_published_loop() -> None:
    dice = np.random.default_rng(4)
    anchors = [(stride, x, y) for stride in (8, 16, 32) for y in range(64 // stride) for x in range(96 // stride)]
    rows = np.concatenate([dice.normal(size=(len(anchors), 4)), dice.uniform(size=(len(anchors), 4))], axis=1)
    wanted = []
    for (stride, x, y), (dx, dy, width, height, objectness, *classes) in zip(anchors, rows.tolist(), strict=True):
        score = objectness * max(classes)
        if score >= 0.4:
            middle, half = (
                ((dx + x) * stride, (dy + y) * stride),
                (math.exp(width) * stride / 2, math.exp(height) * stride / 2),
            )
            wanted.append((middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1], score,
                           classes.index(max(classes))))  # fmt: skip
    same(LAYOUTS["yolox"]([rows.astype(np.float32)], 0.4, (64, 96)), wanted)
    with pytest.raises(ValueError, match="anchors"):
        LAYOUTS["yolox"]([rows.astype(np.float32)], 0.4, (64, 64))


def test_yolo_and_scores_boxes_and_dets_labels() -> None:
    dice = np.random.default_rng(5)
    centres, scores = dice.uniform(10, 20, (30, 4)).astype(np.float32), dice.uniform(size=(30, 3)).astype(np.float32)
    corners = [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in centres.tolist()]
    wanted = [
        (*box, max(row), row.index(max(row)))
        for box, row in zip(corners, scores.tolist(), strict=True)
        if max(row) >= 0.7
    ]
    same(LAYOUTS["yolo"]([np.concatenate([centres, scores], axis=1).T], 0.7, (32, 32)), wanted)
    parts = np.array(corners, np.float32) / [64, 32, 64, 32]
    background = np.ones((30, 1), np.float32)
    same(LAYOUTS["scores_boxes"]([np.concatenate([background, scores], axis=1), parts], 0.7, (32, 64)), wanted)
    ended = np.array([row[:5] for row in wanted] + [(1, 1, 2, 2, 0.69)], np.float32)
    kinds = np.array([row[5] for row in wanted] + [0], np.int64)
    same(LAYOUTS["dets_labels"]([ended, kinds], 0.7, (32, 32)), wanted)


def test_suppression_against_a_loop() -> None:
    dice = np.random.default_rng(6)
    corner = dice.uniform(0, 50, (200, 2))
    boxes = np.concatenate([corner, corner + dice.uniform(5, 30, (200, 2))], axis=1).astype(np.float32)
    found = Candidates(boxes, dice.uniform(size=200).astype(np.float32), dice.integers(0, 3, 200))

    def overlap(one: list[float], other: list[float]) -> float:
        width = min(one[2], other[2]) - max(one[0], other[0])
        height = min(one[3], other[3]) - max(one[1], other[1])
        shared = max(0.0, width) * max(0.0, height)
        return shared / ((one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - shared)

    kept: list[int] = []
    for at in sorted(range(200), key=lambda at: -found.scores[at]):
        rivals = [one for one in kept if found.classes[one] == found.classes[at]]
        if all(overlap(boxes[one].tolist(), boxes[at].tolist()) <= 0.4 for one in rivals):
            kept.append(at)
    assert 10 < len(kept) < 150
    assert np.array_equal(non_maximum_suppression(found, 0.4, 200).boxes, boxes[kept])
    assert np.array_equal(non_maximum_suppression(found, 0.4, 5).scores, found.scores[kept[:5]])
