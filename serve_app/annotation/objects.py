"""Any object detector in ONNX that a manifest row describes: its input, its output layout and its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from PIL import Image

from serve_app.annotation.detector_layouts import LAYOUTS, Candidates, non_maximum_suppression
from serve_app.annotation.labels import Label
from serve_app.media import images
from serve_app.models.manifest import Detector, LabelsFile, Model
from serve_app.models.sessions import open_session

MAX_OBJECTS = 100
"""Labels of one picture; COCO's own evaluation looks at no more."""
MAX_CANDIDATES = 2000
"""Boxes that enter the suppression, the best ones: its cost grows with their square."""
WORKING_SIDES = 4
"""A picture is decoded at no more than this many times the network's input: finer detail is averaged away anyway."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Geometry:
    """The full upright picture, and how many of its pixels one pixel of the network's input covers."""

    width: int
    height: int
    scale_x: float
    scale_y: float


@dataclass(frozen=True)
class Prepared:
    """``tensor`` is float32 [3, H, W] as the network wants it."""

    tensor: Floats
    geometry: Geometry


class ObjectDetector:
    """Prepare one picture, run a batch, finish one answer."""

    def __init__(self, spec: Detector, labels: Sequence[str], session: InferenceSession) -> None:
        """Raises ValueError where the network's input does not fit what ``spec`` says."""
        self._spec = spec
        self._labels = list(labels)
        self._session = session
        self._layout = LAYOUTS[spec.layout]
        self._mean = np.asarray(spec.mean, np.float32).reshape(3, 1, 1)
        self._std = np.asarray(spec.std, np.float32).reshape(3, 1, 1)
        self._input = session.get_inputs()[0].name
        batch, channels, *sides = session.get_inputs()[0].shape
        self._one_by_one = isinstance(batch, int)
        fixed = (batch, 1), (channels, 3), *zip(sides, spec.input, strict=True)
        if any(isinstance(has, int) and has != wanted for has, wanted in fixed):
            raise ValueError(f"the network takes {[batch, channels, *sides]}, the manifest says {spec.input}")

    def prepare(self, data: bytes) -> Prepared:
        """Decode and normalise one picture; raises ``Problem`` for what cannot be decoded."""
        height, width = self._spec.input
        picture = images.decode(data, max_side=WORKING_SIDES * max(height, width))
        resized, (used_width, used_height) = self._resize(Image.fromarray(picture.pixels))
        tensor = np.asarray(resized, np.float32).transpose(2, 0, 1)
        if self._spec.colour == "bgr":
            tensor = tensor[::-1]
        geometry = Geometry(
            picture.width, picture.height, picture.width / used_width, picture.height / used_height
        )  # fmt: skip
        return Prepared(np.ascontiguousarray((tensor - self._mean) / self._std), geometry)

    def run(self, batch: NDArray[np.float32] | Sequence[Floats]) -> list[list[NDArray[Any]]]:
        """The outputs for each picture of a batch [N, 3, H, W], without batch axis.

        A network that was exported for one picture is called once for each.
        """
        tensors = np.asarray(batch, np.float32)
        if not len(tensors):
            return []
        groups = np.split(tensors, len(tensors)) if self._one_by_one else [tensors]
        results = (self._session.run(None, {self._input: group}) for group in groups)
        return [[output[item] for output in outputs] for outputs in results for item in range(len(outputs[0]))]

    def finish(self, outputs: Sequence[NDArray[Any]], geometry: Geometry) -> list[Label]:
        """Labels best first, boxes clipped to the picture; boxes that lie outside are dropped."""
        found = _best(self._layout(outputs, self._spec.threshold, self._spec.input))
        found = non_maximum_suppression(found, self._spec.nms_iou, MAX_OBJECTS)
        scale = np.array([geometry.scale_x, geometry.scale_y] * 2)
        boxes = (found.boxes * scale).clip(0, np.array([geometry.width, geometry.height] * 2, np.float64))
        return [
            Label(self._labels[kind], min(1.0, float(score)), (float(x1), float(y1), float(x2), float(y2)))
            for (x1, y1, x2, y2), score, kind in zip(boxes, found.scores, found.classes, strict=True)
            if x2 > x1 and y2 > y1
        ]

    def _resize(self, picture: Image.Image) -> tuple[Image.Image, tuple[float, float]]:
        """The input picture, and the width and height that the real picture takes up in it."""
        height, width = self._spec.input
        if self._spec.resize != "letterbox":
            # Averaging areas is only defined for shrinking; OpenCV's area mode, too, interpolates when it enlarges.
            shrinks = picture.width >= width and picture.height >= height
            method = "BOX" if self._spec.resize == "area" and shrinks else "BILINEAR"
            return picture.resize((width, height), Image.Resampling[method]), (width, height)
        return images.letterbox(picture, (width, height), self._spec.pad)


def load_detector(model: Model, files: Mapping[str, Path], threads: int = 0) -> ObjectDetector:
    """Open the detector of a manifest row whose ``files`` (logical name -> path) are on this machine."""
    if model.detector is None:
        raise ValueError(f"{model.name} has no detector section")
    labels = model.detector.labels
    if isinstance(labels, LabelsFile):
        labels = files[labels.file].read_text(encoding="utf-8").splitlines()
    return ObjectDetector(model.detector, labels, open_session(files["weights"], threads))


def _best(found: Candidates) -> Candidates:
    """The best candidates, without those a network that overflowed left not finite."""
    usable = np.nonzero(np.isfinite(found.boxes).all(axis=1) & np.isfinite(found.scores))[0]
    chosen = usable[np.argsort(-found.scores[usable], kind="stable")[:MAX_CANDIDATES]]
    return Candidates(found.boxes[chosen], found.scores[chosen], found.classes[chosen])
