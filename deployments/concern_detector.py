"""The classifier of disturbing content as a deployment."""

from __future__ import annotations

from typing import Any

import numpy as np
from ray import serve

from deployments.replica import ModelReplica, Payload


@serve.deployment
class ConcernDetector(ModelReplica):
    """Any classifier in ONNX, of pictures or of CLIP vectors, that a row of ``configs/models.yaml`` describes."""

    def load(self) -> None:
        # Here, not above: what builds the application imports this file and has no use for ONNX Runtime.
        from serve_app.annotation.concerns import load_concerns

        self.classifier = load_concerns(self.model, self.files, self.recipe.threads)
        self.classifier.warm()
        self.items = self.batcher(self.classifier.run)

    async def score(self, payload: Payload) -> float:
        """How sure it is, in [0, 1], that a picture is disturbing; ``unavailable`` where the row reads vectors."""
        self.require()
        tensor = await self.in_thread(self.classifier.prepare, await self.receive(payload))
        return self.classifier.finish(await self.items.submit(tensor))

    async def score_vector(self, vector: Any) -> float:
        """The same of a picture's CLIP vector [D]; ``unavailable`` where the row reads pictures or other vectors."""
        self.require()
        tensor = self.classifier.prepare_vector(np.asarray(vector, np.float32))
        return self.classifier.finish(await self.items.submit(tensor))
