"""What people do in a picture, as a deployment."""

from __future__ import annotations

from typing import Any

from ray import serve

from deployments.head import HeadReplica
from deployments.replica import Payload
from serve_app.annotation.labels import Label


@serve.deployment
class StillActions(HeadReplica):
    """Any classifier or prompts that a row of ``configs/models.yaml`` describes, whose labels are actions."""

    async def recognize(self, payload: Payload) -> list[Label]:
        """Actions in a picture, the surest first; ``unavailable`` where the row reads vectors."""
        row = await self.read(payload)
        labels: list[Label] = self.head.finish(row)
        return labels

    async def recognize_vector(self, vector: Any) -> list[Label]:
        """The same of a picture's CLIP vector [D]; ``unavailable`` where the row reads pictures or other vectors."""
        row = await self.read_vector(vector)
        labels: list[Label] = self.head.finish(row)
        return labels
