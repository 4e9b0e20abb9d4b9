"""What detections are worth: average precision by pycocotools, how far scores are probabilities, and a threshold."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Matches:
    """Detections against the truth at IoU .5: ``precision`` is AP50 by class, nan without any truth; ``scores`` and
    ``right`` [D] tell of each detection whether it took a true box of its class; ``there`` counts the true boxes."""

    precision: NDArray[np.float64]
    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    there: int

    def at(self, threshold: float) -> tuple[float, float]:
        """Recall and precision of what scores at least ``threshold``; a precision of nothing is nan."""
        claimed = self.right[self.scores >= threshold]
        precision = float(claimed.mean()) if len(claimed) else float("nan")
        return float(claimed.sum()) / max(1, self.there), precision


def match(found: Sequence[Floats], truth: Sequence[Floats], classes: int) -> Matches:
    """COCO's evaluation at IoU .5, at most 100 detections a picture and class.

    ``found`` rows are x1, y1, x2, y2, score, class for each picture; ``truth`` rows x1, y1, x2, y2, class.
    """
    with redirect_stdout(io.StringIO()):
        run = COCOeval(_coco(truth, classes), _coco(found, classes), "bbox")
        run.params.iouThrs = np.array([0.5])
        run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
        run.params.maxDets = [100]
        run.evaluate()
        run.accumulate()
    by_class = run.eval["precision"][0, :, :, 0, 0].mean(axis=0)
    pictures = [picture for picture in run.evalImgs if picture is not None]
    return Matches(
        np.where(by_class < 0, np.nan, by_class),
        np.concatenate([picture["dtScores"] for picture in pictures] or [[]]),
        np.concatenate([picture["dtMatches"][0] for picture in pictures] or [[]]) > 0,
        sum(len(boxes) for boxes in truth),
    )


def _coco(pictures: Sequence[Floats], classes: int) -> COCO:
    """Boxes as COCO keeps them; the last column is the class, a score may stand before it."""
    notes: list[dict[str, Any]] = []
    for number, rows in enumerate(pictures):
        for x1, y1, x2, y2, *score, label in rows.tolist():
            width, height = x2 - x1, y2 - y1
            note = {"id": len(notes) + 1, "image_id": number, "category_id": int(label), "iscrowd": 0}
            notes.append(note | {"bbox": [x1, y1, width, height], "area": width * height, "score": sum(score)})
    result = COCO()
    result.dataset = {
        "images": [{"id": number} for number in range(len(pictures))],
        "categories": [{"id": label} for label in range(classes)],
        "annotations": notes,
    }
    result.createIndex()
    return result


def platt(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and intercept that make sigmoid(slope * logit(score) + intercept) the probability of being right.

    Platt (1999) with his smoothed targets, so that no finite sample asks for certainty; the slope stays positive: the
    order of the scores is kept. (1, 0) without any score.
    """
    if not len(scores):
        return 1.0, 0.0
    at = _logit(scores)
    hits = int(right.sum())
    target = np.where(right, (hits + 1) / (hits + 2), 1 / (len(right) - hits + 2))

    def loss(line: NDArray[np.float64]) -> float:
        z = line[0] * at + line[1]
        return float(-(target * log_expit(z) + (1 - target) * log_expit(-z)).mean())

    slope, intercept = minimize(loss, np.array([1.0, 0.0]), method="L-BFGS-B", bounds=[(0.01, None), (None, None)]).x
    return float(slope), float(intercept)


def undo_platt(scores: NDArray[np.float64], slope: float, intercept: float) -> NDArray[np.float64]:
    """The scores before :func:`platt`'s line."""
    return np.asarray(expit((_logit(scores) - intercept) / slope))


def _logit(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(logit(np.clip(scores.astype(np.float64), 1e-6, 1 - 1e-6)))


def calibration_error(
    scores: NDArray[np.float64], right: NDArray[np.bool_], least: float = 0.05, bins: int = 10
) -> float:
    """Expected calibration error (Guo et al. 2017) of the scores from ``least`` on, in bins of equal width."""
    right, scores = right[scores >= least], scores[scores >= least]
    if not len(scores):
        return float("nan")
    where = np.minimum((scores * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(where, weights=scores - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(scores))


def least_threshold(scores: Floats, pictures: int, target: float) -> float:
    """The least threshold, in hundredths, that at most ``target`` of the scores a picture reach."""
    over = np.sort(scores)[::-1][int(target * pictures) :]
    return min(1.0, (int(over[0] * 100) + 1) / 100) if len(over) else 0.0
