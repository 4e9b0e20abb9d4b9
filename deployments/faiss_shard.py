"""A FAISS shard: a derived cache of the catalog's vectors."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from ray import serve

from deployments.batcher import Batcher, BatchSizes
from serve_app.catalog import Catalog
from serve_app.retrieval.hits import Hits, Query


@dataclass(frozen=True)
class ShardRecipe:
    """Which slice of which revision a shard holds, and how it searches."""

    catalog: str
    revision: str
    dim: int
    shard: int = 0
    shards: int = 1
    factory: str = "Flat"
    nprobe: int = 1


@serve.deployment
class FaissShard:
    """Searches its slice; reads what it has missed first, so a write that was acknowledged is found."""

    def __init__(self, recipe: ShardRecipe) -> None:
        # Here, not above: what builds the application imports this file and has no use for FAISS.
        from serve_app.retrieval.shard import Shard

        catalog = Catalog.open(recipe.catalog)
        self.shard = Shard(
            catalog.vectors, recipe.revision, recipe.dim, shard=recipe.shard, shards=recipe.shards,
            factory=recipe.factory, nprobe=recipe.nprobe,
        )  # fmt: skip
        self.shard.catch_up()
        self.queries: Batcher[Query, dict[str, Hits]] = Batcher(self.shard.search)

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Serve's hook: new batch sizes, while serving."""
        self.queries.sizes = BatchSizes.of(user_config)

    async def search(self, query: Query) -> dict[str, Hits]:
        """Hits a modality; concurrent searches share one scan."""
        return await self.queries.submit(query)

    async def status(self) -> dict[str, int]:
        """Vectors a modality and the last ``seq`` seen."""
        await asyncio.sleep(0)
        return {name: len(index) for name, index in self.shard.indexes.items()} | {"seq": self.shard.seq}
