"""The face detector as a deployment."""

from __future__ import annotations

from typing import Any

from ray import serve

from deployments.detector import DetectorReplica


@serve.deployment
class FaceDetector(DetectorReplica):
    """Finds faces; it knows nobody, so every face is "unknown"."""

    def open_detector(self) -> Any:
        # Here, not above: what builds the application imports this file and has no use for torch.
        from serve_app.annotation.faces import load_faces

        return load_faces(self.model, self.files, self.recipe.threads)
