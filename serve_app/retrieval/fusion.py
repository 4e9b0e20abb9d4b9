"""One ranking out of several whose scores do not compare, by ranks alone.

Reciprocal rank fusion: Cormack, Clarke and Buettcher, SIGIR 2009.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item", bound=Hashable)

DAMPING = 60
"""The paper's k: how little the first places of one ranking count against agreement of several."""


def fuse(rankings: Iterable[Sequence[Item]], damping: int = DAMPING) -> list[tuple[Item, float]]:
    """Every item of any ranking with its score, the sum of 1 / (damping + rank) over those that have it; best first.

    Ranks count from 1; where a ranking has an item twice, the second is passed over. Of equals that which an earlier
    ranking has stands first, there the one that ranks better.
    """
    scores: dict[Item, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(dict.fromkeys(ranking), 1):
            scores[item] = scores.get(item, 0.0) + 1 / (damping + rank)
    # The sort is stable and the keys stand in the order of arrival.
    return sorted(scores.items(), key=lambda pair: -pair[1])
