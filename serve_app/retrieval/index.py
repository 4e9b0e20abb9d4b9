"""One modality's vectors of one shard in FAISS: exact answers under filters, never a hole.

Rows are only appended to the FAISS index; a deleted row is masked out at once and removed when a rebuild is due. Scores
are inner products of unit vectors, so cosines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import faiss
import numpy as np
from numpy.typing import NDArray

from serve_app.retrieval.hits import NO_HITS, Floats, Hits, Ids

_FACTORY = re.compile(r"Flat|IVF\d+,Flat")
_REBUILD_SHARE = 0.2
_TRAINING_POINTS = 10_000


# Below this many queries x dimensions FAISS scans once a query instead of once a batch; its default of 128,000 is 250
# queries at 512-d. A batch of 32 takes a fifth of the CPU this way, a single query what it took.
faiss.cvar.distance_compute_blas_threshold = 2048


class VectorIndex:
    """A growing set of unit vectors [D] under integer ids, each with an owner.

    ``factory`` is a FAISS index-factory string, ``Flat`` or ``IVF<lists>,Flat``: both keep the vectors as they are, so
    that a rebuild loses nothing. An inverted file stays ``Flat`` (exact) until 10,000 vectors are there to train it.
    """

    def __init__(self, dim: int, factory: str = "Flat", nprobe: int = 1) -> None:
        if not _FACTORY.fullmatch(factory):
            raise ValueError(f"index factory {factory!r} is neither Flat nor IVF<lists>,Flat")
        self.dim = dim
        self._factory = factory
        self._nprobe = nprobe
        self._index = faiss.index_factory(dim, "Flat", faiss.METRIC_INNER_PRODUCT)
        self._exact = True
        self._vids: Ids = np.empty(0, np.int64)
        self._owners: NDArray[np.int32] = np.empty(0, np.int32)
        self._alive: NDArray[np.bool_] = np.empty(0, np.bool_)
        self._rows: dict[int, int] = {}
        self._owner_codes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, vid: int) -> bool:
        return vid in self._rows

    def add(self, vids: Sequence[int], owners: Sequence[str], vectors: Floats) -> None:
        """Add vectors [N, D]; an id that is there already is replaced."""
        if vectors.shape != (len(vids), self.dim):
            raise ValueError(f"vectors are {vectors.shape}, expected ({len(vids)}, {self.dim})")
        if not len(vids):
            return
        self.remove(vids)
        first = len(self._vids)
        self._index.add(np.ascontiguousarray(vectors, np.float32))
        codes = [self._owner_codes.setdefault(owner, len(self._owner_codes)) for owner in owners]
        self._vids = np.concatenate([self._vids, np.asarray(vids, np.int64)])
        self._owners = np.concatenate([self._owners, np.asarray(codes, np.int32)])
        self._alive = np.concatenate([self._alive, np.ones(len(vids), np.bool_)])
        self._rows.update(zip(map(int, vids), range(first, first + len(vids)), strict=True))
        if self._exact and self._factory != "Flat" and len(self) >= _TRAINING_POINTS:
            self._rebuild()

    def remove(self, vids: Iterable[int]) -> None:
        """Forget these ids; unknown ones are ignored."""
        gone = [row for vid in vids if (row := self._rows.pop(int(vid), None)) is not None]
        self._alive[gone] = False
        if len(self._alive) - len(self) > max(1000, _REBUILD_SHARE * len(self._alive)):
            self._rebuild()

    def search(
        self, queries: Floats, k: int, *, without_owner: str | None = None, among: Ids | None = None
    ) -> list[Hits]:
        """The min(k, matches) best rows for each query [N, D].

        ``without_owner`` leaves one owner's vectors out; ``among`` allows only these ids.
        """
        mask = self._mask(without_owner, among)
        matches = len(self) if mask is None else int(mask.sum())
        count = min(k, matches)
        if count < 1:
            return [NO_HITS] * len(queries)
        scores, rows = self._index.search(
            np.ascontiguousarray(queries, np.float32), count, params=self._parameters(mask)
        )
        return [self._hits(row, score) for row, score in zip(rows, scores, strict=True)]

    def _mask(self, without_owner: str | None, among: Ids | None) -> NDArray[np.bool_] | None:
        code = self._owner_codes.get(without_owner) if without_owner is not None else None
        if among is None and code is None and len(self) == len(self._alive):
            return None
        mask = self._alive.copy()
        if code is not None:
            mask &= self._owners != code
        if among is not None:
            chosen = np.zeros(len(mask), np.bool_)
            chosen[[row for vid in among if (row := self._rows.get(int(vid))) is not None]] = True
            mask &= chosen
        return mask

    def _parameters(self, mask: NDArray[np.bool_] | None) -> faiss.SearchParameters | None:
        if mask is None and self._exact:
            return None
        chosen: dict[str, object] = {} if self._exact else {"nprobe": self._nprobe}
        if mask is not None:
            chosen["sel"] = faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))  # type: ignore[call-arg, arg-type]
        return faiss.SearchParameters(**chosen) if self._exact else faiss.SearchParametersIVF(**chosen)

    def _hits(self, rows: Ids, scores: Floats) -> Hits:
        found = rows >= 0
        return Hits(self._vids[rows[found]], scores[found])

    def _rebuild(self) -> None:
        rows = np.flatnonzero(self._alive)
        vectors = self._index.reconstruct_batch(rows) if len(rows) else np.empty((0, self.dim), np.float32)
        self._exact = self._factory == "Flat" or len(rows) < _TRAINING_POINTS
        index = faiss.index_factory(self.dim, "Flat" if self._exact else self._factory, faiss.METRIC_INNER_PRODUCT)
        if not self._exact:
            index.train(vectors)
            index.make_direct_map()  # type: ignore[attr-defined]
        index.add(vectors)
        self._index = index
        self._vids, self._owners = self._vids[rows], self._owners[rows]
        self._alive = np.ones(len(rows), np.bool_)
        self._rows = {int(vid): row for row, vid in enumerate(self._vids)}
