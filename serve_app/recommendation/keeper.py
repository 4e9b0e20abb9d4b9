"""Keeps profiles and starter sets in the catalog, and says from which posts to search.

A request reads the last posts only; clustering is done anew when enough of them are unknown to the kept profile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from serve_app.catalog import Catalog, ChangePage
from serve_app.catalog.tastes import KeptProfile
from serve_app.recommendation.diversity import diverse
from serve_app.recommendation.profile import LATEST_POSTS, make_profile, unit, unrelated
from serve_app.recommendation.seeds import Asked, ClusterName, Planned, Profile, Scatter, Seed, plan

Kind = Literal["text", "image"]
KINDS: tuple[Kind, ...] = ("text", "image")
Rows = NDArray[np.float32]

FEW_POSTS = 32
"""New posts that a kept profile may lack while it is renewed; also those that a request reads."""
FEW_SHARE = 10
"""So many times the new posts must the profile know; a small one is made in milliseconds, so it is not kept as long."""
SAMPLED = 10_000
"""Vectors by which a starter set is chosen: clustering so many takes about a second."""
RUN = 50
"""Neighbours in the log that are sampled together: they are often of one owner, so there are many runs."""
BACKGROUND = 2_000
LEAST_BACKGROUND = 50
"""Vectors without which nothing is said of unrelated contents."""
LONGEST_STARTER = 200
REST_S = 600.0
"""How long a background or a starter set counts at least, however much is added."""


@dataclass(frozen=True)
class Sample:
    """Live vectors [N, D] of one type, their ids and whose they are."""

    vids: NDArray[np.int64]
    rows: Rows
    owners: list[str]


class Keeper:
    """Profiles and starter sets over one catalog. Every method may be called from any thread."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._backgrounds: dict[str, tuple[float, dict[str, float]]] = {}
        self._starters: dict[str, tuple[float, int]] = {}
        self._sampling = threading.Lock()

    def plan(self, asked: Asked) -> tuple[dict[Kind, Planned], list[Kind]]:
        """The seeds of each type of post, and the types whose profile should be renewed."""
        picked = self.catalog.interests.get(asked.user)
        planned: dict[Kind, Planned] = {}
        stale: list[Kind] = []
        for kind in KINDS:
            profile, old = self.profile(asked.user, kind, asked.revision)
            picks = self._picks(picked, kind, asked.revision)
            planned[kind], broken = self._plan(profile, asked, picks)
            if broken:
                # A whole interest was deleted, so what is kept says too little.
                planned[kind], _ = self._plan(self.renew(asked.user, kind, asked.revision), asked, picks)
            elif old:
                stale.append(kind)
        return planned, stale

    def profile(self, owner: str, kind: Kind, revision: str) -> tuple[Profile, bool]:
        """The profile of an owner's posts, and whether it lacks some; made here where it lacks many."""
        vids, _ = self.catalog.vectors.of_owner(owner, kind, revision, FEW_POSTS + 1)
        if not len(vids):
            return Profile(0), False
        kept = self.catalog.profiles.get(owner, kind, revision)
        profile = _read(kept) if kept is not None else None
        if profile is not None:
            known = np.nonzero(np.isin(vids, np.asarray(profile.newest, np.int64)))[0]
            if len(known) and FEW_SHARE * known[0] <= profile.posts:
                return profile, bool(known[0])
        return self.renew(owner, kind, revision), False

    def renew(self, owner: str, kind: Kind, revision: str) -> Profile:
        """Cluster the latest posts and keep the result."""
        head = self.catalog.vectors.head()
        vids, rows = self.catalog.vectors.of_owner(owner, kind, revision, LATEST_POSTS)
        background = self.background(revision)[kind] if len(vids) else 0.0
        profile = make_profile(vids, rows, background)
        self.catalog.profiles.put(owner, kind, revision, profile.document(), head)
        return profile

    def _picks(self, picked: Sequence[str], kind: Kind, revision: str) -> dict[int, str]:
        """The vectors of what was picked, and which asset each is of."""
        held = self.catalog.vectors.of_assets(picked, {kind: revision}) if picked else {}
        return {vid: name for name in picked for vid in held.get((name, kind), ())}

    def _plan(self, profile: Profile, asked: Asked, picks: dict[int, str]) -> tuple[Planned, bool]:
        """What to search from, all of it alive just now; and whether an interest or all posts were deleted."""
        alive = profile
        while True:
            made = plan(alive, asked.k, asked.d, asked.seed, asked.mode, list(picks))
            seeds = list(made.seeds if isinstance(made, Scatter) else made)
            wanted = {cluster.medoids[0] for cluster in alive.clusters} | {seed.vid for seed in seeds}
            names = picks | self.catalog.vectors.latest_ids(wanted - picks.keys())
            vectors = self.catalog.vectors.gather([seed.vid for seed in seeds])
            gone = (wanted - names.keys()) | _lost(seeds, vectors)
            if not gone:
                break
            others = self.catalog.vectors.latest_ids(vid for vid in alive.vids() if vid not in gone)
            alive = alive.living(others.keys() - gone)
            picks = {vid: name for vid, name in picks.items() if vid not in gone}
        lines = tuple(
            ClusterName(cluster.size, cluster.size / profile.posts, names[cluster.medoids[0]])
            for cluster in alive.clusters
        )
        broken = len(alive.clusters) < len(profile.clusters) or bool(profile.vids() and not alive.vids())
        return Planned(
            made, vectors, {seed.vid: names[seed.vid] for seed in seeds}, lines, profile.posts, tuple(picks)
        ), broken

    def starter(self, revision: str, k: int) -> tuple[list[tuple[str, Kind]], bool]:
        """At most ``k`` contents that stand for the catalog and differ, types by turns; whether they should be renewed.

        They are chosen here where none are kept, or too few by now.
        """
        head = self.catalog.vectors.head()
        made_s, made_at = self._starters.get(revision, (-REST_S, -1))
        kept = {kind: self.catalog.starters.get(kind, revision) for kind in KINDS}
        if sum(map(len, kept.values())) < k and made_at != head:
            kept = self.renew_starters(revision)
            return _by_turns(kept, k), False
        old = head > made_at + max(10, made_at // 10) and time.monotonic() > made_s + REST_S
        return _by_turns(kept, k), old

    def renew_starters(self, revision: str) -> dict[Kind, list[str]]:
        """Choose anew, over a sample where the catalog is large, and keep the result."""
        head = self.catalog.vectors.head()
        chosen: dict[Kind, list[str]] = {}
        for kind, one in self._sample(revision, SAMPLED).items():
            best = one.vids[diverse(unit(one.rows).astype(np.float32), LONGEST_STARTER)].tolist()
            names = self.catalog.vectors.latest_ids(best)
            chosen[kind] = list(dict.fromkeys(names[vid] for vid in best if vid in names))
            self.catalog.starters.put(kind, revision, chosen[kind])
        self._starters[revision] = (time.monotonic(), head)
        return chosen

    def background(self, revision: str) -> dict[str, float]:
        """The mean cosine of contents of different owners, by type, in a sample; 0 where there are too few."""
        with self._sampling:
            made_s, known = self._backgrounds.get(revision, (-np.inf, {}))
            if time.monotonic() > made_s + REST_S or not any(known.values()):
                samples = self._sample(revision, BACKGROUND)
                known = {
                    kind: unrelated(unit(one.rows), one.owners) if len(one.owners) >= LEAST_BACKGROUND else 0.0
                    for kind, one in samples.items()
                }
                self._backgrounds[revision] = (time.monotonic(), known)
            return known

    def _sample(self, revision: str, count: int) -> dict[Kind, Sample]:
        """Live vectors from ``count`` changes: all where there are no more, else runs at random places of the log."""
        head, after, pages = self.catalog.vectors.head(), 0, list[ChangePage]()
        if head <= 2 * count:
            while not pages or not pages[-1].complete:
                pages.append(self.catalog.vectors.changes(revision, 0, 1, after, count))
                after = pages[-1].last_seq
        else:
            # Evenly spread with a shift at random: two runs never meet.
            step = head // (count // RUN)
            for start in range(int(np.random.default_rng(head).integers(step)), head, step):
                pages.append(self.catalog.vectors.changes(revision, 0, 1, start, RUN))
        return {kind: _live(pages, kind) for kind in KINDS}


def _read(kept: KeptProfile) -> Profile | None:
    """The kept profile; None for what another version kept in another form."""
    try:
        return Profile.of(kept.document)
    except (KeyError, TypeError, ValueError):
        return None


def _live(pages: Sequence[ChangePage], kind: Kind) -> Sample:
    found = {
        int(vid): (data, owner)
        for page in pages
        for vid, modality, data, owner in zip(page.vids, page.modalities, page.vectors, page.owners, strict=True)
        if modality == kind and data is not None
    }
    rows = np.frombuffer(b"".join(data for data, _ in found.values()), "<f4")
    return Sample(
        np.fromiter(found, np.int64, len(found)),
        rows.reshape(len(found), -1) if found else rows.reshape(0, 0),
        [owner for _, owner in found.values()],
    )


def _lost(seeds: Sequence[Seed], vectors: Rows) -> set[int]:
    """Those of which nothing is left."""
    if vectors.shape[1:] == (0,):
        return {seed.vid for seed in seeds}
    return {seed.vid for seed, row in zip(seeds, vectors, strict=True) if not np.isfinite(row[0])}


def _by_turns(kept: dict[Kind, list[str]], k: int) -> list[tuple[str, Kind]]:
    """First of each kind, second of each, and so on; an asset once."""
    turns = sorted((place, KINDS.index(kind), name) for kind, names in kept.items() for place, name in enumerate(names))
    once: dict[str, Kind] = {}
    for _, kind, name in turns:
        once.setdefault(name, KINDS[kind])
    return list(once.items())[:k]
