"""One search, from vectors to the page that is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np

from graphs.ranking import DIVERSE, Candidate, above, blend, cosines, diversified, nearest, pool_size, worded
from graphs.shards import Shards
from serve_app.catalog import Filter, FoundPart, parse_filter
from serve_app.catalog.spelling import MAX_CHARACTERS, spell
from serve_app.retrieval.hits import PARTED, Floats, Hits, Ids, Query
from serve_app.retrieval.paging import Given, decode_cursor, encode_cursor, fingerprint
from serve_app.wire import schemas

MORE_HITS = 4
"""How many times the hits are asked for that did not show enough assets, since one asset may hold many."""
MOST_HITS = 1 << 18
"""Hits of a modality that a page looks through at most."""
WORD_HITS = 100
"""Assets that words may bring into a page of a modality."""


@dataclass(frozen=True)
class Asked:
    """What a client asks for, read and checked."""

    source: Literal["text", "image"]
    k: int
    modalities: tuple[str, ...]
    words: str | None = None
    """The text whose words are looked for too: what has all of them."""
    filter: Filter | None = None
    username: str | None = None
    min_score: float | Literal["auto"] | None = None
    diversity: float = 0.0
    given: Given = field(default_factory=Given)
    search: bytes = b""
    """By which a cursor knows this search."""

    @classmethod
    def of(cls, query: schemas.TextQuery, source: Literal["text", "image"], content: str) -> Self:
        """Raises ``bad_request`` for a filter or a cursor that is none. ``content`` tells what is searched for."""
        modalities = tuple(dict.fromkeys(query.modalities))
        search = fingerprint(source, content, query.filter, query.username, sorted(modalities))
        return cls(
            source, query.k, modalities, query.text if source == "text" else None,
            parse_filter(query.filter) if query.filter else None, query.username, query.min_score, query.diversity,
            decode_cursor(query.cursor, search, modalities) if query.cursor is not None else Given(), search,
        )  # fmt: skip


@dataclass(frozen=True)
class Leg:
    """The vector that stands for the query in some of the modalities, and the revision that it belongs to."""

    vector: Floats
    revision: str
    modalities: tuple[str, ...]


@dataclass(frozen=True)
class Told:
    """What the catalog tells without the vector: who holds the words of the filter's sentences and of the query.

    ``words`` are asset ids in the order of their rank, ``full`` the modalities of which there may be more.
    """

    sentences: tuple[Ids, ...] = ()
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    full: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Shown:
    """A page: what is shown of each modality, the cursor of the next one, and whether a shard is missing."""

    page: Mapping[str, Sequence[Candidate]]
    next_cursor: str | None
    partial: bool


class Near:
    """What the indexes have told of one modality so far."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.candidates: list[Candidate] = []
        self.scores: dict[int, float] = {}
        self.ended = False
        """No hit follows that would be shown."""


def tell(shards: Shards, asked: Asked) -> Told:
    """Ask the catalog all that needs no vector; blocks."""
    words: dict[str, list[str]] = {}
    limits = {name: min(asked.k, WORD_HITS) + asked.given.count(name) for name in asked.modalities}
    if telling := telling_words(asked.words or ""):
        saying_all = shards.places.catalog.words.saying_all
        words = saying_all(telling, limits, filter=asked.filter, without_owner=asked.username)
    full = frozenset(name for name, found in words.items() if len(found) == limits[name])
    return Told(shards.sentences(asked.filter), words, full)


def telling_words(text: str) -> str:
    """The words by which a text is looked for: those of three letters or more, all where there are none."""
    words = spell(text[:MAX_CHARACTERS]).split()
    return " ".join([word for word in words if len(word) > 2] or words)


class Search:
    """Asks the shards until there is enough to show, and the catalog what each vector stands for now."""

    def __init__(
        self, shards: Shards, asked: Asked, legs: Sequence[Leg], least: Mapping[str, float | None], told: Told,
        head: int,
    ) -> None:  # fmt: skip
        self.shards = shards
        self.asked = asked
        self.told = told
        self.least = least
        self.leg = {modality: leg for leg in legs for modality in leg.modalities}
        self.legs = legs
        self.head = head
        self.pool = pool_size(asked.k, asked.diversity)
        self.near = {name: Near(self.pool + asked.given.count(name)) for name in asked.modalities}
        self.names: dict[int, FoundPart] = {}
        self.words: dict[str, list[list[int]]] = {}
        """The vectors of each asset that words found, by modality."""

    async def run(self) -> Shown:
        """Each modality's page. Hits are asked for until they show enough assets or there are no more."""
        waiting, partial = self.asked.modalities, False
        while waiting:
            found = await self.shards.find_each(self._queries(waiting))
            partial = partial or found.partial
            await asyncio.to_thread(self._name, {name: found.hits[name].vids.tolist() for name in waiting})
            for modality in waiting:
                self._take(modality, found.hits[modality])
            waiting = tuple(name for name in waiting if not self._enough(self.near[name]))
        if any(self.words.values()) or self.asked.diversity:
            ranked = await asyncio.to_thread(self._ranked)
        else:
            ranked = self._ranked()
        page = {name: some[: self.asked.k] for name, some in ranked.items()}
        more = partial or any(len(ranked[name]) > len(page[name]) or self._goes_on(name) for name in page)
        return Shown(page, self._cursor(page) if more else None, partial)

    def _queries(self, waiting: Sequence[str]) -> list[Query]:
        queries = []
        for leg in self.legs:
            modalities = tuple(name for name in leg.modalities if name in waiting)
            if not modalities:
                continue
            depth = max(self.near[name].depth for name in modalities)
            for name in modalities:
                self.near[name].depth = depth
            queries.append(Query(
                np.asarray(leg.vector), depth, leg.revision, modalities, self.head, self.asked.username,
                self.asked.filter, self.told.sentences,
            ))  # fmt: skip
        return queries

    def _name(self, vids: Mapping[str, Sequence[int]]) -> None:
        """Learn what these vectors stand for and, at first, which ones those have that words found; blocks."""
        vectors = self.shards.places.catalog.vectors
        if any(self.told.words.values()) and not self.words:
            self.words = self._of_words()
        wanted = {name: {*vids[name], *(vid for each in self.words.get(name, ()) for vid in each)} for name in vids}
        whole = set[int]().union(*(some for name, some in wanted.items() if name not in PARTED))
        parts = set[int]().union(*(some for name, some in wanted.items() if name in PARTED))
        for vid in whole | parts:
            self.names.pop(vid, None)
        if whole:
            named = vectors.latest_ids(sorted(whole), self.asked.filter)
            self.names |= {vid: FoundPart(id, 0) for vid, id in named.items()}
        if parts:
            self.names |= vectors.latest_parts(sorted(parts), self.asked.filter)

    def _of_words(self) -> dict[str, list[list[int]]]:
        ids = {id for some in self.told.words.values() for id in some}
        revisions = {name: leg.revision for name, leg in self.leg.items()}
        held = self.shards.places.catalog.vectors.of_assets(ids, revisions) if ids else {}
        return {name: [held.get((id, name), []) for id in some] for name, some in self.told.words.items()}

    def _take(self, modality: str, hits: Hits) -> None:
        near = self.near[modality]
        near.scores.update(zip(hits.vids.tolist(), hits.scores.tolist(), strict=True))
        kept = above(hits, self.least[modality])
        near.ended = len(kept.vids) < near.depth
        near.candidates = nearest(kept, self.names, modality, self.asked.given)

    def _enough(self, near: Near) -> bool:
        """Whether no more hits are needed; asks for more next time where they are."""
        if near.ended or len(near.candidates) >= self.pool or near.depth >= MOST_HITS:
            return True
        near.depth = min(near.depth * MORE_HITS, MOST_HITS)
        return False

    def _goes_on(self, modality: str) -> bool:
        return not self.near[modality].ended or modality in self.told.full

    def _ranked(self) -> dict[str, list[Candidate]]:
        """What may be shown of each modality, best first; blocks where words took part or it is to be diverse."""
        return {name: self._ranked_of(name) for name in self.asked.modalities}

    def _ranked_of(self, modality: str) -> list[Candidate]:
        near, words = self.near[modality], self.words.get(modality, [])
        leg = self.leg[modality]
        gather = self.shards.places.catalog.vectors.gather
        unseen = [vid for each in words for vid in each if vid not in near.scores and vid in self.names]
        if unseen:
            near.scores.update(cosines(unseen, gather(unseen), leg.vector))
        found = worded(words, self.names, near.scores, modality, self.asked.given)
        ranked = blend(near.candidates, found)
        if not self.asked.diversity or not ranked:
            return [each for each, _ in ranked]
        some = [each.vid for each, _ in ranked[: min(self.pool, DIVERSE)]]
        return diversified(ranked, np.nan_to_num(gather(some)), self.asked.k, self.asked.diversity)

    def _cursor(self, page: Mapping[str, Sequence[Candidate]]) -> str | None:
        ids = {name: [each.id for each in some] for name, some in page.items()}
        if not any(ids.values()):
            return None
        return encode_cursor(self.asked.given.and_these(ids), self.asked.search)
