"""What a background thread makes for an index: a FAISS index, all rows anew without the dead ones, or other efforts.

It reads what never changes: the blocks up to a row, and a copy of which rows live. The thread that owns the index swaps
in what came of it, and adds what came meanwhile.
"""

from __future__ import annotations

import logging
import os

import faiss
import numpy as np

from serve_app.retrieval.ann import Ann
from serve_app.retrieval.exact import Blocks, Mask
from serve_app.retrieval.hits import Floats, Ids

log = logging.getLogger("mediaverse")

_NEAR = 4096
"""Rows that may be left to the owner; more are added here first."""
_CHUNK = 1024


class Rebuild:
    """One such work: ``run`` it anywhere, then give it to the index's ``adopt``."""

    def __init__(
        self, blocks: Blocks, alive: Mask, factory: str, *, base: Ann | None = None, compact: bool = False,
        asked: Floats | None = None, gpu: bool = False,
    ) -> None:  # fmt: skip
        """Without ``base`` a new FAISS index; with it the same one with the rows that it lacks, or, where there is
        something ``asked`` [Q, D], as it is but tuned for that."""
        self.source = blocks
        self.count = len(alive)
        self.factory = factory
        self.kept: Ids | None = np.flatnonzero(alive) if compact else None
        self.blocks = blocks
        self.copied = self.count
        """Rows of the source that are in ``blocks``."""
        self.ann: Ann | None = None
        self.failed = False
        self.done = False
        self.base = base
        self.asked = asked
        self._alive, self._gpu = alive, gpu

    def run(self) -> None:
        """Do it; what fails is logged, and the index stays as it was."""
        # Half of the cores, counted a thread: searches keep the others, and nobody spins on a core that is taken.
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(max(1, (os.cpu_count() or 1) // 2))
        try:
            if self.kept is not None:
                self._compact(self.kept)
            if self.factory != "Flat":
                self.ann = self._build()
        except Exception:
            # Also memory that does not suffice: exact answers need no FAISS index.
            log.exception("no index %s of %d vectors came about; exact scans go on", self.factory, self.count)
            self.failed = True
        finally:
            faiss.omp_set_num_threads(threads)
            self.done = True

    def _compact(self, kept: Ids) -> None:
        made = Blocks(self.source.dim)
        for first in range(0, len(kept), _CHUNK):
            made.append(self.source.gather(kept[first : first + _CHUNK]))
        while (stop := self.source.count) - self.copied > _NEAR:
            for _, piece in self.source.pieces(self.copied, stop, _CHUNK):
                made.append(piece)
            self.copied = stop
        self.blocks = made

    def _build(self) -> Ann:
        alive = self._alive if self.kept is None else np.ones(len(self.kept), np.bool_)
        if self.base is not None and self.asked is not None:
            # The same index, which nobody adds to before this is adopted.
            made = Ann(self.base.factory, self.base.index, gpu=self._gpu)
            made.tune(self.blocks, alive, self.asked)
            return made
        if self.base is not None:
            base = self.base
            made = Ann(base.factory, faiss.clone_index(base.index), base.efforts, self._gpu)
        else:
            made = Ann.train(self.factory, self.blocks, len(alive), self._gpu)
            made.tune(self.blocks, alive, self.asked)
        while (stop := self.blocks.count) - made.count > _NEAR:
            made.extend(self.blocks, stop, _CHUNK)
        return made
