"""The detector's arithmetic against values worked out by hand or by another method."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from serve_app.models.embedded.detector import (
    Detector,
    DetectorConfig,
    assign,
    augmented,
    cell_points,
    overlap,
)
from serve_app.models.embedded.figures import average_precision, detections, iou_matrix

SMALL = DetectorConfig(image_size=64, widths=(8, 8, 16, 16), depths=(0, 1, 1), neck=16)


def test_overlap_by_hand() -> None:
    a = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 1, 1]])
    b = torch.tensor([[5.0, 0, 15, 10], [0, 0, 10, 10], [2, 0, 3, 1]])
    iou, giou = overlap(a, b)
    assert iou.tolist() == pytest.approx([1 / 3, 1, 0])
    assert giou.tolist() == pytest.approx([1 / 3, 1, -1 / 3])


def test_cells_answer_for_the_box_centred_near_them() -> None:
    boxes = torch.full((1, 3, 5), -1.0)
    boxes[0, 0] = torch.tensor([24.0, 24, 48, 48, 2])
    owner = assign(boxes, 128)[0]
    points, _ = cell_points(128)
    mine = points[owner == 0]
    assert (owner[256:] == -1).all(), "a small box belongs to the fine grid"
    assert len(mine) == 9
    assert (mine - 36).abs().max() == 8
    boxes[0, 0] = torch.tensor([4.0, 4, 124, 124, 2])
    owner = assign(boxes, 128)[0]
    assert (owner[:256] == -1).all(), "a large box belongs to the coarse grid"
    assert (owner[256:] == 0).any()


def test_of_two_boxes_the_smaller_one_wins() -> None:
    boxes = torch.tensor([[[8.0, 8, 56, 56, 0], [29, 29, 43, 43, 1]]])
    owner = assign(boxes, 64)[0][:64].view(8, 8)
    assert owner[4, 4] == 1, "the cell at (36, 36) lies in both"
    assert owner[3, 3] == 0, "the cell at (28, 28) lies in the larger one only"
    assert (owner >= 0).sum() == 4


def test_output_is_centre_size_and_scores() -> None:
    model = Detector(SMALL).eval()
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        output = model(x)
        logits, sides = model.raw(x)
    assert output.shape == (2, 4 + 7, 8 * 8 + 4 * 4)
    assert (output[:, 2:4] >= 0).all()
    assert torch.allclose(output[:, 4:], logits.transpose(1, 2).sigmoid())
    points, _ = cell_points(64)
    left = output[:, 0] - output[:, 2] / 2
    assert torch.allclose(left, points[:, 0] - sides[..., 0], atol=1e-4)


def test_augmented_boxes_follow_the_pixels() -> None:
    pixels = np.zeros((2, 64, 64, 3), np.uint8)
    pixels[:, 10:30, 40:60] = 255
    boxes = np.full((2, 4, 5), -1, np.float32)
    boxes[:, 0] = (40, 10, 60, 30, 3)
    seen = set()
    for seed in range(12):
        x, moved = augmented(np.random.default_rng(seed), pixels, boxes)
        rows, columns = np.nonzero(x[0].mean(0).numpy() > 0.55)
        box = moved[0, 0, :4].tolist()
        assert box == pytest.approx([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], abs=1.6)
        assert (moved[:, 1:] == -1).all()
        seen.add(round(box[0]))
    assert len(seen) > 2


def test_suppression_is_per_class() -> None:
    output = np.zeros((4 + 2, 4), np.float32)
    output[:4] = np.array([[10, 10, 8, 8], [11, 10, 8, 8], [10, 10, 8, 8], [40, 40, 8, 8]]).T
    output[4:] = np.array([[0.9, 0], [0.8, 0], [0, 0.7], [0.1, 0]]).T
    rows = detections(output, 0.3, 0.5)
    assert rows[:, 4].tolist() == pytest.approx([0.9, 0.7])
    assert rows[0, :4].tolist() == [6, 6, 14, 14]


def _average_precision_by_definition(hits: list[bool], total: int) -> float:
    """The mean, over the true boxes, of the best precision at or after the rank at which each was found."""
    precision = [sum(hits[: rank + 1]) / (rank + 1) for rank in range(len(hits))]
    return sum(max(precision[rank:]) for rank, hit in enumerate(hits) if hit) / total


def test_average_precision_against_its_definition() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        hits = (rng.random(15) < 0.6).tolist()
        truth = [np.array([[20 * i, 0, 20 * i + 10, 10, 0] for i in range(20)], np.float32)]
        rows = []
        for rank, hit in enumerate(hits):
            x = 20 * rank if hit else 20 * rank + 12
            rows.append([x, 0, x + (10 if hit else 5), 10, 1 - rank / 100, 0])
        found = [np.array(rows, np.float32)]
        assert average_precision(found, truth, 0) == pytest.approx(_average_precision_by_definition(hits, 20))


def test_a_box_found_twice_counts_once() -> None:
    truth = [np.array([[0, 0, 10, 10, 0]], np.float32)]
    found = [np.array([[0, 0, 10, 10, 0.9, 0], [0, 0, 10, 10, 0.8, 0]], np.float32)]
    assert average_precision(found, truth, 0) == 1.0
    assert np.isnan(average_precision(found, truth, 1))
    assert iou_matrix(found[0][:, :4], truth[0][:, :4]).tolist() == [[1.0], [1.0]]
