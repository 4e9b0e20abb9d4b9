"""A shard: the indexes of every modality, kept equal to the catalog's rows.

The catalog is the truth. A shard remembers the last ``seq`` that it has seen; a search names the least one that it must
see, and a shard that is behind reads the changes first. So a crash loses nothing and every replica answers alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from serve_app.catalog.rows import ChangePage
from serve_app.retrieval.attributes import Entries
from serve_app.retrieval.hits import MODALITIES, Hits, Ids, Query
from serve_app.retrieval.index import FLAT, Kinds, VectorIndex
from serve_app.retrieval.rebuild import Rebuild

_PAGE = 4096


class ChangeLog(Protocol):
    """Where changes come from: ordered by ``seq``, at most ``limit`` a page, complete up to the last one given."""

    def changes(self, revision: str, shard: int, shards: int, after: int, limit: int) -> ChangePage: ...


class Shard:
    """The vectors of one revision whose key falls to ``shard`` of ``shards``. Not thread-safe: one thread owns it."""

    def __init__(
        self, log: ChangeLog, revision: str, dim: int, *, shard: int = 0, shards: int = 1,
        kinds: Mapping[str, Kinds] | None = None, gpu: bool = False,
    ) -> None:  # fmt: skip
        self._log = log
        self.revision = revision
        self.dim = dim
        self.place = (shard, shards)
        self.indexes = {name: VectorIndex(dim, (kinds or {}).get(name, FLAT), gpu) for name in MODALITIES}
        self.seq = 0

    def catch_up(self) -> int:
        """Apply every change since the last one seen; returns the last ``seq`` seen."""
        complete = False
        while not complete:
            page = self._log.changes(self.revision, *self.place, self.seq, _PAGE)
            self.apply(page)
            complete = page.complete
        return self.seq

    def apply(self, page: ChangePage) -> None:
        """Take one page of changes in."""
        modalities = np.asarray(page.modalities)
        live = np.fromiter((vector is not None for vector in page.vectors), np.bool_, len(page.vectors))
        for name, index in self.indexes.items():
            here = modalities == name if len(modalities) else np.zeros(0, np.bool_)
            # Within a page a row stands once, at its last seq, so the order of the two is free.
            index.remove(page.vids[here & ~live])
            chosen = np.flatnonzero(here & live)
            if len(chosen):
                numbers = chosen.tolist()
                joined = b"".join(vector for i in numbers if (vector := page.vectors[i]) is not None)
                vectors = np.frombuffer(joined, "<f4").reshape(len(numbers), -1)
                owners = [page.owners[i] for i in numbers]
                index.put(page.vids[chosen], page.seqs[chosen], owners, vectors, _entries(page, chosen))
        self.seq = max(self.seq, page.last_seq)

    def search(self, queries: Sequence[Query]) -> list[dict[str, Hits]]:
        """Answer a batch; queries that match the same rows share scans."""
        needed = max(query.min_seq for query in queries)
        if needed > self.seq:
            self.catch_up()
            # The head of the log may belong to another shard, so what was read counts as seen up to there.
            self.seq = max(self.seq, needed)
        groups: dict[object, list[int]] = defaultdict(list)
        for number, query in enumerate(queries):
            sentences = tuple(ids.tobytes() for ids in query.sentences)
            # One that asks for much more than the others would make all of them slow.
            groups[query.filter, sentences, query.without_owner, query.exact, query.k.bit_length() // 3].append(number)
        answers: list[dict[str, Hits]] = [{} for _ in queries]
        for numbers in groups.values():
            for name, index in self.indexes.items():
                asking = [number for number in numbers if name in queries[number].modalities]
                if asking:
                    found = _search(index, [queries[number] for number in asking])
                    for number, hits in zip(asking, found, strict=True):
                        answers[number][name] = hits
        return answers

    def plan(self) -> tuple[VectorIndex, Rebuild] | None:
        """The next work for the background, with the index that is to ``adopt`` it."""
        for index in self.indexes.values():
            if (work := index.plan()) is not None:
                return index, work
        return None

    def feed(self) -> bool:
        """Let the FAISS indexes have some rows that they lack; whether any took some."""
        return any([index.feed() for index in self.indexes.values()])

    def __len__(self) -> int:
        return sum(map(len, self.indexes.values()))


def _search(index: VectorIndex, queries: Sequence[Query]) -> list[Hits]:
    first = queries[0]
    mask = index.mask(first.filter, first.sentences, first.without_owner)
    found = index.search(
        np.stack([query.vector for query in queries]), max(query.k for query in queries), mask, exact=first.exact
    )
    return [Hits(hits.vids[: query.k], hits.scores[: query.k]) for query, hits in zip(queries, found, strict=True)]


def _entries(page: ChangePage, chosen: Ids) -> Entries:
    """The entries of the rows ``chosen`` (ascending) of a page, their rows counted among these."""
    if len(chosen) == len(page.vids):
        return Entries(
            page.entry_rows, page.assets, page.kinds, page.created, page.tag_entries, page.tag_names, page.tag_values,
            page.confidences,
        )  # fmt: skip
    places = np.full(len(page.vids), -1, np.int64)
    places[chosen] = np.arange(len(chosen))
    rows = places[page.entry_rows]
    kept = np.flatnonzero(rows >= 0)
    numbers = np.full(len(rows), -1, np.int64)
    numbers[kept] = np.arange(len(kept))
    tags = np.flatnonzero(numbers[page.tag_entries] >= 0)
    return Entries(
        rows[kept], page.assets[kept], [page.kinds[i] for i in kept.tolist()], page.created[kept],
        numbers[page.tag_entries[tags]], [page.tag_names[i] for i in tags.tolist()],
        [page.tag_values[i] for i in tags.tolist()], page.confidences[tags],
    )  # fmt: skip
