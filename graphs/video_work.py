"""What a job does with a stored video: annotate it, keep its scenes as moments that search finds, and their vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np

from graphs.holding import Hold
from graphs.looking import ANNOTATORS
from graphs.places import Places
from graphs.video import Request, VideoCalls
from serve_app.catalog import Asset, Catalog, Content, Key, Moment, Served
from serve_app.errors import Problem
from serve_app.wire import schemas

SCENES = "scenes"
"""The name under which a video's scenes are kept among its results."""


@dataclass(frozen=True)
class VideoWork:
    """The parts of a job of a video. All raise ``Problem``."""

    videos: VideoCalls
    places: Places

    async def annotate(self, asset: Asset, results: set[str] | None, hold: Hold) -> schemas.VideoAnnotation:
        """Ask all annotators, or only those of ``results``."""
        named = tuple(name for name, result in ANNOTATORS.items() if results is None or result in results)
        return await self._watch(asset, named, "annotate", hold)

    async def keep(self, asset: Asset, scenes: list[schemas.SceneSpan]) -> None:
        """Keep the scenes, as contents that search finds."""
        kept = {"scenes": [scene.model_dump() for scene in scenes]}
        await asyncio.to_thread(self._catalog.annotations.put, asset.id, SCENES, kept, [])
        moments = [Moment(**scene.model_dump()) for scene in scenes]
        await asyncio.to_thread(self._catalog.contents.put_moments, asset.id, moments, sha256=asset.sha256)

    async def index(
        self, asset: Asset, missing: Sequence[Content], annotation: schemas.VideoAnnotation | None, target: Served,
        hold: Hold,
    ) -> None:  # fmt: skip
        """Store the vectors of the scenes, of which ``missing`` have none; a ``Problem`` that says how many have none
        then. Without an ``annotation`` the video is watched again."""
        if annotation is None:
            annotation = await self._watch(asset, ("embedding",), "index", hold, target.model)
        result = annotation.results["cross_modal_embedding"]
        vectors = {(each.start_s, each.end_s): each.embedding for each in result.embeddings or []}
        found = [
            (Key(each.owner, each.modality, each.sha256), np.asarray(vectors[each.start_s, each.end_s], np.float32))
            for each in missing
            if (each.start_s, each.end_s) in vectors
        ]
        await asyncio.to_thread(self._catalog.vectors.put_many, found, target.revision)
        if len(found) < len(missing):
            code = "unavailable" if result.status == "unavailable" else "unprocessable"
            why = result.error or "the file gives other scenes than before"
            lacking = len(missing) - len(found)
            raise Problem(code, f"{lacking} of {len(missing)} scenes have no vector: {why}", result.remedy)

    async def _watch(
        self, asset: Asset, annotators: tuple[str, ...], stage: str, hold: Hold, model: str | None = None
    ) -> schemas.VideoAnnotation:
        request = Request(asset.file, asset.sha256, annotators, job=hold.job, model=model)
        async with aclosing(self.videos.stored(request)) as updates:
            async for update in updates:
                if isinstance(update, schemas.VideoAnnotation):
                    return update
                hold.note(stage, update.progress, frames=update.frames, expected=update.expected)
        raise AssertionError("unreachable")

    @property
    def _catalog(self) -> Catalog:
        return self.places.catalog
