"""How well lists of recommendations fit users whose interests are known, for every mode.

A bench is a catalog of labelled vectors and users with labelled posts; some posts are held out. Of each list it is
measured how diverse it is (ILD, as D3.2 plots it), how much of it is of the user's interests, how near it is to the
posts held out, and how many of the interests it covers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from serve_app.recommendation.blend import Scored, blend, blend_distinct, scatter
from serve_app.recommendation.diversity import distinct, intra_list_distance
from serve_app.recommendation.profile import make_profile, mean_cosine
from serve_app.recommendation.seeds import Profile, Scatter, plan

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
METHODS = ("report", "all-clusters", "random")
"""The modes, and any contents at all, for comparison."""
DIFFERENCE = "all-clusters less report"
KS = (5, 10, 20, 50)
DS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
K, D = 10, 0.2
SPARE = 2


@dataclass(frozen=True)
class Reader:
    """A user: posts [P, D], the newest first, and which of the interests each row of the catalog serves [I, N]."""

    posts: Floats
    held_out: Floats
    serves: Bools


@dataclass(frozen=True)
class Bench:
    """Unit vectors [N, D] of others' contents, and users."""

    name: str
    catalog: Floats
    readers: Sequence[Reader]

    @cached_property
    def background(self) -> float:
        return mean_cosine(self.catalog.astype(np.float64))


@dataclass(frozen=True)
class Figures:
    """Of one list, or the mean of many."""

    ild: float
    relevance: float
    """The part of the list that is of the user's interests."""
    nearness: float
    """The mean, over posts held out, of the cosine to the nearest item."""
    coverage: float
    """The part of the interests of which the list has an item."""


NAMES = tuple(field.name for field in fields(Figures))


@dataclass(frozen=True)
class Interval:
    """A mean over users and half the width of its 95 % interval."""

    mean: float
    half: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.half:.3f}"


@dataclass(frozen=True)
class Row:
    """What a method gives at one k and d, over all users of a bench."""

    bench: str
    method: str
    k: int
    d: float
    figures: dict[str, Interval]


class Desk:
    """One user's profile, made once, and the cosines of every post to all of the catalog."""

    def __init__(self, bench: Bench, reader: Reader) -> None:
        self.bench = bench
        self.reader = reader
        self.profile: Profile = make_profile(np.arange(len(reader.posts)), reader.posts, bench.background)
        self.scores = reader.posts @ bench.catalog.T

    def recommend(self, method: str, k: int, d: float, seed: int) -> list[int]:
        """Rows of the catalog, as the service would choose them."""
        if method == "random":
            return list(map(int, np.random.default_rng(seed).permutation(len(self.bench.catalog))[:k]))
        made = plan(self.profile, k, d, seed, "report" if method == "report" else "all-clusters")
        seeds = made.seeds if isinstance(made, Scatter) else made
        candidates = [self._nearest(seed.vid, SPARE * k) for seed in seeds]
        if isinstance(made, Scatter):
            chosen = scatter(candidates, k, seed)
        elif method == "report":
            chosen = blend(candidates, [seed.quota for seed in made])
        else:
            chosen = blend_distinct(candidates, [seed.quota for seed in made], self._repeats)
        return [row for row, _ in chosen]

    def figures(self, rows: Sequence[int]) -> Figures:
        """Those of a list."""
        items, serves = self.bench.catalog[rows], self.reader.serves[:, rows]
        return Figures(
            intra_list_distance(items),
            float(serves.any(axis=0).mean()),
            float((self.reader.held_out @ items.T).max(axis=1).mean()) if len(self.reader.held_out) else 0.0,
            float(serves.any(axis=1).mean()),
        )

    def _nearest(self, post: int, count: int) -> list[Scored[int]]:
        scores = self.scores[post]
        count = min(count, len(scores))
        best = np.argpartition(-scores, count - 1)[:count]
        return [(int(row), float(scores[row])) for row in best]

    def _repeats(self, rows: Sequence[int]) -> set[int]:
        kept = distinct(self.bench.catalog[list(rows)])
        return {row for row, keep in zip(rows, kept, strict=True) if not keep}


def measure(
    benches: Sequence[Bench], points: Sequence[tuple[int, float]], tell: Callable[[], None] = lambda: None
) -> list[Row]:
    """Every method at each (k, d) over the users of benches of one name, and what ``all-clusters`` gives more.

    Differences from ``report`` are of the same users, so their intervals are narrower than those of the means.
    """
    found: dict[tuple[str, int, float], list[list[float]]] = {
        (method, *point): [] for method in METHODS for point in points
    }
    desks = (Desk(bench, reader) for bench in benches for reader in bench.readers)
    for number, desk in enumerate(desks):
        for (method, k, d), values in found.items():
            values.append(list(vars(desk.figures(desk.recommend(method, k, d, number))).values()))
        tell()
    rows = []
    for point in points:
        of_method = {method: np.array(found[method, *point]) for method in METHODS}
        of_method[DIFFERENCE] = of_method["all-clusters"] - of_method["report"]
        rows += [_row(benches[0].name, method, *point, values) for method, values in of_method.items()]
    return rows


def sweep() -> list[tuple[int, float]]:
    """The points of the report's curves: over k at the usual d, over d at the usual k."""
    return list(dict.fromkeys([*((k, D) for k in KS), *((K, d) for d in DS)]))


def _row(bench: str, method: str, k: int, d: float, values: NDArray[np.float64]) -> Row:
    from scipy.stats import t  # here, not above: it takes a second

    count = len(values)
    means = values.mean(axis=0)
    spread = values.std(axis=0, ddof=1) / count**0.5 if count > 1 else np.full(len(means), np.inf)
    halves = t.ppf(0.975, max(1, count - 1)) * spread
    figures = {name: Interval(float(mean), float(half)) for name, mean, half in zip(NAMES, means, halves, strict=True)}
    return Row(bench, method, k, d, figures)
