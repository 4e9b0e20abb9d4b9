"""A FAISS shard: a derived cache of the catalog's vectors, of every revision that is served or asked for."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ray import get_gpu_ids, serve
from ray.serve.metrics import Gauge

from deployments.batcher import Batcher, BatchSizes, settled
from serve_app.catalog import Catalog
from serve_app.retrieval.hits import Hits, Query

log = logging.getLogger("mediaverse")
PAUSE_S = 0.1
END_S = 15.0
"""For the snapshot at the end; Serve waits 20 s."""


@dataclass(frozen=True)
class ShardRecipe:
    """Which slice a shard holds, what it loads where nothing is served yet, and how it searches."""

    catalog: str
    revision: str
    dim: int
    shard: int = 0
    shards: int = 1
    kinds: Mapping[str, tuple[tuple[int, str], ...]] | None = None
    home: str | None = None


@serve.deployment
class FaissShard:
    """Searches its slice; reads what it has missed first, so a write that was acknowledged is found."""

    def __init__(self, recipe: ShardRecipe) -> None:
        # Here, not above: what builds the application imports this file and has no use for FAISS.
        from serve_app.retrieval.holder import Holder, Slice

        place = Slice(recipe.shard, recipe.shards, recipe.kinds, recipe.home, recipe.catalog, bool(get_gpu_ids()))
        self.holder = Holder(Catalog.open(recipe.catalog).vectors, place)
        self.holder.open_served(recipe.revision, recipe.dim)
        self.queries: Batcher[Query, dict[str, Hits]] = Batcher(self.holder.search)
        self.loading: dict[str, asyncio.Future[None]] = {}
        self.loader = ThreadPoolExecutor(1, thread_name_prefix="load")
        self.gauge = Gauge("mediaverse_recall_at_10", "Share of the exact ten given.", ("modality", "revision"))  # type: ignore[arg-type]
        self.ended = threading.Event()
        self.background = threading.Thread(target=self._look_after, name="background", daemon=True)
        self.background.start()

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        self.queries.sizes = BatchSizes.of(user_config)

    async def search(self, queries: list[Query]) -> list[dict[str, Hits] | Exception]:
        """Of each query the hits a modality, or what went wrong with it; concurrent ones share scans."""
        return await settled([self._search(query) for query in queries])

    async def _search(self, query: Query) -> dict[str, Hits]:
        """A revision that is not here is loaded first."""
        if query.revision not in self.holder.shards:
            await self._load(query.revision, len(query.vector))
        return await self.queries.submit(query)

    async def prepare(self, revision: str, dim: int) -> bool:
        if revision in self.holder.shards:
            return True
        done, _ = await asyncio.wait([self._load(revision, dim)], timeout=PAUSE_S)
        return any(load.exception() is None for load in done)

    async def release(self, revision: str) -> None:
        await asyncio.wrap_future(self.queries.between(lambda: self.holder.release(revision)))

    async def status(self) -> dict[str, Any]:
        return self.holder.status()

    def _load(self, revision: str, dim: int) -> asyncio.Future[None]:
        if revision not in self.loading or self.loading[revision].done():
            loop = asyncio.get_running_loop()
            self.loading[revision] = loop.run_in_executor(self.loader, self.holder.open, revision, dim)
        # Shielded: one who no longer waits stops it for nobody else.
        return asyncio.shield(self.loading[revision])

    def _look_after(self) -> None:
        """Upkeep between the batches, and in this thread what takes long."""
        while not self.ended.wait(PAUSE_S):
            try:
                work = self.queries.between(lambda: self.holder.chore(idle=not self.queries.waiting)).result()
                for tags, share in self.holder.recall().items():
                    self.gauge.set(share, dict(zip(("modality", "revision"), tags, strict=True)))
                if work is not None:
                    work()
            except Exception:
                log.exception("upkeep of a shard failed, searches go on")

    def __del__(self) -> None:
        """Serve's hook at the end: the next start reads what this one knew. Python calls it again, to no effect."""
        if not hasattr(self, "background") or self.ended.is_set():
            return
        self.ended.set()
        self.background.join(timeout=5)
        self.queries.between(self.holder.close).result(END_S)
