"""A text or a picture becomes a vector, every shard is asked, the best of all come back."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from deployments.replica import ship
from graphs.calls import call
from graphs.embedding import Embedding, decode_text, key_of
from graphs.image import digest
from graphs.places import Places
from graphs.ranking import shown
from graphs.recipe import Recipe
from graphs.search import Asked, Leg, Search, Shown, Told, tell
from graphs.shards import DEADLINE_S, Shards
from graphs.shards import Found as Found
from serve_app.catalog import Filter, NewContent, validate_id
from serve_app.catalog.rows import Served, State
from serve_app.diagnosis import EMBEDDED
from serve_app.errors import Problem
from serve_app.media import images
from serve_app.retrieval.hits import LEGACY, MODALITIES, Floats, Query
from serve_app.retrieval.thresholds import Thresholds, resolve
from serve_app.wire import schemas

log = logging.getLogger("mediaverse")

CLIP = "cross_modal_embedding"
SENTENCES = "text_embedding"
"""Serves texts to texts alone, where CLIP is weakest; may be absent."""
Embed = Callable[..., Awaitable[dict[str, Any]]]
"""``embed_query``, or ``embed_text`` for what is not searched for but stored."""
DOWN = ("unavailable", "overloaded", "deadline")
"""Faults of the sentence encoder for which CLIP steps in: texts have its vectors too."""


@dataclass(frozen=True)
class RetrievalGraph(Recipe):
    """The encoders, then all shards at once, then the catalog, which knows whose each vector is."""

    embedding: Embedding
    shards: list[Any]
    places: Places
    thresholds: Mapping[str, Thresholds]
    """The least scores of "auto", by revision."""
    deadline_s: float = DEADLINE_S

    async def search_text(self, query: schemas.TextQuery) -> schemas.SearchResult:
        """The nearest to a text, and what has its words."""
        started = time.perf_counter()
        if not query.text.strip():
            raise Problem("bad_request", "the text is empty")
        asked = Asked.of(query, "text", query.text)

        async def encode() -> tuple[State, list[Leg], bool]:
            state = await self.all_shards.state()
            return state, *await self._legs(self.embedding.embed_query, query.text, asked.modalities, state)

        # Words need no vector, so they are looked for meanwhile.
        told, (state, legs, truncated) = await asyncio.gather(
            asyncio.to_thread(tell, self.all_shards, asked), encode()
        )  # fmt: skip
        return _result(await self._search(asked, legs, told, state), started, truncated)

    async def search_image(self, data: bytes, query: schemas.TextQuery) -> schemas.SearchResult:
        """The nearest to a picture."""
        started = time.perf_counter()
        asked = Asked.of(query, "image", hashlib.sha256(data).hexdigest())
        images.inspect(data)
        state = await self.all_shards.state()
        vector, told = await asyncio.gather(
            call(self.embedding.encoder.encode_image, ship(data), _clip(state).model), self._told(asked)
        )
        legs = [Leg(vector, _clip(state).revision, asked.modalities)]
        return _result(await self._search(asked, legs, told, state), started)

    async def find(
        self, vector: Floats, k: int, *, revision: str | None = None, modalities: tuple[str, ...] = MODALITIES,
        without_owner: str | None = None, filter: Filter | None = None, state: State | None = None,
    ) -> Found:  # fmt: skip
        """The hits of a vector in every shard; what was acknowledged before ``state`` was read is seen.

        ``revision`` is whose the vector is, that of the served encoder where it is left out. Searches of one request
        share a ``state``.
        """
        state = state or await self.all_shards.state()
        sentences = await asyncio.to_thread(self.all_shards.sentences, filter) if filter else ()
        return await self.all_shards.find(
            Query(
                np.asarray(vector), k, revision or _clip(state).revision, modalities, state.head, without_owner, filter,
                sentences,
            )
        )  # fmt: skip

    async def add_content(self, id: str, type: str, user: str, data: bytes) -> None:
        """Store a content and its vector in one transaction: once this returns, every search finds it."""
        info = images.inspect(data) if type == "image" else None
        state = await self.all_shards.state()
        if info is not None:
            vectors = {_clip(state).revision: await self.embedding.embed(_clip(state), type, data)}
        else:
            legs, _ = await self._legs(self.embedding.embed_text, decode_text(data), MODALITIES, state)
            vectors = {leg.revision: np.asarray(leg.vector) for leg in legs}
        owed = self._owed(type, vectors, state)
        # Finished even when the client leaves meanwhile, so that no file stays without its row.
        await asyncio.shield(self._store(id, type, user, data, info, vectors, _clip(state).revision, owed))
        if not owed:
            await asyncio.shield(self._make_up(id))

    async def retrieve(self, type: str, user: str, k: int, data: bytes) -> dict[str, Any]:
        """The answer that existing nodes expect: a ranking a modality, or a sentence where nobody else has any."""
        validate_id(user, "user")
        asked = Asked("image" if type == "image" else "text", k, LEGACY, username=user)
        if type == "image":
            images.inspect(data)
        state = await self.all_shards.state()
        if type == "image":
            vector = await self.embedding.embed(_clip(state), type, data)
            legs: Sequence[Leg] = [Leg(vector, _clip(state).revision, LEGACY)]
        else:
            legs, _ = await self._legs(self.embedding.embed_query, decode_text(data), LEGACY, state)
        answer = await self._search(asked, legs, Told(), state)
        rankings = {modality: shown(modality, answer.page[modality]) for modality in LEGACY}
        return {
            name: each.model_dump(exclude_none=True) if each.contents else nobody_else(user)
            for name, each in rankings.items()
        }

    @cached_property
    def all_shards(self) -> Shards:
        return Shards(self.shards, self.places, self.deadline_s)

    async def _told(self, asked: Asked) -> Told:
        return await asyncio.to_thread(tell, self.all_shards, asked) if asked.filter else Told()

    async def _legs(self, embed: Embed, text: str, modalities: Sequence[str], state: State) -> tuple[list[Leg], bool]:
        """The vectors of a text, and whether it was cut: by the sentence encoder for texts, by CLIP for all else.

        CLIP is for texts too where the sentence encoder is down, or where what is served is not the one that runs here.
        """
        clip, sentence = _clip(state), state.served.get(SENTENCES)
        runs = sentence is not None and self.embedding.makes(sentence)
        to_texts = tuple(name for name in modalities if name == "text" and runs)
        others = tuple(name for name in modalities if name not in to_texts)
        by_clip, by_sentences = await asyncio.gather(
            embed(clip, text) if others else _nothing(),
            self._by_sentences(embed, sentence, text) if sentence and to_texts else _nothing(),
        )  # fmt: skip
        if to_texts and by_sentences is None:
            others, by_clip = tuple(modalities), by_clip or await embed(clip, text)
        served = [(by_clip, clip, others), (by_sentences, sentence, to_texts)]
        legs = [Leg(answer["vector"], who.revision, names) for answer, who, names in served if answer and who]
        return legs, any(answer["truncated"] for answer, _, _ in served if answer)

    async def _by_sentences(self, embed: Embed, sentence: Served, text: str) -> dict[str, Any] | None:
        """None where the sentence encoder is down, or does not answer while a search would still wait for it."""
        try:
            return await embed(sentence, text, self.deadline_s)
        except Problem as problem:
            if problem.code not in DOWN:
                raise
            log.warning("CLIP stands in for the sentence encoder: %s", problem)
            return None

    def _owed(self, type: str, vectors: Mapping[str, Floats], state: State) -> bool:
        """Whether a vector of what is served could not be made now."""
        wanted = [each for task, each in state.served.items() if type in EMBEDDED[task] and self.embedding.makes(each)]
        return any(each.revision not in vectors for each in wanted)

    async def _search(self, asked: Asked, legs: Sequence[Leg], told: Told, state: State) -> Shown:
        least = {
            name: resolve(asked.min_score, asked.source, name, self.thresholds.get(leg.revision, {}))
            for leg in legs
            for name in leg.modalities
        }
        return await Search(self.all_shards, asked, legs, least, told, state.head).run()

    async def _make_up(self, id: str) -> None:
        """The vectors of models that are to be served, or have been since the state was read.

        The content is stored and found by now, so what cannot be made here is left to a job, which says why where it
        cannot either.
        """
        for target, content in await asyncio.to_thread(self.embedding.lacking, id):
            try:
                made = [(key_of(content), await self.embedding.vector(target, content))]
            except Problem as problem:
                log.warning("a job makes up for a vector of %s: %s", target.revision, problem)
                await asyncio.to_thread(self.places.catalog.jobs.owe, id)
                return
            await asyncio.to_thread(self.places.catalog.vectors.put_many, made, target.revision)

    async def _store(
        self, id: str, type: str, user: str, data: bytes, info: images.ImageInfo | None, vectors: dict[str, Floats],
        revision: str, owed: bool,
    ) -> None:  # fmt: skip
        file = await asyncio.to_thread(self.places.files.put, data, "")
        content = NewContent(
            asset_id=id, owner=user, modality=type,  # type: ignore[arg-type]
            media_type=info.media_type if info else "text/plain", sha256=await asyncio.to_thread(digest, data),
            bytes=len(data), file=file, width=info.width if info else None, height=info.height if info else None,
        )  # fmt: skip
        vector = vectors.pop(revision)
        try:
            added = await asyncio.to_thread(
                self.places.catalog.contents.add, content, vector, revision, vectors, owed=owed
            )  # fmt: skip
        except (Problem, ValueError) as error:
            # Only what was refused for certain: a commit whose answer was lost may have kept the row.
            if isinstance(error, ValueError) or error.status < 500:
                await asyncio.to_thread(self.places.files.delete, [file])
            raise
        if info is None:
            with suppress(Problem):  # deleted meanwhile
                await asyncio.to_thread(self.places.catalog.words.put, id, "body", decode_text(data))
        await asyncio.to_thread(self.places.files.delete, list(added.obsolete_files))


async def _nothing() -> None:
    """In place of an encoder that nobody asks."""


def _clip(state: State) -> Served:
    if CLIP not in state.served:
        raise Problem("unavailable", "nothing is served yet; the service is starting")
    return state.served[CLIP]


def _result(answer: Shown, started: float, truncated: bool = False) -> schemas.SearchResult:
    rankings: dict[str, Any] = {modality: shown(modality, page) for modality, page in answer.page.items()}
    return schemas.SearchResult(
        **rankings, partial=answer.partial, truncated=truncated, next_cursor=answer.next_cursor,
        time=time.perf_counter() - started,
    )  # fmt: skip


def nobody_else(user: str) -> str:
    """What the reference answers, in place of a ranking, where no other user has contents of a type."""
    return f"No contents available other than {user} ones"
