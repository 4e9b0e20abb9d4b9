"""What tells whether a picture is of concern, disturbing or not safe for work, as a deployment."""

from __future__ import annotations

from typing import Any

from ray import serve

from deployments.head import HeadReplica
from deployments.replica import Payload


@serve.deployment
class ConcernDetector(HeadReplica):
    """Any classifier or prompts that a row of ``configs/models.yaml`` describes, with labels that are of concern."""

    async def score(self, payload: Payload) -> float:
        """How sure it is, in [0, 1], that a picture is of concern; ``unavailable`` where the row reads vectors."""
        row = await self.read(payload)
        return float(self.head.score(row))

    async def score_vector(self, vector: Any) -> float:
        """The same of a picture's CLIP vector [D]; ``unavailable`` where the row reads pictures or other vectors."""
        row = await self.read_vector(vector)
        return float(self.head.score(row))
