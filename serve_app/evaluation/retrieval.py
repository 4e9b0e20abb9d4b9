"""How well what belongs together finds each other, and at which similarity one may stop looking.

Recall as open_clip and CLIP-benchmark count it: a query is answered where any of what belongs to it is among the first
k. Thresholds and their curves after MediaVerse D3.2, 3.6: what is less similar is left out, and how much that costs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.retrieval.hits import Floats

STEP = 0.001
"""Similarities are counted in steps of this: memory does not grow with the pairs."""
BINS = round(2 / STEP) + 1
BLOCK = 1 << 22
"""Similarities that are held at once."""
FIRST = 10
"""Results that a threshold is judged on: those that a page shows."""
KEPT = 0.95
"""Share of the recall among the first that a threshold must keep."""
FEWEST = 20
"""Answered queries below which no threshold is told: a single one would move it."""
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Side:
    """Unit vectors float32 [N, D], and to which group each belongs, int64 [N]."""

    vectors: Floats
    groups: Numbers


@dataclass
class Spread:
    """Similarities, counted in steps; mean and deviation are exact."""

    counts: Numbers = field(default_factory=lambda: np.zeros(BINS, np.int64))
    total: float = 0.0
    squares: float = 0.0

    def add(self, similarities: Floats) -> None:
        steps = np.floor((similarities + 1) / STEP + 1e-3).clip(0, BINS - 1).astype(np.int64)
        self.counts += np.bincount(steps, minlength=BINS)
        self.total += float(similarities.sum(dtype=np.float64))
        self.squares += float(np.square(similarities, dtype=np.float64).sum())

    def __len__(self) -> int:
        return int(self.counts.sum())

    def below(self, least: float) -> int:
        """How many are under ``least``, a multiple of the step."""
        return int(self.counts[: max(0, round((least + 1) / STEP))].sum())

    def curve(self) -> list[tuple[float, float]]:
        """The share in each hundredth (thousandths are noise where there are few), from the first to the last."""
        seen = np.flatnonzero(self.counts)
        starts = range(int(seen[0]) // 10 * 10, int(seen[-1]) + 10, 10)
        return [(at * STEP - 1, int(self.counts[at : at + 10].sum()) / len(self)) for at in starts]

    def figures(self) -> dict[str, float] | None:
        """Mean, standard deviation and quantiles (rounded down to a step); None where there is nothing."""
        if not (pairs := len(self)):
            return None
        mean = self.total / pairs
        reached = np.cumsum(self.counts)
        quantiles = {
            f"q{share:g}": round(int(np.searchsorted(reached, share * pairs)) * STEP - 1, 3) for share in QUANTILES
        }
        return {"pairs": pairs, "mean": mean, "std": max(0.0, self.squares / pairs - mean**2) ** 0.5, **quantiles}


@dataclass(frozen=True)
class Pair:
    """One kind of query against one kind of result.

    ``ranks`` and ``best`` are of the queries that have an answer: the place of the first right result (equals come
    before it) and its similarity. ``first`` counts the similarities of the first results of every query.
    """

    queries: int
    targets: int
    ranks: Numbers
    best: Floats
    similar: Spread
    dissimilar: Spread
    first: Spread

    @property
    def known(self) -> bool:
        """Whether any query has an answer; where not, only dissimilar pairs were seen."""
        return bool(len(self.ranks))

    def recall(self, k: int, least: float = -np.inf) -> float:
        """The share of queries with a right result among the first k that are at least so similar."""
        return float(((self.ranks <= k) & (self.best >= least)).mean())

    def mrr(self, least: float = -np.inf) -> float:
        """The mean of one over the place of the first right result, nothing where that is left out."""
        return float(np.where(self.best >= least, 1 / self.ranks, 0).mean())

    def figures(self, least: float = -np.inf) -> dict[str, float]:
        return {f"recall@{k}": self.recall(k, least) for k in (1, 5, 10)} | {"mrr": self.mrr(least)}

    def filtered(self, least: float) -> dict[str, float]:
        """How many a query loses of all that there is, and of the first that it is shown."""
        all_ = self.similar.below(least) + self.dissimilar.below(least)
        return {"filtered": all_ / self.queries, f"filtered_of_{FIRST}": self.first.below(least) / self.queries}

    def curve(self) -> list[dict[str, float]]:
        """A row for each hundredth between what filters nothing of the first and what filters everything."""
        seen = np.flatnonzero(self.first.counts)
        low, high = (int(np.floor((bound * STEP - 1) * 100)) for bound in (seen[0], seen[-1]))
        leasts = [round(hundredth / 100, 2) for hundredth in range(low, high + 2)]
        return [{"threshold": least, **self.filtered(least), **self.figures(least)} for least in leasts]

    def threshold(self) -> float | None:
        """The largest under which KEPT of the recall among the first is left; None where too few were answered.

        What may be lost is counted on the answers alone: unlike the point of equal errors, it means the same for ten
        candidates and for ten million.
        """
        answered = np.sort(self.best[self.ranks <= FIRST])
        if len(answered) < FEWEST:
            return None
        lost = int(np.floor((1 - KEPT) * len(answered) + 1e-9))
        return round(float(np.floor(float(answered[lost]) / STEP + 1e-6)) * STEP, 3)

    def equal_error(self) -> float | None:
        """Where as large a share of similar pairs is under it as of dissimilar ones above it; the middle of a gap."""
        if not len(self.similar) or not len(self.dissimilar):
            return None
        missed = np.cumsum(self.similar.counts) / len(self.similar)
        passed = 1 - np.cumsum(self.dissimilar.counts) / len(self.dissimilar)
        first, last = np.flatnonzero(missed >= passed)[0], np.flatnonzero(missed <= passed)[-1]
        return round((int(first + max(first, last)) // 2 + 1) * STEP - 1, 3)

    def document(self) -> dict[str, Any]:
        """All of it for programs; figures are None where nothing is known to belong together."""
        shown: dict[str, Any] = {"queries": self.queries, "answerable": len(self.ranks), "targets": self.targets}
        shown |= {"similar": self.similar.figures(), "dissimilar": self.dissimilar.figures()}
        if not self.known:
            return shown | {"recall": None, "threshold": None, "equal_error": None, "curve": []}
        least = self.threshold()
        at = None if least is None else {**self.filtered(least), **self.figures(least)}
        return shown | {
            "recall": self.figures(), "threshold": least, "at_threshold": at, "equal_error": self.equal_error(),
            "curve": self.curve(),
        }  # fmt: skip


def measure(queries: Side, targets: Side, *, same: bool = False) -> Pair:
    """Every query against every target, a block at a time; with ``same`` they are the same, and none finds itself."""
    ranks, best = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    similar, dissimilar, first = Spread(), Spread(), Spread()
    rows = max(1, BLOCK // max(1, len(targets.groups)))
    for start in range(0, len(queries.groups), rows):
        block = slice(start, start + rows)
        scores = np.asarray(queries.vectors[block] @ targets.vectors.T, np.float32)
        right = queries.groups[block, None] == targets.groups
        other = ~right
        if same:
            own = np.arange(len(scores))
            right[own, start + own] = False
            scores[own, start + own] = -np.inf
        similar.add(scores[right])
        dissimilar.add(scores[other])
        first.add(_first(scores))
        nearest = np.where(right, scores, -np.inf).max(axis=1, initial=-np.inf)
        answerable = right.any(axis=1)
        place = 1 + (other & (scores >= nearest[:, None])).sum(axis=1)
        ranks.append(place[answerable])
        best.append(nearest[answerable].astype(np.float32))
    return Pair(
        len(queries.groups), len(targets.groups) - same, np.concatenate(ranks), np.concatenate(best), similar,
        dissimilar, first,
    )  # fmt: skip


def _first(scores: Floats) -> Floats:
    """The FIRST highest of each row, those that are none left out."""
    if scores.shape[1] > FIRST:
        scores = np.partition(scores, -FIRST, axis=1)[:, -FIRST:]
    found: Floats = scores[np.isfinite(scores)]
    return found
