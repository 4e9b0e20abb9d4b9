"""From the results of several seeds to one list: exactly min(k, available) of them, none twice, best first."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence, Set
from typing import TypeVar

import numpy as np

Id = TypeVar("Id", bound=Hashable)
Scored = tuple[Id, float]
"""What a search found: an id and its similarity to the seed."""

ROUNDS = 3
"""Times that repeats are looked for: those who take the places of repeats may be repeats themselves."""


def blend(candidates: Sequence[Sequence[Scored[Id]]], quotas: Sequence[int]) -> list[Scored[Id]]:
    """The best candidates of each seed up to its quota; what a seed cannot give comes from the others.

    ``candidates[i]``, in any order and without the user's own posts, belongs to ``quotas[i]``; k is the sum of the
    quotas. Seeds take turns, so that none is favoured where they want the same result; a result keeps its best
    similarity. For exactly min(k, available) every seed must offer its k best, as far as there are so many.
    """
    if len(candidates) != len(quotas):
        raise ValueError(f"{len(candidates)} lists of candidates for {len(quotas)} quotas")
    pool = _pool(candidates)
    rankings = [iter(_ranked(dict(one))) for one in candidates]
    left = list(quotas)
    chosen: set[Id] = set()
    while any(left):
        for turn in range(len(left)):
            if left[turn]:
                left[turn] -= 1
                fresh = next((found for found in rankings[turn] if found not in chosen), None)
                if fresh is None:
                    left[turn] = 0
                else:
                    chosen.add(fresh)
    wanted = min(sum(quotas), len(pool))
    rest = [found for found in _ranked(pool) if found not in chosen]
    chosen.update(rest[: wanted - len(chosen)])
    return [(found, pool[found]) for found in _ranked(pool) if found in chosen]


def scatter(candidates: Sequence[Sequence[Scored[Id]]], k: int, seed: int = 0) -> list[Scored[Id]]:
    """Draw ``k`` without repetition with probability softmax(similarity): the answer to a profile without clusters.

    A result that several posts found counts once, with its best similarity. The k largest of similarity plus Gumbel
    noise are such a draw (Yellott 1977; Kool et al. 2019), so it always ends.
    """
    pool = _pool(candidates)
    ranked = _ranked(pool)
    noise = np.random.default_rng(seed).gumbel(size=len(ranked))
    keys = np.array([pool[found] for found in ranked], np.float64) + noise
    drawn = sorted(np.argsort(-keys, kind="stable")[:k])
    return [(ranked[at], pool[ranked[at]]) for at in drawn]


def blend_distinct(
    candidates: Sequence[Sequence[Scored[Id]]], quotas: Sequence[int], repeats: Callable[[Sequence[Id]], Set[Id]]
) -> list[Scored[Id]]:
    """``blend`` in which results that are as good as the same are one; still exactly min(k, available).

    ``repeats`` tells of ids, the best first, which are as good as one before them. Others take their places, and they
    come back only where there are no others.
    """
    banned: set[Id] = set()
    chosen = blend(candidates, quotas)
    for _ in range(ROUNDS):
        more = repeats([found for found, _ in chosen])
        if not more:
            break
        banned |= more
        chosen = blend([[pair for pair in one if pair[0] not in banned] for one in candidates], quotas)
    pool, taken = _pool(candidates), {found for found, _ in chosen}
    wanted = min(sum(quotas), len(pool))
    taken.update([found for found in _ranked(pool) if found not in taken][: wanted - len(taken)])
    return [(found, pool[found]) for found in _ranked(pool) if found in taken]


def nearest(candidates: Sequence[Sequence[Scored[Id]]]) -> dict[Id, int]:
    """Which of the seeds is most similar to each result; the first of equals."""
    best: dict[Id, tuple[float, int]] = {}
    for number, one in enumerate(candidates):
        for found, score in one:
            if found not in best or score > best[found][0]:
                best[found] = (score, number)
    return {found: number for found, (_, number) in best.items()}


def _pool(candidates: Sequence[Sequence[Scored[Id]]]) -> dict[Id, float]:
    pool: dict[Id, float] = {}
    for one in candidates:
        for found, score in one:
            pool[found] = max(score, pool.get(found, score))
    return pool


def _ranked(scores: dict[Id, float]) -> list[Id]:
    """Best first; equals by name, so that the order in which they arrived does not matter."""
    return sorted(scores, key=lambda found: (-scores[found], str(found)))
