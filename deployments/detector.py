"""What the deployments of detectors share: one picture in, labelled boxes out, batched."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from deployments.replica import ModelReplica, Payload
from serve_app.annotation.labels import Label


class DetectorReplica(ModelReplica):
    """Runs a detector of three verbs, ``prepare`` in threads and ``run`` in the batcher."""

    def open_detector(self) -> Any:
        """The detector of ``self.model`` from ``self.files``; heavy imports belong in here."""
        raise NotImplementedError

    def load(self) -> None:
        self.detector = self.open_detector()
        picture = io.BytesIO()
        Image.new("RGB", (64, 64)).save(picture, "PNG")
        self.detector.run([self.detector.prepare(picture.getvalue()).tensor])
        self.pictures = self.batcher(self.detector.run)

    async def detect(self, payload: Payload) -> list[Label]:
        """Labelled boxes in pixels of the upright picture, best first."""
        self.require()
        prepared = await self.in_thread(self.detector.prepare, await self.receive(payload))
        return self.detector.finish(await self.pictures.submit(prepared.tensor), prepared.geometry)
