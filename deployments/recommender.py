"""Clustering a user's posts: CPU work of seconds, kept out of the door's process."""

from __future__ import annotations

import asyncio

import numpy as np
from ray import serve

from serve_app.recommendation.seeds import Scatter, Seed
from serve_app.retrieval.hits import Floats


@serve.deployment
class Recommender:
    """Says from which of a user's posts to search, and for how many results each."""

    def __init__(self) -> None:
        # Here, not above: what builds the application imports this file and has no use for HDBSCAN.
        from serve_app.recommendation import profile

        self.profile = profile

    async def plan(self, vectors: Floats, k: int, seed: int = 0) -> list[Seed] | Scatter:
        """Seeds for vectors [N, D] of one type of post; the same ``seed`` gives the same choice."""
        return await asyncio.to_thread(self._plan, np.asarray(vectors), k, seed)

    def _plan(self, vectors: Floats, k: int, seed: int) -> list[Seed] | Scatter:
        return self.profile.seeds(vectors, self.profile.cluster(vectors), k, seed=seed)
