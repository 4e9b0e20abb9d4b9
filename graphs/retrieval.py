"""A text or a picture becomes a vector, every shard is asked, the best of all come back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any

import numpy as np

from deployments.replica import ship
from graphs.calls import call
from graphs.image import digest
from serve_app.catalog import Catalog, Files, Filter, FoundPart, NewContent, parse_filter, validate_id
from serve_app.errors import Problem
from serve_app.media import images
from serve_app.retrieval.hits import LEGACY, MODALITIES, PARTED, Floats, Hits, Ids, Query, merge
from serve_app.retrieval.thresholds import Thresholds, resolve
from serve_app.wire import schemas

log = logging.getLogger("mediaverse")

SHARD_TIMEOUT_S = 20.0
MORE_HITS = 4
"""How many times the hits are asked for that did not show enough assets, since one asset may hold many."""

Best = tuple[FoundPart, float]
"""The part of an asset that is nearest to a query, and its cosine."""


@dataclass(frozen=True)
class Places:
    """Where the catalog and the files are, and the revision whose vectors are served."""

    catalog_url: str
    files_url: str
    revision: str

    @cached_property
    def catalog(self) -> Catalog:
        return Catalog.open(self.catalog_url)

    @cached_property
    def files(self) -> Files:
        return Files(self.files_url)

    def __getstate__(self) -> dict[str, str]:
        # It travels to replicas as a recipe: what one of them has opened stays there.
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class Found:
    """Hits a modality, and whether every shard took part."""

    hits: dict[str, Hits]
    partial: bool


@dataclass(frozen=True)
class RetrievalGraph:
    """The encoder, then all shards at once, then the catalog, which knows whose each vector is."""

    encoder: Any
    shards: list[Any]
    places: Places
    thresholds: Thresholds

    async def search_text(self, query: schemas.TextQuery) -> schemas.SearchResult:
        """The nearest to a text."""
        started = time.perf_counter()
        encoded = await call(self.encoder.encode_text, query.text)
        return await self._answer(encoded["vector"], "text", query, started, truncated=encoded["truncated"])

    async def search_image(self, data: bytes, query: schemas.TextQuery) -> schemas.SearchResult:
        """The nearest to a picture."""
        started = time.perf_counter()
        images.inspect(data)
        vector = await call(self.encoder.encode_image, ship(data))
        return await self._answer(vector, "image", query, started)

    async def find(
        self, vector: Floats, k: int, *, modalities: tuple[str, ...] = MODALITIES, without_owner: str | None = None,
        among: dict[str, Ids] | None = None,
    ) -> Found:  # fmt: skip
        """Scatter a query to every shard and merge; what was acknowledged before this call is seen."""
        head = await asyncio.to_thread(self.places.catalog.vectors.head)
        query = Query(np.asarray(vector), k, modalities, head, without_owner, among)
        answers = await asyncio.gather(
            *(call(shard.search, query, timeout_s=SHARD_TIMEOUT_S) for shard in self.shards), return_exceptions=True
        )
        parts = [answer for answer in answers if not isinstance(answer, BaseException)]
        for failure in (answer for answer in answers if isinstance(answer, BaseException)):
            log.warning("a shard did not answer: %s", failure)
            if not parts:
                raise failure
        hits = {modality: merge([part[modality] for part in parts], k) for modality in modalities}
        return Found(hits, len(parts) < len(self.shards))

    async def name(self, hits: Hits, filter: Filter | None = None) -> schemas.Ranking:
        """Vector ids to the latest asset (that fits) with each content; what was deleted meanwhile is left out."""
        vids = hits.vids.tolist()
        names = await asyncio.to_thread(self.places.catalog.vectors.latest_ids, vids, filter)
        kept = [
            (names[vid], score)
            for vid, score in zip(hits.vids.tolist(), hits.scores.tolist(), strict=True)
            if vid in names
        ]
        return schemas.Ranking(contents=[name for name, _ in kept], scores=[score for _, score in kept])

    async def embed(self, modality: str, data: bytes) -> Floats:
        """The vector of a content; raises ``Problem`` when it cannot be read."""
        if modality == "image":
            return np.asarray(await call(self.encoder.encode_image, ship(data)))
        encoded = await call(self.encoder.encode_text, decode_text(data))
        return np.asarray(encoded["vector"])

    async def add_content(self, id: str, type: str, user: str, data: bytes) -> None:
        """Store a content and its vector in one transaction: once this returns, every search finds it."""
        info = images.inspect(data) if type == "image" else None
        vector = await self.embed(type, data)
        # Finished even when the client leaves meanwhile, so that no file stays without its row.
        await asyncio.shield(self._store(id, type, user, data, info, vector))

    async def retrieve(self, type: str, user: str, k: int, data: bytes) -> dict[str, Any]:
        """The answer that existing nodes expect: a ranking a modality, or a sentence where nobody else has any."""
        validate_id(user, "user")
        if type == "image":
            images.inspect(data)
        found = await self.find(await self.embed(type, data), k, modalities=LEGACY, without_owner=user)
        rankings = {modality: await self.name(hits) for modality, hits in found.hits.items()}
        return {name: each.model_dump() if each.contents else nobody_else(user) for name, each in rankings.items()}

    async def _store(
        self, id: str, type: str, user: str, data: bytes, info: images.ImageInfo | None, vector: Floats
    ) -> None:
        file = await asyncio.to_thread(self.places.files.put, data, "")
        content = NewContent(
            asset_id=id, owner=user, modality=type,  # type: ignore[arg-type]
            media_type=info.media_type if info else "text/plain", sha256=await asyncio.to_thread(digest, data),
            bytes=len(data), file=file, width=info.width if info else None, height=info.height if info else None,
        )  # fmt: skip
        try:
            added = await asyncio.to_thread(self.places.catalog.contents.add, content, vector, self.places.revision)
        except (Problem, ValueError) as error:
            # Only what was refused for certain: a commit whose answer was lost may have kept the row.
            if isinstance(error, ValueError) or error.status < 500:
                await asyncio.to_thread(self.places.files.delete, [file])
            raise
        await asyncio.to_thread(self.places.files.delete, list(added.obsolete_files))

    async def _answer(
        self, vector: Floats, source: str, query: schemas.TextQuery, started: float, *, truncated: bool = False
    ) -> schemas.SearchResult:
        filter = parse_filter(query.filter) if query.filter else None
        modalities = tuple(dict.fromkeys(query.modalities))
        among = await asyncio.to_thread(self._among, filter, modalities) if filter else None
        least = {name: resolve(query.min_score, source, name, self.thresholds) for name in modalities}
        search = partial(self.find, vector, without_owner=query.username, among=among)
        found = await search(query.k, modalities=modalities)
        rankings: dict[str, Any] = {
            modality: await self.name(above(hits, least[modality]), filter)
            for modality, hits in found.hits.items()
            if modality not in PARTED
        }
        partly = found.partial
        for modality in (name for name in modalities if name in PARTED):
            again = partial(search, modalities=(modality,))
            best, cut = await self._best_assets(found, modality, query.k, least[modality], filter, again)
            rankings[modality] = RANKINGS[modality](best)
            partly = partly or cut
        seconds = time.perf_counter() - started
        return schemas.SearchResult(**rankings, partial=partly, truncated=truncated, time=seconds)

    async def _best_assets(
        self, found: Found, modality: str, k: int, least: float | None, filter: Filter | None,
        search: Callable[[int], Awaitable[Found]],
    ) -> tuple[list[Best], bool]:  # fmt: skip
        """Each asset once, at its best part. Hits are asked for until they show ``k`` assets or there are no more.

        Also whether one of the searches was partial.
        """
        asked, partly = k, found.partial
        while True:
            hits = above(found.hits[modality], least)
            best = await self._best_parts(hits, filter)
            if len(best) >= k or len(hits.vids) < asked:
                return best[:k], partly
            asked *= MORE_HITS
            found = await search(asked)
            partly = partly or found.partial

    async def _best_parts(self, hits: Hits, filter: Filter | None) -> list[Best]:
        """The best hit of each asset and its score, best first; what was deleted meanwhile is left out."""
        vids = hits.vids.tolist()
        places = await asyncio.to_thread(self.places.catalog.vectors.latest_parts, vids, filter)
        best: dict[str, Best] = {}
        for vid, score in zip(vids, hits.scores.tolist(), strict=True):
            if vid in places:
                best.setdefault(places[vid].asset_id, (places[vid], score))
        return list(best.values())

    def _among(self, filter: Filter, modalities: tuple[str, ...]) -> dict[str, Ids]:
        matching = self.places.catalog.vectors.matching
        return {modality: matching(filter, modality, self.places.revision) for modality in modalities}


def _video_ranking(best: list[Best]) -> schemas.VideoRanking:
    moments = [schemas.Moment(start_s=part.start_s, end_s=part.end_s) for part, _ in best]
    return schemas.VideoRanking(**_ranking(best), moments=moments)


def _shape_ranking(best: list[Best]) -> schemas.ShapeRanking:
    return schemas.ShapeRanking(**_ranking(best), views=[part.part for part, _ in best])


def _ranking(best: list[Best]) -> dict[str, Any]:
    return {"contents": [part.asset_id for part, _ in best], "scores": [score for _, score in best]}


RANKINGS: dict[str, Callable[[list[Best]], schemas.Ranking]] = {"video": _video_ranking, "shape3d": _shape_ranking}
"""How what was found of a modality of parts is shown."""


def nobody_else(user: str) -> str:
    """What the reference answers, in place of a ranking, where no other user has contents of a type."""
    return f"No contents available other than {user} ones"


def above(hits: Hits, threshold: float | None) -> Hits:
    """Without what scores below the threshold."""
    if threshold is None:
        return hits
    kept = hits.scores >= threshold
    return Hits(hits.vids[kept], hits.scores[kept])


def decode_text(data: bytes) -> str:
    """UTF-8 (with or without BOM) to text; ``bad_request`` otherwise."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Problem("bad_request", f"the text is not UTF-8: {error.reason} at byte {error.start}") from error
