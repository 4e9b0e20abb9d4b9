"""From a profile to the posts to search from; apart from the clustering that makes profiles, which is heavy to import.

``report`` is the method of D3.2, section 4; ``all-clusters`` is ours: a seed for every interest that was found.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

Mode = Literal["report", "all-clusters"]
Role = Literal["medoid", "outlier", "post", "interest"]

D = 0.2
"""The part that an outlier gives, in the report."""
MOST_SEEDS = 50
"""Seeds of one request: each costs a search in every shard."""
GOLDEN = 0.6180339887498949
"""Multiples of it, without their whole part, spread over [0, 1) more evenly than any others (Knuth 6.4)."""


@dataclass(frozen=True)
class Cluster:
    """An interest: how many posts, and their medoid with some who may stand in for it once it is deleted."""

    size: int
    medoids: tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """A user's posts of one type by vector ids: clusters, the largest first, and a sample of the others."""

    posts: int
    clusters: tuple[Cluster, ...] = ()
    outliers: tuple[int, ...] = ()
    newest: tuple[int, ...] = ()
    """The last posts that it knows of, the newest first."""

    def vids(self) -> list[int]:
        """All that may become a seed."""
        return [*(vid for cluster in self.clusters for vid in cluster.medoids), *self.outliers]

    def living(self, alive: Set[int]) -> Self:
        """Without the posts that are not ``alive``; a cluster none of whose medoids is left is gone."""
        kept = (replace(one, medoids=tuple(v for v in one.medoids if v in alive)) for one in self.clusters)
        return replace(
            self,
            clusters=tuple(cluster for cluster in kept if cluster.medoids),
            outliers=tuple(vid for vid in self.outliers if vid in alive),
        )

    def document(self) -> dict[str, Any]:
        """For JSON."""
        clusters = [[one.size, list(one.medoids)] for one in self.clusters]
        rest = {"outliers": list(self.outliers), "newest": list(self.newest)}
        return {"posts": self.posts, "clusters": clusters} | rest

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """The profile of a document; KeyError, TypeError or ValueError where it is none."""
        clusters = tuple(Cluster(size, tuple(medoids)) for size, medoids in document["clusters"])
        return cls(document["posts"], clusters, tuple(document["outliers"]), tuple(document["newest"]))


@dataclass(frozen=True)
class Seed:
    """A post to search from, how many results it may give, and what it stands for."""

    vid: int
    quota: int
    role: Role
    cluster: int | None = None
    """The place of its cluster in the profile; 0 is the largest."""


@dataclass(frozen=True)
class Scatter:
    """No clusters: every post is a seed, and ``k`` results are drawn by similarity."""

    seeds: tuple[Seed, ...]
    k: int


@dataclass(frozen=True)
class Asked:
    """Whose posts, of which revision, and how they are to be used."""

    user: str
    revision: str
    k: int
    d: float = D
    seed: int = 0
    mode: Mode = "report"


@dataclass(frozen=True)
class ClusterName:
    """A cluster for people: how many posts, which part of all that count, and the id of the asset at its middle."""

    size: int
    share: float
    medoid: str


@dataclass(frozen=True)
class Planned:
    """What to search from for one type of post: seeds, their vectors [N, D] in order, and the ids of their assets."""

    plan: list[Seed] | Scatter
    vectors: NDArray[np.float32]
    names: dict[int, str]
    clusters: tuple[ClusterName, ...]
    posts: int
    picks: tuple[int, ...]
    """Interests, which are no results: the user knows them."""

    @property
    def seeds(self) -> Sequence[Seed]:
        return self.plan.seeds if isinstance(self.plan, Scatter) else self.plan


def plan(
    profile: Profile, k: int, d: float = D, seed: int = 0, mode: Mode = "report", picks: Sequence[int] = ()
) -> list[Seed] | Scatter:
    """The seeds that share ``k`` results: medoids first, an outlier last; ``Scatter`` where nothing clusters.

    Quotas are whole and sum to ``k``; who would get none is no seed. ``picks``, interests that the user chose, are
    seeds only beside scattered posts: where posts cluster they say more. The same ``seed`` gives the same plan.
    """
    if k < 1 or not 0 <= d <= 1:
        raise ValueError("k is at least 1 and d between 0 and 1")
    dice = random.Random(seed)  # noqa: S311 - chance that can be repeated is what is asked for
    if not profile.clusters:
        posts = profile.outliers
        if len(posts) > MOST_SEEDS:
            posts = tuple(dice.sample(posts, MOST_SEEDS))
        own = [Seed(vid, k, "post") for vid in posts]
        return Scatter((*own, *(Seed(vid, k, "interest") for vid in picks if vid not in posts)), k)
    share = d if profile.outliers else 0.0
    quotas = _report(profile, k, share) if mode == "report" else _all_clusters(profile, k, share, seed)
    found = [
        Seed(profile.clusters[at].medoids[0], quota, "medoid", at) for at, quota in enumerate(quotas[:-1]) if quota
    ]
    if quotas[-1]:
        found.append(Seed(dice.choice(profile.outliers), quotas[-1], "outlier"))
    return found


def _report(profile: Profile, k: int, share: float) -> list[int]:
    """One cluster gives (1-d)k; of more the two largest (1-d)k/2 each; an outlier dk, which stands last."""
    count = min(2, len(profile.clusters))
    return apportion(k, [*[(1 - share) / count] * count, share])


def _all_clusters(profile: Profile, k: int, share: float, seed: int) -> list[int]:
    """The quota of each cluster by its size, at least one as far as ``k`` goes; an outlier's stands last."""
    of_clusters, of_outlier = apportion(k, [1 - share, share])
    return [*spread(of_clusters, [cluster.size for cluster in profile.clusters], seed), of_outlier]


def apportion(k: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers that sum to ``k``, as ``shares`` are: the method of largest remainders, the first of equals."""
    total = sum(shares)
    exact = [k * share / total for share in shares]
    whole = [int(part + 1e-9) for part in exact]
    by_remainder = sorted(range(len(shares)), key=lambda at: (-round(exact[at] - whole[at], 9), at))
    for at in by_remainder[: k - sum(whole)]:
        whole[at] += 1
    return whole


def spread(k: int, sizes: Sequence[int], turn: int = 0) -> list[int]:
    """``k`` places over interests of these sizes, the largest first: one for each, those that are left by size.

    Where there are more interests than places, or than ``MOST_SEEDS``, each has a place at some turns, as often as its
    size asks: turn 0 favours the largest, and consecutive turns reach all.
    """
    chosen = _in_turn(min(k, MOST_SEEDS), sizes, turn)
    wanted = [max(0.0, k * sizes[at] / sum(sizes[one] for one in chosen) - 1) for at in chosen]
    extra = apportion(k - len(chosen), wanted) if k > len(chosen) else [0] * len(chosen)
    quotas = [0] * len(sizes)
    for at, more in zip(chosen, extra, strict=True):
        quotas[at] = 1 + more
    return quotas


def _in_turn(n: int, sizes: Sequence[int], turn: int) -> list[int]:
    """At most ``n`` of the places: systematic sampling with chances as ``sizes`` are, none above one (Madow 1949)."""
    if n >= len(sizes):
        return list(range(len(sizes)))
    chances, sure = [0.0] * len(sizes), 0
    # The sizes fall, so those whose chance would pass one stand in front.
    while sure < n and sizes[sure] * (n - sure) >= sum(sizes[sure:]):
        chances[sure] = 1.0
        sure += 1
    rest = sum(sizes[sure:])
    for at in range(sure, len(sizes)):
        chances[at] = sizes[at] * (n - sure) / rest
    offset = turn % 2**20 * GOLDEN % 1.0
    reached = [int(end - offset + 1 - 1e-9) for end in accumulate(chances)]
    return [at for at, count in enumerate(reached) if count > (reached[at - 1] if at else 0)][:n]
