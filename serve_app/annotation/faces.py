"""Faces by MTCNN (Zhang et al. 2016, "Joint Face Detection and Alignment using Multitask Cascaded Convolutional
Networks"), with the weights inside the facenet-pytorch package.

Nobody is recognised here: every face is labelled "unknown".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from facenet_pytorch import MTCNN
from numpy.typing import NDArray

from serve_app.annotation.labels import Label
from serve_app.annotation.objects import ObjectDetector, load_detector
from serve_app.media import images
from serve_app.models.manifest import Model

UNKNOWN = "unknown"
WORKING_SIDE = 1280
"""Longest side that is searched: the cascade's time grows with the area, and a face of 1/64 of it is still found."""
MIN_FACE = 20
"""Least side of a face in searched pixels: the networks see it at 12 pixels."""
MIN_CONFIDENCE = 0.9
"""The cascade's last network is sure of real faces (above .99 on portraits); below .9 stand patterns, not faces."""

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

    def __init__(self, threads: int = 0, device: str | None = None) -> None:
        """``threads`` bounds torch in this whole process (0 leaves it be); ``device`` None takes a GPU where one is."""
        if threads:
            torch.set_num_threads(threads)
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._cascade = MTCNN(keep_all=True, min_face_size=MIN_FACE, device=torch.device(chosen)).eval()

    def prepare(self, data: bytes) -> Searched:
        """The picture at the size that is searched; raises ``Problem`` for what cannot be decoded."""
        picture = images.decode(data, max_side=WORKING_SIDE)
        return Searched(picture.pixels, picture)

    def run(self, batch: Sequence[Pixels]) -> list[list[Face] | Exception]:
        """The faces of each picture (uint8 [H, W, 3] of any size), or what went wrong with it: others are not affected.

        Pictures go one by one, because the cascade only takes several of one size and then mixes their crops.
        """
        return [self._faces(pixels) for pixels in batch]

    def finish(self, faces: Sequence[Face], picture: images.Picture) -> list[Label]:
        """Labels best first, boxes in pixels of the full upright picture and clipped to it."""
        height, width = picture.pixels.shape[:2]
        scale = np.array([picture.width / width, picture.height / height] * 2)
        limit = np.array([picture.width, picture.height] * 2, np.float64)
        boxes = [(face.box * scale).clip(0, limit) for face in faces]
        return [
            Label(UNKNOWN, face.confidence, (float(x1), float(y1), float(x2), float(y2)))
            for face, (x1, y1, x2, y2) in zip(faces, boxes, strict=True)
            if x2 > x1 and y2 > y1
        ]

    def _faces(self, pixels: Pixels) -> list[Face] | Exception:
        try:
            if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
                raise ValueError(f"a picture is uint8 [H, W, 3], not {pixels.dtype} {list(pixels.shape)}")
            if min(pixels.shape[:2]) < MIN_FACE:
                return []  # the cascade crashes when its pyramid has no level
            boxes, confidences, landmarks = self._cascade.detect(pixels, landmarks=True)
        except Exception as error:
            return error
        if boxes is None:
            return []
        faces = [
            Face(np.asarray(box, np.float32), float(confidence), np.asarray(points, np.float32))
            for box, confidence, points in zip(boxes, confidences, landmarks, strict=True)
            if confidence >= MIN_CONFIDENCE
        ]
        return sorted(faces, key=lambda face: -face.confidence)


def load_faces(model: Model, files: Mapping[str, Path], threads: int = 0) -> FaceDetector | ObjectDetector:
    """The face detector of a manifest row: MTCNN, or any detector in ONNX that the row describes."""
    return load_detector(model, files, threads) if model.detector else FaceDetector(threads)
