"""One modality's vectors of one shard: exact answers under filters, never a hole, at any size.

Few matching rows are scanned exactly; of many, a FAISS index names candidates, which are ranked by their true cosines.
FAISS may lag behind: rows that it does not have yet are scanned. One thread owns an index; what takes long is done by a
``Rebuild`` in another thread and swapped in by the owner.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serve_app.catalog.filters import Filter
from serve_app.retrieval.ann import Ann, least_rows
from serve_app.retrieval.attributes import Attributes, Entries
from serve_app.retrieval.columns import Column, RowNumbers
from serve_app.retrieval.exact import Blocks, Mask, best, scan
from serve_app.retrieval.hits import NO_HITS, Floats, Hits, Ids, Query
from serve_app.retrieval.rebuild import Rebuild

Kinds = Sequence[tuple[int, str]]
"""FAISS factories by the size from which on each is used, ascending from 0."""

FLAT: Kinds = ((0, "Flat"),)
EXACT_BELOW = 10_000
"""Matching rows that are scanned however many there are: gathering so many takes as long as FAISS does among them.

Median ms of one query by the share of the rows that match, 512 dimensions, two cores:

    rows, kind                all  50 %  10 %   3 %   1 %  .1 %
    1,000,000 IVF1024,SQ8     .35   1.9   3.4   6.7   9.8   .74
      100,000 IVF256,SQ8      .44   2.7   8.4          .6   .33

Of the million 1 % are 10,000 rows, which a scan takes 10.3 ms for; below, rows are scanned. Recall@10 of the million is
1.0 throughout. All of the 100,000 take 13 ms without FAISS.
"""
_TAIL = 1024
_FED = 256
"""Rows that wait for FAISS, and how many it takes at a time, so that no search waits long."""
_LONG_TAIL = 16_384
_DEAD = 0.2
_FEW_DEAD = 1000
_GROWN = 4
"""An index is trained anew once it holds so many times what it was trained on."""
_ASKED = 100
"""Of the queries that FAISS answered, so many are kept to be tuned for."""
_TRUE = 0.99
"""Recall@10 of these below which they are."""
_ENOUGH = 50
"""Judged answers before that is decided; twice as many after each time, since more may not be possible."""
_PATIENCE = 1.5
"""After a failure it is tried again when there are so many times the vectors."""


class VectorIndex:
    """A growing set of unit vectors [D] under integer ids, with what filters ask of each."""

    def __init__(self, dim: int, kinds: Kinds = FLAT, gpu: bool = False) -> None:
        self.dim = dim
        self.kinds = kinds
        self.blocks = Blocks(dim)
        self.attributes = Attributes()
        self.ann: Ann | None = None
        self.held = False
        """While true, FAISS takes no rows: another thread reads it."""
        self.generation = 0
        """Grows when rows get other numbers."""
        self.gpu = gpu
        self._vids = Column(np.int64)
        self._seqs = Column(np.int64)
        self._alive = Column(np.bool_)
        self._numbers = RowNumbers()
        self._living = 0
        self.trained = 0
        self._asked: deque[Floats] = deque(maxlen=_ASKED)
        self._shares: deque[float] = deque(maxlen=_ASKED)
        self._judged, self._enough = 0, _ENOUGH
        self._not_before = 0
        self._rebuild: Rebuild | None = None

    def __len__(self) -> int:
        return self._living

    def __contains__(self, vid: int) -> bool:
        return bool(len(self._present(np.asarray([vid], np.int64))[1]))

    @property
    def vids(self) -> Ids:
        return self._vids.view

    @property
    def seqs(self) -> Ids:
        return self._seqs.view

    @property
    def alive(self) -> Mask:
        return self._alive.view

    @property
    def factory(self) -> str:
        return self.ann.factory if self.ann else "Flat"

    def put(self, vids: Ids, seqs: Ids, owners: Sequence[str], vectors: Floats, entries: Entries) -> None:
        """Add vectors [N, D], each id once; ``entries.rows`` counts among these.

        One that is there already keeps its place and gets new attributes, unless its vector is another.
        """
        if vectors.shape != (len(vids), self.dim):
            raise ValueError(f"vectors are {vectors.shape}, expected ({len(vids)}, {self.dim})")
        rows, known = self._present(vids)
        if len(known):
            ordered = known[np.argsort(rows[known])]
            same = (self.blocks.gather(rows[ordered]) == vectors[ordered]).all(axis=1)
            self._kill(rows[ordered[~same]])
            self.attributes.clear(rows[ordered[same]])
            self._seqs.view[rows[ordered[same]]] = seqs[ordered[same]]
            fresh = np.setdiff1d(np.arange(len(vids)), ordered[same])
        else:
            fresh = np.arange(len(vids))
        if len(fresh):
            rows[fresh] = self._append(vids[fresh], seqs[fresh], [owners[i] for i in fresh.tolist()], vectors[fresh])
        self.attributes.put(Entries(rows[entries.rows], *list(vars(entries).values())[1:]))
        self.feed()

    def remove(self, vids: Ids) -> None:
        """Forget these ids; unknown ones are ignored."""
        rows, known = self._present(vids)
        self._kill(rows[known])

    def mask(
        self, filter: Filter | None, sentences: Sequence[Ids] = (), without_owner: str | None = None
    ) -> Mask | None:
        """The living rows that match; None where all rows do."""
        mask = None if filter is None or not filter.terms else self.attributes.mask(filter, sentences)
        others = None if without_owner is None else self.attributes.others(without_owner)
        if others is not None:
            mask = others if mask is None else mask & others
        if mask is None:
            return None if self._living == len(self._alive) else self.alive
        return mask & self.alive

    def search(self, queries: Floats, k: int, mask: Mask | None = None, *, exact: bool = False) -> list[Hits]:
        """The min(k, matches) best rows of ``mask`` for each query [Q, D], best first."""
        if mask is None and self._living < len(self._alive):
            mask = self.alive
        matches = self._living if mask is None else int(np.count_nonzero(mask))
        count = min(k, matches)
        if count < 1:
            return [NO_HITS] * len(queries)
        queries = np.ascontiguousarray(queries, np.float32)
        found: list[Ids | None] = [None] * len(queries)
        if not exact:
            found = self._candidates(queries, count, mask, matches)
        left = [number for number, rows in enumerate(found) if rows is None]
        if left:
            rows = scan(self.blocks, queries[left], count, mask)
            for number, some in zip(left, rows, strict=True):
                found[number] = some
        return [
            best(self.blocks, self.vids, query, NO_HITS.vids if rows is None else rows, count)
            for query, rows in zip(queries, found, strict=True)
        ]

    def _candidates(self, queries: Floats, k: int, mask: Mask | None, matches: int) -> list[Ids | None]:
        """Rows among which the best are, by FAISS and the rows that it lacks; None where a scan must tell."""
        nothing: list[Ids | None] = [None] * len(queries)
        ann = self.ann
        if ann is None or matches < EXACT_BELOW:
            return nothing
        inside = ann.count if mask is None else int(np.count_nonzero(mask[: ann.count]))
        # The best 100 lie as far off as the best 10 of a tenth.
        effort = ann.effort(inside / ann.count * min(1.0, 10 / k))
        if effort is None or inside < k:
            return nothing
        found = ann.candidates(queries, k, None if mask is None else mask[: ann.count], inside, effort)
        if ann.count < self.blocks.count:
            late = scan(self.blocks, queries, k, mask, ann.count)
            found = [
                rows if rows is None else np.concatenate([rows, more]) for rows, more in zip(found, late, strict=True)
            ]
        return found

    def judge(self, query: Query, given: Hits) -> float | None:
        """The share of the exact ten best that an answer has; None where nothing matches."""
        mask = self.mask(query.filter, query.sentences, query.without_owner)
        k = min(query.k, 10)
        (exact,) = self.search(query.vector[None], k, mask, exact=True)
        if not len(exact.vids):
            return None
        share = len(np.intersect1d(given.vids[:k], exact.vids)) / len(exact.vids)
        if self.ann is not None and (self._living if mask is None else np.count_nonzero(mask)) >= EXACT_BELOW:
            self._asked.append(query.vector)
            self._shares.append(share)
            self._judged += 1
        return share

    def feed(self) -> bool:
        """Let FAISS have some of the rows that it lacks; whether there were enough of them."""
        ann = self.ann
        if ann is None or self.held or self.blocks.count - ann.count < _TAIL:
            return False
        ann.extend(self.blocks, ann.count + _FED)
        return True

    def plan(self) -> Rebuild | None:
        """What is due in the background, if anything; at most one at a time."""
        if self._rebuild is not None or self.held:
            return None
        rows, dead = len(self._alive), len(self._alive) - self._living
        compact = dead > max(_FEW_DEAD, _DEAD * rows)
        factory = self._wanted()
        base, retuned = None, False
        if not compact:
            tail = self.blocks.count - self.ann.count if self.ann else 0
            outgrown = self.factory != factory and (self.ann is None or self._living > self.trained)
            if self._living < self._not_before or self._living < 1:
                return None
            if not outgrown and not (self.ann and self._living > _GROWN * self.trained):
                retuned = tail < _LONG_TAIL
                if retuned and not self._is_untrue():
                    return None
                base, factory = self.ann, self.factory
        elif self._living < self._not_before:
            factory = "Flat"
        asked = np.stack(self._asked) if self._asked and (retuned or base is None) else None
        self._rebuild = Rebuild(
            self.blocks, self.alive.copy(), factory, base=base, compact=compact, asked=asked, gpu=self.gpu
        )
        # What is copied, and what is read by another thread, must not change meanwhile.
        self.held = base is not None
        return self._rebuild

    def adopt(self, made: Rebuild) -> None:
        """Swap in what a rebuild made."""
        if made is not self._rebuild:
            raise ValueError("not the rebuild that was planned last")
        self._rebuild = None
        self.held = False
        if made.ann is not None and (made.base is None or made.asked is not None):
            self._shares.clear()
            self._judged, self._enough = 0, 2 * self._enough if made.base else _ENOUGH
        if made.failed:
            self._not_before = int(_PATIENCE * self._living) + 1
            return
        if made.kept is not None:
            self._renumber(made, made.kept)
            self.ann, self.trained = made.ann, len(made.kept)
        elif made.ann is not None:
            self.ann = made.ann
            self.trained = self.trained if made.factory == self.factory and made.base else made.count

    def take(
        self, vids: Ids, seqs: Ids, alive: Mask, attributes: Attributes, ann: Ann | None, trained: int
    ) -> None:  # fmt: skip
        """Become what a snapshot holds, whose vectors are in ``blocks`` already."""
        if not len(vids) == len(seqs) == len(alive) == self.blocks.count:
            raise ValueError("the parts of a snapshot differ in length")
        self.attributes, self.ann, self.trained = attributes, ann, trained
        self._load(vids, seqs, alive)

    @property
    def known(self) -> bool:
        """Whether so many answers were judged that it is clear if the index is to be tuned; one that scans is true."""
        return self.ann is None or self._judged >= self._enough

    def _is_untrue(self) -> bool:
        return self.ann is not None and self.known and float(np.mean(self._shares)) < _TRUE

    def _wanted(self) -> str:
        """The kind for this size; ``Flat`` as long as there is too little to train it."""
        factory = [kind for size, kind in self.kinds if size <= self._living][-1]
        return factory if factory == "Flat" or self._living >= least_rows(factory, self.dim) else "Flat"

    def _renumber(self, made: Rebuild, kept: Ids) -> None:
        for _, piece in made.source.pieces(made.copied):
            made.blocks.append(piece)
        rows = np.concatenate([kept, np.arange(made.count, len(self._alive))])
        self.blocks = made.blocks
        self.attributes = self.attributes.kept(rows)
        self._load(self.vids[rows], self.seqs[rows], self.alive[rows])
        self.generation += 1

    def _load(self, vids: Ids, seqs: Ids, alive: NDArray[np.bool_]) -> None:
        self._vids, self._seqs, self._alive = Column(np.int64, vids), Column(np.int64, seqs), Column(np.bool_, alive)
        self._numbers = RowNumbers(vids)
        self._living = int(np.count_nonzero(alive))

    def _append(self, vids: Ids, seqs: Ids, owners: Sequence[str], vectors: Floats) -> Ids:
        first = self.blocks.count
        self._vids.extend(vids)
        self._seqs.extend(seqs)
        self._alive.extend(np.ones(len(vids), np.bool_))
        self.attributes.add_rows(owners)
        self._numbers.put(vids, first)
        self._living += len(vids)
        self.blocks.append(vectors)
        return np.arange(first, first + len(vids))

    def _present(self, vids: Ids) -> tuple[Ids, Ids]:
        """The row of each id, and which of the ids have a living one."""
        rows = self._numbers.get(vids)
        known = np.flatnonzero(rows >= 0)
        return rows, known[self.alive[rows[known]]]

    def _kill(self, rows: Ids) -> None:
        rows = np.unique(rows)
        self.alive[rows] = False
        self.attributes.clear(rows)
        self._living -= len(rows)
