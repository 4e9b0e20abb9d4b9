"""The object detector as a deployment."""

from __future__ import annotations

from typing import Any

from ray import serve

from deployments.detector import DetectorReplica
from serve_app.annotation.objects import load_detector


@serve.deployment
class ObjectDetector(DetectorReplica):
    """Any detector in ONNX that a row of ``configs/models.yaml`` describes."""

    def open_detector(self) -> Any:
        return load_detector(self.model, self.files, self.recipe.threads)
