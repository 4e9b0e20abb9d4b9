"""The posts to search from; apart from the clustering that finds them, since it is heavy to import."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Seed:
    """A post to search from: its row among the user's vectors, and how many results it may give."""

    index: int
    quota: int


@dataclass(frozen=True)
class Scatter:
    """No clusters: every post (its row) is a seed, and ``k`` results are drawn by similarity."""

    indices: tuple[int, ...]
    k: int
