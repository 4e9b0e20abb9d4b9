"""Faces by MTCNN (Zhang et al. 2016, "Joint Face Detection and Alignment using Multitask Cascaded Convolutional
Networks"), or by any detector in ONNX that a manifest row describes.

Nobody is recognised here: every face is labelled "unknown".
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.annotation.labels import FoundFace, Label
from serve_app.annotation.mtcnn import Cascade, Found
from serve_app.annotation.objects import ObjectDetector, load_detector
from serve_app.media import images
from serve_app.models.manifest import Model
from serve_app.models.sessions import open_session, providers

UNKNOWN = "unknown"
WORKING_SIDE = 1280
"""Longest side that is searched: the cascade's time grows with the area, and a face of 1/64 of it is still found."""
MIN_FACE = 20
"""Least side of a face in searched pixels: the networks see it at 12 pixels."""
MIN_CONFIDENCE = 0.9
"""The cascade's last network is sure of real faces (above .99 on portraits); below .9 stand patterns, not faces."""
MAX_FACES = 500
"""Faces of one picture, the best ones: a crowd's photograph has fewer, a wall of printed faces more."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Face:
    """One face in searched pixels: ``box`` float32 [4] x1, y1, x2, y2; ``landmarks`` float32 [5, 2] x, y of the eyes,
    the nose and the corners of the mouth."""

    box: NDArray[np.float32]
    confidence: float
    landmarks: NDArray[np.float32]


@dataclass(frozen=True)
class Searched:
    """``tensor`` is uint8 [H, W, 3], the pixels that are searched; ``geometry`` leads back to the full picture."""

    tensor: Pixels
    geometry: images.Picture


class FaceDetector:
    """Prepare one picture, run several of any sizes, finish one answer."""

    def __init__(self, cascade: Cascade) -> None:
        self._cascade = cascade

    def prepare(self, data: bytes) -> Searched:
        """The picture at the size that is searched; raises ``Problem`` for what cannot be decoded."""
        picture = images.decode(data, max_side=WORKING_SIDE)
        return Searched(picture.pixels, picture)

    def run(self, batch: Sequence[Pixels]) -> list[list[Face] | Exception]:
        """The faces of each picture, best first, or what is wrong with it: the others are not affected."""
        answers: list[list[Face] | Exception] = [_fault(pixels) or [] for pixels in batch]
        whole = [number for number, answer in enumerate(answers) if not isinstance(answer, Exception)]
        for number, found in zip(whole, self._cascade.run([batch[number] for number in whole]), strict=True):
            answers[number] = _faces(found)
        return answers

    def find(self, faces: Sequence[Face], picture: images.Picture) -> list[FoundFace]:
        """Best first, in pixels of the full upright picture; boxes are clipped to it, landmarks may lie outside."""
        height, width = picture.pixels.shape[:2]
        scale = np.array([picture.width / width, picture.height / height])
        limit = np.array([picture.width, picture.height])
        found = []
        for face in faces:
            (x1, y1), (x2, y2) = (face.box.reshape(2, 2) * scale).clip(0, limit).tolist()
            if x2 > x1 and y2 > y1:
                landmarks = tuple((float(x), float(y)) for x, y in face.landmarks * scale)
                found.append(FoundFace((x1, y1, x2, y2), face.confidence, landmarks))
        return found

    def finish(self, faces: Sequence[Face], picture: images.Picture) -> list[Label]:
        """The same as labels."""
        return [Label(UNKNOWN, face.confidence, face.box) for face in self.find(faces, picture)]


def load_faces(model: Model, files: Mapping[str, Path], threads: int = 0) -> FaceDetector | ObjectDetector:
    """The face detector of a manifest row: MTCNN, or any detector in ONNX that the row describes.

    ``threads`` bounds the cores that a run uses, 0 takes all that this process may use.
    """
    if model.detector:
        return load_detector(model, files, threads)
    pnet, rnet, onet = (open_session(files[name], 1) for name in ("pnet", "rnet", "onet"))
    on_gpu = providers()[0][0].startswith("CUDA")
    return FaceDetector(Cascade(pnet, rnet, onet, MIN_FACE, threads or len(os.sched_getaffinity(0)), on_gpu))


def find_faces(detector: FaceDetector | ObjectDetector, outputs: Any, geometry: Any) -> list[FoundFace]:
    """What a detector's ``run`` gave for one picture as faces, best first; without landmarks where it gives none."""
    if isinstance(detector, FaceDetector):
        return detector.find(outputs, geometry)
    labels = detector.finish(outputs, geometry)
    return [FoundFace(label.box, label.confidence) for label in labels if label.box is not None]


def _fault(pixels: Pixels) -> ValueError | None:
    if pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8:
        return None
    return ValueError(f"a picture is uint8 [H, W, 3], not {pixels.dtype} {list(pixels.shape)}")


def _faces(found: Found) -> list[Face]:
    rows = zip(found.corners, found.scores, found.landmarks, strict=True)
    return [Face(box, float(score), marks) for box, score, marks in rows if score >= MIN_CONFIDENCE][:MAX_FACES]
