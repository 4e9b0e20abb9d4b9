"""All shards at once: scatter a query, gather the hits, and never take a missing shard for an empty one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from deployments.batcher import Gatherer
from graphs.calls import gathered, together
from graphs.places import Places
from graphs.recipe import Recipe
from serve_app.catalog import Filter
from serve_app.catalog.filters import SENTENCES
from serve_app.catalog.rows import State
from serve_app.retrieval.hits import Hits, Ids, Query, merge

log = logging.getLogger("mediaverse")

DEADLINE_S = 5.0
"""How long a shard may take; later ones are left out of the answer, which then says that it is partial."""


@dataclass(frozen=True)
class Found:
    """Hits a modality, and whether a shard is missing from them."""

    hits: dict[str, Hits]
    partial: bool


@dataclass(frozen=True)
class Shards(Recipe):
    """The handles of every shard, and the catalog whose vectors these hold."""

    handles: Sequence[Any]
    places: Places
    deadline_s: float = DEADLINE_S

    async def state(self) -> State:
        """The head of the log and what is served: a search is answered from one such state."""
        return await asyncio.to_thread(self.places.catalog.vectors.state)

    def sentences(self, filter: Filter | None) -> tuple[Ids, ...]:
        """The numbers of the assets that hold the words of each sentence term of a filter; blocks."""
        words = self.places.catalog.words
        return tuple(words.assets_with(term) for term in (filter.terms if filter else ()) if term.name in SENTENCES)

    async def find(self, query: Query) -> Found:
        """The best of all shards that answer within the deadline; raises what went wrong where none does."""
        answers = await asyncio.gather(
            *(self._ask(number, query) for number in range(len(self.handles))), return_exceptions=True
        )
        parts = [answer for answer in answers if not isinstance(answer, BaseException)]
        for failure in (answer for answer in answers if isinstance(answer, BaseException)):
            log.warning("a shard did not answer: %s", failure)
            if not parts:
                raise failure
        hits = {modality: merge([part[modality] for part in parts], query.k) for modality in query.modalities}
        return Found(hits, len(parts) < len(self.handles))

    async def _ask(self, number: int, query: Query) -> dict[str, Hits]:
        """What one shard finds; queries that come together are sent together."""
        key = number, query.revision
        if key not in self._asking:
            self._asking[key] = together(self.handles[number].search, timeout_s=self.deadline_s)
        hits: dict[str, Hits] = await gathered(self._asking[key], query, self.deadline_s)
        return hits

    @cached_property
    def _asking(self) -> dict[tuple[int, str], Gatherer[Any, Any]]:
        """By shard and revision, since a revision that has to be loaded first takes long."""
        return {}

    async def find_each(self, queries: Sequence[Query]) -> Found:
        """The hits of queries of different modalities together, side by side."""
        founds = await asyncio.gather(*(self.find(query) for query in queries))
        hits = {modality: hits for found in founds for modality, hits in found.hits.items()}
        return Found(hits, any(found.partial for found in founds))
