"""What filters ask of a row, in columns: the assets it stands for, their kinds, dates and labels.

An *entry* is one asset of one row; a row fits a filter where one of its entries fits all of the terms. Labels are kept
sorted by name and value, so that those of a term lie side by side; what came since the last sorting is looked through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from serve_app.catalog.checks import fold
from serve_app.catalog.filters import Filter, Term
from serve_app.catalog.rows import KINDS
from serve_app.retrieval.columns import Column
from serve_app.retrieval.exact import Mask
from serve_app.retrieval.hits import Ids

_UNSORTED = 65_536
"""Labels that may wait for the next sorting; beyond, an eighth of all."""


@dataclass(frozen=True)
class Entries:
    """What rows stand for: E entries, ``rows`` ascending, and T labels of them."""

    rows: NDArray[np.integer]
    assets: Ids
    kinds: Sequence[str]
    created: NDArray[np.float64]
    tag_entries: NDArray[np.integer]
    tag_names: Sequence[str]
    tag_values: Sequence[str]
    confidences: NDArray[np.float32]


@dataclass(frozen=True)
class Frozen:
    """All of it as arrays that nobody changes any more, as snapshots keep them."""

    rows: NDArray[np.int32]
    assets: Ids
    kinds: NDArray[np.int8]
    created: NDArray[np.float64]
    alive: Mask
    owners: NDArray[np.int32]
    tag_codes: NDArray[np.int32]
    tag_entries: NDArray[np.int32]
    confidences: NDArray[np.float32]


class Attributes:
    """The attributes of rows 0 to N - 1. One thread owns it."""

    def __init__(self) -> None:
        self._fill(_empty(), {}, {})

    def _fill(self, given: Frozen, owners: dict[str, int], words: dict[tuple[str, str], int]) -> None:
        self.owner_codes, self.words = owners, words
        self._owners = Column(np.int32, given.owners)
        self._rows, self._assets = Column(np.int32, given.rows), Column(np.int64, given.assets)
        self._kinds, self._created = Column(np.int8, given.kinds), Column(np.float64, given.created)
        self._alive = Column(np.bool_, given.alive)
        self._last = np.full(len(given.owners), -1, np.int32)
        self._previous = Column(np.int32)
        self._chain(np.asarray(given.rows, np.int64), 0)
        self._labels = _Labels(given.tag_codes, given.tag_entries, given.confidences)

    def add_rows(self, owners: Sequence[str]) -> None:
        """New rows at the end, without entries."""
        codes = self.owner_codes
        self._owners.extend([codes.setdefault(owner, len(codes)) for owner in owners])

    def put(self, new: Entries) -> None:
        """Entries for ``new.rows``, whichever these had."""
        self.clear(np.unique(new.rows))
        first = len(self._rows)
        self._chain(new.rows, first)
        self._rows.extend(new.rows)
        self._assets.extend(new.assets)
        self._kinds.extend([KINDS.index(kind) for kind in new.kinds])
        self._created.extend(new.created)
        self._alive.extend(np.ones(len(new.rows), np.bool_))
        words = self.words
        codes = [words.setdefault(pair, len(words)) for pair in zip(new.tag_names, new.tag_values, strict=True)]
        self._labels.add(codes, new.tag_entries + first, new.confidences)

    def clear(self, rows: Ids) -> None:
        """Take the entries of ``rows`` (each once) away."""
        rows = rows[rows < len(self._last)]
        entries = self._last[rows]
        self._last[rows] = -1
        while len(entries := entries[entries >= 0]):
            self._alive.view[entries] = False
            entries = self._previous.view[entries]

    def others(self, owner: str) -> Mask | None:
        """The rows that are not the owner's; None where all are not."""
        code = self.owner_codes.get(owner)
        return None if code is None else self._owners.view != code

    def mask(self, filter: Filter, sentences: Sequence[Ids] = ()) -> Mask:
        """The rows [N] with an asset that fits all terms; ``sentences`` as in :class:`~.hits.Query`."""
        words = iter(sentences)
        fits = self._alive.view.copy()
        for term in filter.terms:
            found = self._in_sentences(next(words, None)) if term.is_sentence else self._fits(term)
            fits &= ~found if term.negated else found
        if next(words, None) is not None:
            raise ValueError("more sentences than the filter has terms for")
        mask = np.zeros(len(self._owners), np.bool_)
        mask[self._rows.view[fits]] = True
        return mask

    def _in_sentences(self, assets: Ids | None) -> Mask:
        if assets is None:
            raise ValueError("a term of the filter came without the assets whose sentences hold it")
        return _among(self._assets.view, assets)

    def _fits(self, term: Term) -> Mask:
        if term.name == "kind":
            kind = KINDS.index(term.value) if term.value in KINDS else -1
            return np.asarray(self._kinds.view == kind, np.bool_)
        if term.name == "owner":
            owned = self._owners.view == self.owner_codes.get(term.value or "", -1)
            return np.asarray(owned[self._rows.view], np.bool_)
        if term.created is not None:
            after, before = term.created
            created = self._created.view
            return np.asarray(
                (created > (-np.inf if after is None else after)) & (created < (np.inf if before is None else before)),
                np.bool_,
            )
        value = None if term.value is None else fold(term.value)
        found = np.zeros(len(self._rows), np.bool_)
        for entries, confidences in self._labels.of(term.name, value, self.words):
            # Confidences are compared as they are kept, so that .3 is not above .3.
            found[entries if term.above is None else entries[confidences > np.float32(term.above)]] = True
        return found

    def freeze(self) -> Frozen:
        """What there is now; what may still change is copied."""
        codes, entries, confidences = self._labels.all()
        return Frozen(
            self._rows.view, self._assets.view, self._kinds.view, self._created.view, self._alive.view.copy(),
            self._owners.view, codes, entries, confidences,
        )  # fmt: skip

    @classmethod
    def thaw(cls, frozen: Frozen, owners: Sequence[str], words: Sequence[tuple[str, str]]) -> Attributes:
        """The attributes that were frozen, with the vocabularies of that time."""
        made = cls()
        made._fill(
            frozen, {owner: code for code, owner in enumerate(owners)}, {word: code for code, word in enumerate(words)}
        )
        return made

    def kept(self, rows: Ids) -> Attributes:
        """The attributes of ``rows`` alone, which become 0, 1, ..., without dead entries."""
        old = self.freeze()
        places = np.full(len(old.owners), -1, np.int32)
        places[rows] = np.arange(len(rows), dtype=np.int32)
        entries = np.flatnonzero(old.alive & (places[old.rows] >= 0))
        numbers = np.full(len(old.rows), -1, np.int32)
        numbers[entries] = np.arange(len(entries), dtype=np.int32)
        tags = numbers[old.tag_entries] >= 0
        new = Frozen(
            places[old.rows[entries]], old.assets[entries], old.kinds[entries], old.created[entries],
            np.ones(len(entries), np.bool_), old.owners[rows], old.tag_codes[tags], numbers[old.tag_entries[tags]],
            old.confidences[tags],
        )  # fmt: skip
        made = Attributes()
        made._fill(new, self.owner_codes, self.words)
        return made

    def _chain(self, rows: NDArray[np.integer], first: int) -> None:
        """Note for each row its last entry and for each entry the one before it, so that a row's are found again."""
        if (missing := len(self._owners) - len(self._last)) > 0:
            grown = np.full(len(self._last) + max(missing, len(self._last) // 2), -1, np.int32)
            grown[: len(self._last)] = self._last
            self._last = grown
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        before = np.empty(len(rows), np.int32)
        same = np.zeros(len(rows), np.bool_)
        same[1:] = ordered[1:] == ordered[:-1]
        chained = np.where(same, np.roll(order, 1) + first, -1)
        before[order] = chained
        self._previous.extend(before)
        self._last[ordered] = order + first  # of equal rows the last one stays


class _Labels:
    """(name and value) codes, entries and confidences: sorted by name and code, and a tail as it came."""

    def __init__(
        self, codes: NDArray[np.int32], entries: NDArray[np.int32], confidences: NDArray[np.float32]
    ) -> None:  # fmt: skip
        self._codes, self._entries = np.empty(0, np.int32), np.empty(0, np.int32)
        self._confidences = np.empty(0, np.float32)
        self._order: Ids = np.empty(0, np.int64)
        self._starts: Ids = np.zeros(1, np.int64)
        self._names: dict[str, list[int]] = {}
        self._known = 0
        self._tail = Column(np.int32, codes), Column(np.int32, entries), Column(np.float32, confidences)

    def add(
        self, codes: Sequence[int], entries: NDArray[np.integer], confidences: NDArray[np.float32],
    ) -> None:  # fmt: skip
        own_codes, own_entries, own_confidences = self._tail
        own_codes.extend(codes)
        own_entries.extend(entries)
        own_confidences.extend(confidences)
        if len(self._tail[0]) > max(_UNSORTED, len(self._codes) // 8):
            self._sort()

    def of(
        self, name: str, value: str | None, words: dict[tuple[str, str], int]
    ) -> list[tuple[NDArray[np.int32], NDArray[np.float32]]]:  # fmt: skip
        """Entries and confidences with this name and value (None: any), in pieces."""
        if len(self._tail[0]) > max(_UNSORTED, len(self._codes) // 8):
            self._sort()
        self._learn(words)
        if value is None:
            codes = np.asarray(self._names.get(name, ()), np.int64)
        else:
            code = words.get((name, value))
            codes = np.asarray(() if code is None else (code,), np.int64)
        if not len(codes):
            return []
        pieces = []
        for code in codes[codes < len(self._starts) - 1].tolist():
            some = slice(self._starts[code], self._starts[code + 1])
            pieces.append((self._entries[some], self._confidences[some]))
        tail, entries, confidences = (column.view for column in self._tail)
        late = tail == codes[0] if len(codes) == 1 else np.isin(tail, codes)
        return [*pieces, (entries[late], confidences[late])]

    def all(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
        """Every label: codes, entries, confidences."""
        tail, entries, confidences = (column.view for column in self._tail)
        return (
            np.concatenate([self._codes, tail]),
            np.concatenate([self._entries, entries]),
            np.concatenate([self._confidences, confidences]),
        )

    def _sort(self) -> None:
        codes, entries, confidences = self.all()
        # Stable, since that is quick where a part is sorted already.
        order = np.argsort(codes, kind="stable")
        self._codes, self._entries, self._confidences = codes[order], entries[order], confidences[order]
        self._starts = np.searchsorted(self._codes, np.arange(int(codes.max(initial=-1)) + 2))
        self._tail = Column(np.int32), Column(np.int32), Column(np.float32)

    def _learn(self, words: dict[tuple[str, str], int]) -> None:
        """Which codes belong to a name, of the words that came since the last look."""
        if self._known < len(words):
            for (name, _), code in list(words.items())[self._known :]:
                self._names.setdefault(name, []).append(code)
            self._known = len(words)


def _among(values: Ids, chosen: Ids) -> Mask:
    """Which of ``values`` stand in ``chosen``."""
    ordered = np.unique(chosen)
    if not len(ordered):
        return np.zeros(len(values), np.bool_)
    places = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    return np.asarray(ordered[places] == values, np.bool_)


def _empty() -> Frozen:
    kinds = {"assets": np.int64, "kinds": np.int8, "created": np.float64, "alive": np.bool_, "confidences": np.float32}
    return Frozen(**{field.name: np.empty(0, kinds.get(field.name, np.int32)) for field in fields(Frozen)})
