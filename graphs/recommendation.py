"""A user's own posts become seeds, each seed a search, the searches one list: for texts and pictures separately."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphs.calls import call
from graphs.retrieval import Found, RetrievalGraph, nobody_else
from serve_app.catalog import validate_id
from serve_app.catalog.rows import State
from serve_app.recommendation.blend import Scored, blend, blend_distinct, nearest, scatter
from serve_app.recommendation.diversity import distinct
from serve_app.recommendation.seeds import Asked, Mode, Planned, Scatter
from serve_app.retrieval.hits import LEGACY
from serve_app.wire import recommendation_schemas as schemas

ENCODER = "cross_modal_embedding"
RENEWAL_S = 60.0
"""How long a first profile or a starter set may take where the machine is busy."""
SPARE = 2
"""How many times the results are asked for, so that others can take the places of repeats."""
MOST_COMPARED = 1000
"""Results of a list up to which repeats are looked for: it reads and compares the vector of each."""

Results = dict[str, list[Scored[int]]]


@dataclass(frozen=True)
class Made:
    """What one type of post led to: results a type, which seed each is of, and the names of all that are left."""

    planned: Planned
    results: Results
    of_seed: dict[str, dict[int, int]]
    names: dict[int, str]
    partial: bool


@dataclass(frozen=True)
class RecommendationGraph:
    """Recommendation without behaviour tracking (D3.2, section 4)."""

    retrieval: RetrievalGraph
    recommender: Any

    async def recommend(self, user: str, k: int) -> dict[str, Any]:
        """Seed type over result type, each a ranking or, where nobody else has such contents, the known sentence.

        The method of the report. A user without posts of a type gets empty lists for it. The draws are seeded: the
        same state of the catalog gives the same answer.
        """
        validate_id(user, "user")
        state = await self._state()
        asked = Asked(user, self._revision(state), k)
        made, others = await asyncio.gather(
            self._from_posts(asked, state), asyncio.gather(*(self._others(asked, result) for result in LEGACY))
        )
        return {
            kind: {
                result: _ranking(each, result) if available else nobody_else(user)
                for result, available in zip(LEGACY, others, strict=True)
            }
            for kind, each in made.items()
        }

    async def recommendations(self, user: str, k: int, d: float, seed: int, mode: Mode) -> schemas.Recommendations:
        """Lists with the reason for each item, in either mode; empty where there is nothing to go by."""
        started = time.perf_counter()
        validate_id(user, "username")
        state = await self._state()
        made = await self._from_posts(Asked(user, self._revision(state), k, d, seed, mode), state)
        lists = {
            kind: schemas.FromPosts(**{result: _explained(each, result) for result in LEGACY})
            for kind, each in made.items()
        }
        clusters = {
            kind: [schemas.ClusterLine(**vars(line)) for line in each.planned.clusters] for kind, each in made.items()
        }
        return schemas.Recommendations(
            **lists, mode=mode, clusters=schemas.Clusters(**clusters),
            cold_start=not any(each.planned.posts for each in made.values()),
            partial=any(each.partial for each in made.values()), time=time.perf_counter() - started,
        )  # fmt: skip

    async def starter(self, k: int) -> schemas.Starters:
        """Contents to pick from for who has no posts."""
        started = time.perf_counter()
        revision = self._revision(await self._state())
        items = await call(self.recommender.starter, revision, k, timeout_s=RENEWAL_S)
        found = [schemas.Starter(id=name, kind=kind) for name, kind in items]
        return schemas.Starters(items=found, time=time.perf_counter() - started)

    async def interests(self, user: str) -> schemas.Interests:
        """What a user picked, less what was deleted since."""
        validate_id(user, "username")
        ids = await asyncio.to_thread(self.retrieval.places.catalog.interests.get, user)
        return schemas.Interests(ids=ids)

    async def put_interests(self, user: str, picked: schemas.Interests) -> schemas.Interests:
        """Keep what a user picked, in place of earlier picks. Raises ``not_found`` for an id that nobody has."""
        validate_id(user, "username")
        ids = [validate_id(id) for id in dict.fromkeys(picked.ids)]
        await asyncio.to_thread(self.retrieval.places.catalog.interests.put, user, ids)
        return await self.interests(user)

    async def _state(self) -> State:
        return await asyncio.to_thread(self.retrieval.places.catalog.vectors.state)

    def _revision(self, state: State) -> str:
        served = state.served.get(ENCODER)
        return served.revision if served else self.retrieval.places.revision

    async def _others(self, asked: Asked, modality: Any) -> bool:
        count = self.retrieval.places.catalog.vectors.count
        return await asyncio.to_thread(count, asked.revision, modality, excluding_owner=asked.user) > 0

    async def _from_posts(self, asked: Asked, state: State) -> dict[str, Made]:
        """For each type of post what it leads to."""
        planned = await call(self.recommender.plan, asked, timeout_s=RENEWAL_S)
        made = await asyncio.gather(*(self._search(asked, planned[kind], state) for kind in LEGACY))
        return dict(zip(LEGACY, made, strict=True))

    async def _search(self, asked: Asked, planned: Planned, state: State) -> Made:
        spare = SPARE if asked.mode == "all-clusters" and asked.k <= MOST_COMPARED else 1
        depth = spare * asked.k + len(planned.picks)
        found: Sequence[Found] = await asyncio.gather(
            *(
                self.retrieval.find(
                    vector, depth, revision=asked.revision, modalities=LEGACY, without_owner=asked.user, state=state
                )
                for vector in planned.vectors
            )
        )
        return await asyncio.to_thread(self._choose, asked, planned, found)

    def _choose(self, asked: Asked, planned: Planned, found: Sequence[Found]) -> Made:
        results: Results = {}
        of_seed = {}
        for modality in LEGACY:
            candidates = [_candidates(each, modality, planned.picks) for each in found]
            results[modality] = self._blended(asked, planned, candidates)
            of_seed[modality] = nearest(candidates)
        # Last of all, so that what was deleted while this went on is left out.
        vids = {vid for chosen in results.values() for vid, _ in chosen}
        names = self.retrieval.places.catalog.vectors.latest_ids(vids) if vids else {}
        return Made(planned, results, of_seed, names, any(each.partial for each in found))

    def _blended(
        self, asked: Asked, planned: Planned, candidates: Sequence[Sequence[Scored[int]]]
    ) -> list[Scored[int]]:  # fmt: skip
        if isinstance(planned.plan, Scatter):
            return scatter(candidates, asked.k, asked.seed)
        quotas = [seed.quota for seed in planned.plan]
        if asked.mode == "report" or asked.k > MOST_COMPARED:
            return blend(candidates, quotas)
        return blend_distinct(candidates, quotas, self._repeats)

    def _repeats(self, vids: Sequence[int]) -> Set[int]:
        """Those, the best first, that are as good as one before them."""
        vectors = np.nan_to_num(self.retrieval.places.catalog.vectors.gather(vids))
        kept = distinct(vectors) if vectors.size else np.ones(len(vids), np.bool_)
        return {vid for vid, keep in zip(vids, kept, strict=True) if not keep}


def _candidates(found: Found, modality: str, picks: Sequence[int]) -> list[Scored[int]]:
    hits = found.hits[modality]
    pairs = zip(hits.vids.tolist(), hits.scores.tolist(), strict=True)
    return [(vid, score) for vid, score in pairs if vid not in picks]


def _ranking(made: Made, result: str) -> dict[str, list[Any]]:
    kept = [(made.names[vid], score) for vid, score in made.results[result] if vid in made.names]
    return {"contents": [name for name, _ in kept], "scores": [score for _, score in kept]}


def _explained(made: Made, result: str) -> schemas.Recommended:
    reasons = []
    for vid, score in made.results[result]:
        if vid not in made.names:
            continue
        seed = made.planned.seeds[made.of_seed[result][vid]]
        share = None if seed.cluster is None else made.planned.clusters[seed.cluster].share
        reasons.append(
            schemas.Explanation(
                seed=made.planned.names[seed.vid], role=seed.role, cluster=seed.cluster, share=share, similarity=score
            )
        )
    return schemas.Recommended(**_ranking(made, result), explanations=reasons)
