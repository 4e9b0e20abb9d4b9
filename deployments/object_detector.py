"""The object detector behind a batcher."""

from __future__ import annotations

import io

from PIL import Image
from ray import serve

from deployments.replica import ModelReplica, Payload
from serve_app.annotation.labels import Label
from serve_app.annotation.objects import load_detector


@serve.deployment
class ObjectDetector(ModelReplica):
    """Detects objects in one picture a call; concurrent calls share batches."""

    def load(self) -> None:
        self.detector = load_detector(self.model, self.files, self.recipe.threads)
        picture = io.BytesIO()
        Image.new("RGB", (64, 64)).save(picture, "PNG")
        self.detector.run([self.detector.prepare(picture.getvalue()).tensor])
        self.pictures = self.batcher(self.detector.run)

    async def detect(self, payload: Payload) -> list[Label]:
        """Labelled boxes in pixels of the upright picture, best first."""
        self.require()
        prepared = await self.in_thread(self.detector.prepare, await self.receive(payload))
        return self.detector.finish(await self.pictures.submit(prepared.tensor), prepared.geometry)
