"""The embedded detector on scenes and photographs held out, through the reading of its file that serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serve_app.annotation.objects import ObjectDetector
from serve_app.evaluation.photographs import Pixels, encoded
from serve_app.evaluation.report import Figures, Tell, counted, say_nothing
from serve_app.models.embedded.figures import Floats, calibration_error, match, undo_platt
from serve_app.models.embedded.held_out import calibration_negatives, held_out_negatives, held_out_shapes
from serve_app.models.manifest import Model
from serve_app.models.sessions import open_session

LEAST_SCORE = 0.001  # far below any threshold: average precision wants the whole curve
NEGATIVES = 400


@dataclass(frozen=True)
class Stored:
    """What a trained file says of itself: its threshold, and the line that made its scores probabilities."""

    threshold: float
    nms_iou: float
    slope: float
    intercept: float


class Reader:
    """The detector of a manifest's row with the weights at ``path``; it reports whatever scores LEAST_SCORE."""

    def __init__(self, model: Model, path: Path, threads: int = 0) -> None:
        """Raises ValueError for a file that says nothing of its threshold."""
        if model.detector is None or not isinstance(model.detector.labels, list):
            raise ValueError(f"{model.name} has no detector section with labels")
        session = open_session(path, threads)
        notes = session.get_modelmeta().custom_metadata_map
        if missing := Stored.__annotations__.keys() - notes.keys():
            raise ValueError(f"{path} does not say its {', '.join(sorted(missing))}: train it again")
        self.stored = Stored(**{name: float(notes[name]) for name in Stored.__annotations__})
        self.labels, self.size = model.detector.labels, model.detector.input[0]
        spec = model.detector.model_copy(update={"threshold": LEAST_SCORE, "nms_iou": self.stored.nms_iou})
        self._detector = ObjectDetector(spec, self.labels, session)

    def find(self, pixels: Pixels) -> Floats:
        """Rows x1, y1, x2, y2, score, class of a picture uint8 [H, W, 3], best first."""
        prepared = self._detector.prepare(encoded(pixels))
        found = self._detector.finish(self._detector.run([prepared.tensor])[0], prepared.geometry)
        rows = [(*one.box, one.confidence, self.labels.index(one.label)) for one in found if one.box]
        return np.array(rows, np.float32).reshape(-1, 6)

    def claims(self, pictures: Sequence[Pixels], tell: Tell = say_nothing) -> float:
        """Detections a picture at the stored threshold: false ones, where there is nothing to find."""
        every = [self.find(pixels) for pixels in counted(pictures, "reading photographs", tell)]
        return float(np.mean([(rows[:, 4] >= self.stored.threshold).sum() for rows in every]))


def scene_figures(reader: Reader, count: int, tell: Tell = say_nothing) -> Figures:
    """AP50, recall and precision, and calibration on ``count`` scenes over the test photographs."""
    tell("drawing scenes", 0, count)
    scenes = held_out_shapes(count, reader.size)
    truth = [boxes[boxes[:, 4] >= 0] for boxes in scenes.boxes]
    found = [reader.find(pixels) for pixels in counted(list(scenes.pixels), "reading scenes", tell)]
    matches = match(found, truth, len(reader.labels))
    before = undo_platt(matches.scores, reader.stored.slope, reader.stored.intercept)
    recall, precision = matches.at(reader.stored.threshold)
    return {
        "mAP50": float(np.nanmean(matches.precision)),
        **{f"AP50 {label}": float(value) for label, value in zip(reader.labels, matches.precision, strict=True)},
        "threshold": reader.stored.threshold,
        "recall at the threshold": recall,
        "precision at the threshold": precision,
        "expected calibration error": calibration_error(matches.scores, matches.right),
        "expected calibration error before calibration": calibration_error(before, matches.right),
    }


def evaluate(
    model: Model, weights: Path, scenes: int, photographs: Sequence[Pixels], tell: Tell = say_nothing
) -> Figures:
    """Figures of ``scenes`` held out, and detections on crops without anything to find and on ``photographs``."""
    reader = Reader(model, weights)
    empty = {
        "crop of a calibration photograph": calibration_negatives(NEGATIVES),
        "crop of a held-out photograph": held_out_negatives(NEGATIVES),
        f"photograph, {len(photographs)} given": photographs,
    }
    return scene_figures(reader, scenes, tell) | {
        f"false detections a {kind}": reader.claims(pictures, tell) for kind, pictures in empty.items() if pictures
    }
