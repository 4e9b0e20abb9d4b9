"""The detector's arithmetic against values worked out by hand or by another method."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, logit

from serve_app.models.embedded.detector import (
    Detector,
    DetectorConfig,
    assign,
    augmented,
    cell_points,
    detect,
    overlap,
)
from serve_app.models.embedded.figures import calibration_error, least_threshold, match, platt, undo_platt

PACKAGE = Path(str(files("serve_app.models.embedded")))

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


class _Fixed(Detector):
    """Answers every picture with the same rows."""

    def __init__(self, rows: list[list[float]]) -> None:
        super().__init__(SMALL)
        self.rows = torch.tensor(rows).T

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rows.expand(len(x), *self.rows.shape)


def test_suppression_is_per_class() -> None:
    model = _Fixed([[10, 10, 8, 8, 0.9, 0], [11, 10, 8, 8, 0.8, 0], [10, 10, 8, 8, 0, 0.7], [40, 40, 8, 8, 0.1, 0]])
    found = detect(model, np.zeros((2, 64, 64, 3), np.uint8), 0.3, 0.5)
    assert len(found) == 2
    assert found[1][:, 4:].tolist() == [pytest.approx([0.9, 0]), pytest.approx([0.7, 1])]
    assert found[1][0, :4].tolist() == [6, 6, 14, 14]


def test_scores_follow_the_line_of_the_calibration() -> None:
    model = Detector(SMALL).eval()
    model.slope.fill_(2.0)
    model.intercept.fill_(0.5)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = 1 / (1 + torch.exp(-(2 * model.raw(x)[0] + 0.5)))
        assert torch.allclose(model(x)[:, 4:].transpose(1, 2), expected, atol=1e-6)


def _average_precision_by_definition(hits: list[bool], total: int) -> float:
    """COCO's: the mean over the recalls 0, .01 ... 1 of the best precision at that recall or beyond."""
    points = [(sum(hits[: n + 1]) / total, sum(hits[: n + 1]) / (n + 1)) for n in range(len(hits))]
    return float(np.mean([max((p for r, p in points if r >= least), default=0) for least in np.linspace(0, 1, 101)]))


def test_matches_against_the_definition_of_average_precision() -> None:
    rng = np.random.default_rng(5)
    for _ in range(5):
        hits = (rng.random(15) < 0.6).tolist()
        truth = [np.array([[20 * i, 0, 20 * i + 10, 10, 1] for i in range(20)], np.float32)]
        rows = []
        for rank, hit in enumerate(hits):
            x = 20 * rank if hit else 20 * rank + 12
            rows.append([x, 0, x + (10 if hit else 5), 10, 1 - rank / 100, 1])
        matches = match([np.array(rows, np.float32)], truth, 2)
        assert np.isnan(matches.precision[0]), "there is none of that class"
        assert matches.precision[1] == pytest.approx(_average_precision_by_definition(hits, 20))
        assert matches.right.tolist() == hits
        assert matches.at(0.945) == pytest.approx((sum(hits[:6]) / 20, sum(hits[:6]) / 6))


def test_a_box_counts_once_and_for_its_class() -> None:
    truth = [np.array([[0, 0, 10, 10, 0]], np.float32), np.empty((0, 5), np.float32)]
    found = [
        np.array([[0, 0, 10, 10, 0.9, 0], [0, 0, 10, 10, 0.8, 0], [0, 0, 10, 10, 0.7, 1]], np.float32),
        np.array([[0, 0, 10, 10, 0.6, 0]], np.float32),
    ]
    matches = match(found, truth, 2)
    assert dict(zip(matches.scores.round(2).tolist(), matches.right.tolist(), strict=True)) == {
        0.9: True, 0.8: False, 0.7: False, 0.6: False,
    }  # fmt: skip
    nothing = match([np.empty((0, 6), np.float32)] * 2, truth, 2)
    assert nothing.precision[0] == 0
    assert nothing.at(0.5) == (0, pytest.approx(np.nan, nan_ok=True))


def test_platt_scaling_finds_the_line_that_drew_the_truth() -> None:
    rng = np.random.default_rng(1)
    scores = rng.uniform(0.02, 0.98, 50_000)
    right = rng.random(50_000) < expit(1.7 * logit(scores) - 0.8)
    slope, intercept = platt(scores, right)
    assert (slope, intercept) == (pytest.approx(1.7, abs=0.05), pytest.approx(-0.8, abs=0.05))
    calibrated = expit(slope * logit(scores) + intercept)
    assert undo_platt(calibrated, slope, intercept) == pytest.approx(scores)
    assert calibration_error(calibrated, right) < 0.01 < 0.1 < calibration_error(scores, right)


def test_platt_scaling_of_nothing_and_of_only_errors() -> None:
    assert platt(np.empty(0), np.empty(0, bool)) == (1, 0)
    slope, intercept = platt(np.array([0.3, 0.6, 0.9]), np.zeros(3, bool))
    assert slope > 0
    assert np.isfinite(intercept)


def test_calibration_error_by_hand() -> None:
    scores = np.array([0.01, 0.12, 0.18, 0.95, 0.95, 1.0])
    right = np.array([True, False, True, True, True, False])
    # The first is too low to count; .1 to .2: mean score .15, half are right; from .9 on: mean .9667, two of three.
    assert calibration_error(scores, right) == pytest.approx((2 * 0.35 + 3 * 0.3) / 5)


def test_the_least_threshold_with_so_few_false_detections() -> None:
    scores = np.array([0.9, 0.613, 0.6, 0.2], np.float32)
    assert least_threshold(scores, 10, 0.2) == 0.61
    assert least_threshold(scores, 10, 0.1) == 0.62
    assert least_threshold(scores, 10, 0.5) == 0
