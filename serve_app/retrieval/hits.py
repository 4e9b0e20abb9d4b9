"""What is asked of the indexes and what they answer; light to import, since it crosses every process of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from serve_app.catalog.filters import Filter

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

MODALITIES = ("text", "image", "video", "shape3d")
"""Each has an index of its own. Texts and pictures stand in theirs with one vector."""
PARTED = ("video", "shape3d")
"""Those of which an asset has a vector a part: a video one a moment, a 3D asset one a view."""
LEGACY = ("text", "image")
"""Those of which the answers to existing nodes tell."""


@dataclass(frozen=True)
class Query:
    """One search: a unit vector [D], how many, of which revision, in which modalities, and what it must see."""

    vector: Floats
    k: int
    revision: str
    modalities: tuple[str, ...] = MODALITIES
    min_seq: int = 0
    """The last change of the catalog that the answer must know."""
    without_owner: str | None = None
    filter: Filter | None = None
    sentences: tuple[Ids, ...] = ()
    """Asset numbers for each term of the filter that is named caption or text (with a value or without), in its order:
    those that hold the words, also where the term is negated."""
    exact: bool = False
    """Scan, whatever the planner thinks."""

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return self.vector.nbytes + sum(each.nbytes for each in self.sentences)


@dataclass(frozen=True)
class Hits:
    """Vector ids and their cosines, best first; never longer than what matches."""

    vids: Ids
    scores: Floats


NO_HITS = Hits(np.empty(0, np.int64), np.empty(0, np.float32))


def merge(parts: Sequence[Hits], k: int) -> Hits:
    """The best k of several shards' hits, best first; ties by lower id so that answers are stable."""
    vids = np.concatenate([part.vids for part in parts]) if parts else NO_HITS.vids
    scores = np.concatenate([part.scores for part in parts]) if parts else NO_HITS.scores
    order = np.lexsort((vids, -scores))[:k]
    return Hits(vids[order], scores[order])
