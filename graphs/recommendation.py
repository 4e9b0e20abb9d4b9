"""A user's own posts become seeds, each seed a search, the searches one list: for texts and pictures separately."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphs.calls import call
from graphs.retrieval import RetrievalGraph, nobody_else
from serve_app.catalog import validate_id
from serve_app.recommendation.blend import blend, scatter
from serve_app.recommendation.seeds import Scatter, Seed
from serve_app.retrieval.hits import LEGACY, Floats, Hits

LATEST_POSTS = 500
"""Posts that make a profile: clustering is quadratic, and taste moves on."""
SCATTERED_SEEDS = 50
"""Seeds when nothing clusters: each costs a search in every shard."""


@dataclass(frozen=True)
class RecommendationGraph:
    """Recommendation without behaviour tracking (D3.2, section 4)."""

    retrieval: RetrievalGraph
    recommender: Any

    async def recommend(self, user: str, k: int) -> dict[str, Any]:
        """Seed type over result type, each a ranking or, where nobody else has such contents, the known sentence.

        A user without posts of a type gets empty lists for it. The draws are seeded: the same state of the catalog
        gives the same answer.
        """
        validate_id(user, "user")
        answers = await asyncio.gather(*(self._from_posts(user, k, modality) for modality in LEGACY))
        return dict(zip(LEGACY, answers, strict=True))

    async def _from_posts(self, user: str, k: int, modality: str) -> dict[str, Any]:
        places = self.retrieval.places
        _, vectors = await asyncio.to_thread(
            places.catalog.vectors.of_owner, user, modality, places.revision, LATEST_POSTS
        )
        others = await asyncio.gather(*(self._others(user, result) for result in LEGACY))
        plan: list[Seed] | Scatter = []
        if len(vectors):
            plan = await call(self.recommender.plan, vectors, k)
        found = await self._search(user, k, vectors, plan)
        return {
            result: (await self.retrieval.name(hits)).model_dump() if available else nobody_else(user)
            for (result, hits), available in zip(found.items(), others, strict=True)
        }

    async def _others(self, user: str, modality: str) -> bool:
        places = self.retrieval.places
        count = places.catalog.vectors.count
        return await asyncio.to_thread(count, places.revision, modality, excluding_owner=user) > 0

    async def _search(
        self, user: str, k: int, vectors: Floats, plan: list[Seed] | Scatter
    ) -> dict[str, Hits]:  # fmt: skip
        rows = plan.indices[:SCATTERED_SEEDS] if isinstance(plan, Scatter) else [seed.index for seed in plan]
        found = await asyncio.gather(
            *(self.retrieval.find(vectors[row], k, modalities=LEGACY, without_owner=user) for row in rows)
        )
        answer = {}
        for modality in LEGACY:
            candidates = [
                list(zip(each.hits[modality].vids.tolist(), each.hits[modality].scores.tolist(), strict=True))
                for each in found
            ]
            chosen = (
                scatter(candidates, k)
                if isinstance(plan, Scatter)
                else blend(candidates, [seed.quota for seed in plan])
            )
            vids, scores = zip(*chosen, strict=True) if chosen else ((), ())
            answer[modality] = Hits(np.asarray(vids, np.int64), np.asarray(scores, np.float32))
        return answer
