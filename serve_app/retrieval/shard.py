"""A shard: FAISS indexes of every modality, kept equal to the catalog's rows.

The catalog is the truth. A shard remembers the last ``seq`` that it has seen; a search names the least one that it must
see, and a shard that is behind reads the changes first. So a crash loses nothing and every replica answers alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serve_app.retrieval.hits import MODALITIES, NO_HITS, Hits, Query
from serve_app.retrieval.index import VectorIndex

_PAGE = 4096


class Change(Protocol):
    """A row of the catalog's vector log; ``vector`` is None where the row was deleted."""

    @property
    def seq(self) -> int: ...
    @property
    def vid(self) -> int: ...
    @property
    def owner(self) -> str: ...
    @property
    def modality(self) -> str: ...
    @property
    def vector(self) -> NDArray[np.float32] | None: ...


class ChangeLog(Protocol):
    """Where changes come from: ordered by ``seq``, at most ``limit`` a page, complete up to the last one given."""

    def changes(self, revision: str, shard: int, shards: int, after: int, limit: int) -> Sequence[Change]: ...


class Shard:
    """The vectors of one revision whose key falls to ``shard`` of ``shards``. Not thread-safe: one thread owns it."""

    def __init__(
        self, log: ChangeLog, revision: str, dim: int, *, shard: int = 0, shards: int = 1, factory: str = "Flat",
        nprobe: int = 1,
    ) -> None:  # fmt: skip
        self._log = log
        self._revision = revision
        self._place = (shard, shards)
        self.indexes = {modality: VectorIndex(dim, factory, nprobe) for modality in MODALITIES}
        self.seq = 0

    def catch_up(self) -> int:
        """Apply every change since the last one seen; returns the last ``seq`` seen."""
        while page := self._log.changes(self._revision, *self._place, self.seq, _PAGE):
            self._apply(page)
            self.seq = page[-1].seq
            if len(page) < _PAGE:
                break
        return self.seq

    def search(self, queries: Sequence[Query]) -> list[dict[str, Hits]]:
        """Answer a batch; queries without filters share one scan a modality."""
        needed = max(query.min_seq for query in queries)
        if needed > self.seq:
            self.catch_up()
            # The head of the log may belong to another shard, so what was read counts as seen up to there.
            self.seq = max(self.seq, needed)
        answers: list[dict[str, Hits]] = [{} for _ in queries]
        for modality, index in self.indexes.items():
            asking = [i for i, query in enumerate(queries) if modality in query.modalities]
            self._search_modality(modality, index, queries, asking, answers)
        return answers

    def _search_modality(
        self, modality: str, index: VectorIndex, queries: Sequence[Query], asking: list[int],
        answers: list[dict[str, Hits]],
    ) -> None:  # fmt: skip
        plain = [i for i in asking if queries[i].without_owner is None and queries[i].among is None]
        if plain:
            k = max(queries[i].k for i in plain)
            hits = index.search(np.stack([queries[i].vector for i in plain]), k)
            for i, hit in zip(plain, hits, strict=True):
                answers[i][modality] = Hits(hit.vids[: queries[i].k], hit.scores[: queries[i].k])
        for i in set(asking) - set(plain):
            query = queries[i]
            among = query.among.get(modality, NO_HITS.vids) if query.among is not None else None
            answers[i][modality] = index.search(
                query.vector[None], query.k, without_owner=query.without_owner, among=among
            )[0]

    def _apply(self, page: Iterable[Change]) -> None:
        for (modality, dead), group in groupby(page, key=lambda change: (change.modality, change.vector is None)):
            index = self.indexes.get(modality)
            if index is None:
                continue
            changes = list(group)
            if dead:
                index.remove(change.vid for change in changes)
            else:
                # Within a page a row stands once, at its last seq, so the order inside the group is free.
                vectors = np.stack([change.vector for change in changes if change.vector is not None])
                index.add([change.vid for change in changes], [change.owner for change in changes], vectors)
