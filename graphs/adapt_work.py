"""What a job of adaptation does: a preset's streams of a stored asset, published together."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass

from graphs.adaptation import AdaptRequest, Share, TranscodeCalls
from graphs.calls import patiently
from graphs.holding import Hold
from graphs.keeping import reason
from graphs.places import Places
from graphs.publishing import Publisher
from serve_app.catalog import Asset, Catalog, Job, NewRendition
from serve_app.catalog.job_rows import ADAPT
from serve_app.errors import Problem


@dataclass(frozen=True)
class AdaptWork:
    """Jobs of adaptation."""

    transcoding: TranscodeCalls
    places: Places

    async def do(self, job: Job, hold: Hold) -> str | None:
        """Adapt the job's asset; the reason where it failed."""
        assert job.asset_id is not None
        set_stage = self._catalog.jobs.set_stage
        try:
            asset = await asyncio.to_thread(self._catalog.assets.get, job.asset_id)
            await asyncio.to_thread(set_stage, job, "adapt", "running")
            await patiently(lambda: self._adapt(asset, str(job.payload["preset"]), job, hold))
        except Problem as problem:
            if problem.code == "not_found":
                return None
            await asyncio.to_thread(set_stage, job, "adapt", "failed", reason(problem))
            return f"{problem.code}: {problem.detail}"
        await asyncio.to_thread(set_stage, job, "adapt", "ready")
        return None

    async def _adapt(self, asset: Asset, preset: str, job: Job, hold: Hold) -> None:
        publisher = Publisher(self.places)
        made: list[NewRendition] = []
        try:
            async with aclosing(self.transcoding.adapt(AdaptRequest(asset.file, asset.kind, preset, job))) as items:
                async for item in items:
                    if isinstance(item, Share):
                        hold.note(ADAPT, item.progress)
                    else:
                        made.append(item)
        except (Problem, asyncio.CancelledError):
            await publisher.drop(made)
            raise
        await publisher.publish(asset, made, None if asset.kind == "image" else preset)

    @property
    def _catalog(self) -> Catalog:
        return self.places.catalog
