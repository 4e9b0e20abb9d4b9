"""The action network as a deployment: clips of any request share its batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray import serve

from deployments.replica import ModelReplica
from serve_app.annotation.labels import Label

Clip = NDArray[np.uint8]


@serve.deployment
class ActionRecognizer(ModelReplica):
    """Says what happens in a clip."""

    def load(self) -> None:
        # Here, not above: what builds the application imports this file and has no use for ONNX Runtime.
        from serve_app.annotation.actions import load_actions

        self.recognizer = load_actions(self.model, self.files, self.recipe.threads)
        self.clips = self.batcher(self.recognizer.run)

    async def recognize(self, payload: Clip | Sequence[ray.ObjectRef]) -> list[Label]:
        """Labels of a clip uint8 [T, S, S, 3] in RGB (or of a reference to one), the surest first."""
        self.require()
        pixels: Any = payload if isinstance(payload, np.ndarray) else await payload[0]
        tensor = await self.in_thread(self.recognizer.prepare, pixels)
        return self.recognizer.finish(await self.clips.submit(tensor))
