"""Profiles and starter sets: CPU work of seconds, kept out of the door's process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from ray import serve

from serve_app.catalog import Catalog
from serve_app.recommendation.seeds import Asked, Planned

log = logging.getLogger("mediaverse")


@serve.deployment
class Recommender:
    """Says from which of a user's posts to search, and what somebody without posts may pick from.

    What it keeps in the catalog answers at once and is renewed afterwards, one task for each.
    """

    def __init__(self, catalog_url: str) -> None:
        # Here, not above: what builds the application imports this file and has no use for clustering.
        from serve_app.recommendation.keeper import Keeper
        from serve_app.recommendation.profile import cluster

        cluster(np.eye(16))  # what it loads takes seconds, which the first request must not wait for
        self.keeper = Keeper(Catalog.open(catalog_url))
        self.renewing: dict[Hashable, asyncio.Task[None]] = {}

    async def plan(self, asked: Asked) -> Mapping[Any, Planned]:
        """The seeds of each type of post; the same question of the same catalog has the same answer."""
        planned, stale = await asyncio.to_thread(self.keeper.plan, asked)
        for kind in stale:
            self._later(self.keeper.renew, asked.user, kind, asked.revision)
        return planned

    async def starter(self, revision: str, k: int) -> Sequence[tuple[str, str]]:
        """At most ``k`` asset ids and the type by which each was chosen."""
        items, old = await asyncio.to_thread(self.keeper.starter, revision, k)
        if old:
            self._later(self.keeper.renew_starters, revision)
        return items

    def _later(self, work: Callable[..., Any], *args: Hashable) -> None:
        """Do it when nobody waits, unless the same is being done."""
        if args not in self.renewing:
            self.renewing[args] = asyncio.create_task(self._renew(work, *args))

    async def _renew(self, work: Callable[..., Any], *args: Hashable) -> None:
        try:
            await asyncio.to_thread(work, *args)
        except Exception:
            log.exception("%s was not renewed", args)
        finally:
            self.renewing.pop(args)
