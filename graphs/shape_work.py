"""What a job does with a stored 3D model: annotate it, keep its views and their vectors, make its previews."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np

from graphs.holding import Hold
from graphs.image import digest
from graphs.places import Places
from graphs.publishing import Publisher
from graphs.shape3d import PREVIEWS, Preview, ShapeCalls, ShapeRequest
from graphs.shape_answers import ANNOTATORS
from serve_app.catalog import Asset, Catalog, Content, Key, NewRendition, Served
from serve_app.errors import Problem
from serve_app.wire import schemas

SHAPE = "shape"
"""The name under which what a 3D model is and from where it was seen are kept among its results."""
MODALITY = "shape3d"
SEEN = 0.7
"""How far a job is when the model is annotated and indexed."""


@dataclass(frozen=True)
class ShapeWork:
    """The parts of a job of a 3D model. All raise ``Problem``."""

    shapes: ShapeCalls
    places: Places

    async def annotate(self, asset: Asset, results: set[str] | None, hold: Hold) -> schemas.ShapeAnnotation:
        """Ask all annotators, or only those of ``results``."""
        named = tuple(name for name, result in ANNOTATORS.items() if results is None or result in results)
        return await self._look(asset, named, "annotate", hold)

    async def keep(self, asset: Asset, annotation: schemas.ShapeAnnotation) -> None:
        """Keep what the model is and its views, as contents that search finds."""
        kept = annotation.model_dump(mode="json", exclude_none=True, include={"views", "notes"})
        kept["shape"] = annotation.asset.model_dump(mode="json", exclude_none=True)
        await asyncio.to_thread(self._catalog.annotations.put, asset.id, SHAPE, kept, [])
        put = self._catalog.contents.put_views
        await asyncio.to_thread(put, asset.id, annotation.view_keys, sha256=asset.sha256)

    async def index(
        self, asset: Asset, missing: Sequence[Content], annotation: schemas.ShapeAnnotation | None, target: Served,
        hold: Hold,
    ) -> None:  # fmt: skip
        """Store the vectors of the views, of which ``missing`` have none; a ``Problem`` that says how many have none
        then. Without an ``annotation`` the model is looked at again, which may give other views than before."""
        if annotation is None:
            annotation = await self._look(asset, ("embedding",), "index", hold, target.model)
            await self.keep(asset, annotation)
            left = await asyncio.to_thread(self._catalog.vectors.missing_of_asset, asset.id, target.revision)
            missing = [content for content in left if content.modality == MODALITY]
        result = annotation.results["cross_modal_embedding"]
        vectors = {each.view: each.embedding for each in result.embeddings or []}
        found = [
            (Key(content.owner, content.modality, content.sha256), np.asarray(vectors[content.part], np.float32))
            for content in missing
            if content.part in vectors
        ]
        await asyncio.to_thread(self._catalog.vectors.put_many, found, target.revision)
        if len(found) < len(missing):
            code = "unavailable" if result.status == "unavailable" else "unprocessable"
            lacking = f"{len(missing) - len(found)} of {len(missing)} views have no vector"
            raise Problem(code, f"{lacking}: {result.error}", result.remedy)

    async def preview(self, asset: Asset, hold: Hold) -> None:
        """Make the pictures that show the model, and keep them in place of earlier ones."""
        made: list[NewRendition] = []
        try:
            async with aclosing(self.shapes.previews(asset.file)) as previews:
                async for each in previews:
                    made.append(await asyncio.to_thread(self._stored, each))
                    hold.note("preview", SEEN + (1 - SEEN) * len(made) / len(PREVIEWS))
        except (Problem, asyncio.CancelledError):
            await self._publisher.drop(made)
            raise
        await self._publisher.publish(asset, made)

    def _stored(self, preview: Preview) -> NewRendition:
        file = self.places.files.put(preview.data, "")
        return NewRendition(
            preview.name, preview.media_type, len(preview.data), digest(preview.data), file, preview.width,
            preview.height,
        )  # fmt: skip

    async def _look(
        self, asset: Asset, named: tuple[str, ...], stage: str, hold: Hold, model: str | None = None
    ) -> schemas.ShapeAnnotation:
        request = ShapeRequest(asset.file, asset.sha256, named, job=hold.job, model=model)
        async with aclosing(self.shapes.stored(request)) as updates:
            async for update in updates:
                if isinstance(update, schemas.ShapeAnnotation):
                    return update
                hold.note(stage, update.progress)
        raise AssertionError("unreachable")

    @property
    def _publisher(self) -> Publisher:
        return Publisher(self.places)

    @property
    def _catalog(self) -> Catalog:
        return self.places.catalog
