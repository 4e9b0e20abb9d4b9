"""The face detector behind a batcher."""

from __future__ import annotations

import io

from PIL import Image
from ray import serve

from deployments.replica import ModelReplica, Payload
from serve_app.annotation.labels import Label


@serve.deployment
class FaceDetector(ModelReplica):
    """Finds faces in one picture a call; it knows nobody, so every face is "unknown"."""

    def load(self) -> None:
        # Here, not above: what builds the application imports this file and has no use for torch.
        from serve_app.annotation.faces import load_faces

        self.detector = load_faces(self.model, self.files, self.recipe.threads)
        picture = io.BytesIO()
        Image.new("RGB", (64, 64)).save(picture, "PNG")
        self.detector.run([self.detector.prepare(picture.getvalue()).tensor])
        self.pictures = self.batcher(self.detector.run)

    async def detect(self, payload: Payload) -> list[Label]:
        """Boxes in pixels of the upright picture, best first."""
        self.require()
        prepared = await self.in_thread(self.detector.prepare, await self.receive(payload))
        return self.detector.finish(await self.pictures.submit(prepared.tensor), prepared.geometry)
