"""The face descriptor as a deployment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from ray import serve

from deployments.replica import ModelReplica, Payload
from serve_app.annotation.descriptor import Described, load_descriptor
from serve_app.annotation.labels import FoundFace


@serve.deployment
class FaceDescriptor(ModelReplica):
    """Any face network in ONNX that a row of ``configs/models.yaml`` describes; whose face it is, it does not know."""

    def load(self) -> None:
        self.descriptor = load_descriptor(self.model, self.files, self.recipe.threads)
        self.descriptor.warm()
        self.faces = self.batcher(self.descriptor.run)

    async def describe(self, payload: Payload, faces: Sequence[FoundFace]) -> Described:
        """The vectors of the faces that were found in a picture, in their order, and the crops that may be kept."""
        self.require()
        prepared = await self.in_thread(self.descriptor.prepare, await self.receive(payload), faces)
        rows = await asyncio.gather(*(self.faces.submit(one.tensor) for one in prepared))
        vectors = np.array([self.descriptor.finish(row) for row in rows], np.float32)
        return Described(vectors.reshape(len(rows), self.descriptor.dim), [one.kept for one in prepared])
