"""The face detector as a deployment."""

from __future__ import annotations

from typing import Any

from ray import serve

from deployments.detector import DetectorReplica
from deployments.replica import Payload
from serve_app.annotation.labels import FoundFace


@serve.deployment
class FaceDetector(DetectorReplica):
    """Finds faces; it knows nobody, so every face is "unknown"."""

    def open_detector(self) -> Any:
        # Here, not above: what builds the application imports this file and has no use for ONNX Runtime.
        from serve_app.annotation.faces import find_faces, load_faces

        self.find_faces = find_faces
        return load_faces(self.model, self.files, self.recipe.threads)

    async def find(self, payload: Payload) -> list[FoundFace]:
        """Faces in pixels of the upright picture, best first, with landmarks where the detector gives them."""
        self.require()
        prepared = await self.in_thread(self.detector.prepare, await self.receive(payload))
        return self.find_faces(self.detector, await self.pictures.submit(prepared.tensor), prepared.geometry)
