"""Growing columns of numbers, and the look-up of a row by its vector's id: no Python object a row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serve_app.retrieval.hits import Ids

_RECENT = 8192


class Column:
    """A one-dimensional array that grows at its end. Views taken earlier stay as they were in length."""

    def __init__(self, dtype: type[np.generic], values: ArrayLike = ()) -> None:
        self._data: NDArray[Any] = np.array(values, dtype)
        self._count = len(self._data)

    def __len__(self) -> int:
        return self._count

    @property
    def view(self) -> NDArray[Any]:
        """What is in it now, to read and to overwrite."""
        return self._data[: self._count]

    def extend(self, values: ArrayLike) -> None:
        added = np.asarray(values, self._data.dtype)
        needed = self._count + len(added)
        if needed > len(self._data):
            grown = np.empty(max(needed, len(self._data) * 3 // 2, 64), self._data.dtype)
            grown[: self._count] = self.view
            self._data = grown
        self._data[self._count : needed] = added
        self._count = needed


class RowNumbers:
    """The row in which each vector id stood last: sorted arrays, and a small dictionary of what came since."""

    def __init__(self, vids: Ids | None = None) -> None:
        self._vids: Ids = np.empty(0, np.int64)
        self._rows: NDArray[np.int32] = np.empty(0, np.int32)
        self._recent: dict[int, int] = {}
        if vids is not None:
            self._merge(vids, np.arange(len(vids), dtype=np.int32))

    def put(self, vids: Ids, first: int) -> None:
        """``vids`` stand in the rows from ``first`` on."""
        if len(vids) >= _RECENT:
            self._settle()
            self._merge(vids, np.arange(first, first + len(vids), dtype=np.int32))
            return
        self._recent.update(zip(vids.tolist(), range(first, first + len(vids)), strict=True))
        if len(self._recent) > max(_RECENT, len(self._vids) // 16):
            self._settle()

    def get(self, vids: Ids) -> Ids:
        """The row of each id, -1 where it never had one."""
        rows = np.full(len(vids), -1, np.int64)
        if len(self._vids):
            places = np.minimum(np.searchsorted(self._vids, vids), len(self._vids) - 1)
            known = self._vids[places] == vids
            rows[known] = self._rows[places[known]]
        if self._recent:
            for place, vid in enumerate(vids.tolist()):
                if (row := self._recent.get(vid)) is not None:
                    rows[place] = row
        return rows

    def _settle(self) -> None:
        recent = self._recent
        self._recent = {}
        self._merge(np.fromiter(recent.keys(), np.int64), np.fromiter(recent.values(), np.int32))

    def _merge(self, vids: Ids, rows: NDArray[np.int32]) -> None:
        every = np.concatenate([self._vids, vids])
        # Stable, so that of the rows of one id the last given is the last.
        order = np.argsort(every, kind="stable")
        ordered = every[order]
        last = np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)]
        self._vids = ordered[last]
        self._rows = np.concatenate([self._rows, rows])[order][last]
