"""Training and test sets of memes and regular pictures in the thirteen mixtures of the MemeTector paper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serve_app.errors import Problem
from serve_app.models.memes.pools import MEME, PART, WITH_TEXT, WITHOUT_TEXT, Pools

Numbers = NDArray[np.int64]
SHARES = {"train": 0.85, "val": 0.05, "test": 0.1}


@dataclass(frozen=True)
class Scenario:
    """For k memes, k (1 - web) visual parts, k web text pictures with text and k web (1 - text) without."""

    web: float
    text: float = 0.0

    def __post_init__(self) -> None:
        """Raises ``Problem`` for shares outside [0, 1]."""
        if not (0 <= self.web <= 1 and 0 <= self.text <= 1):
            raise Problem("bad_request", f"{self.web:g},{self.text:g} are no shares", "give two numbers in 0..1")

    @property
    def name(self) -> str:
        return f"{self.web:.2f},{self.text:.2f}"

    def shares(self) -> dict[int, float]:
        """Pictures of each kind for every meme."""
        return {
            MEME: 1.0,
            PART: 1 - self.web,
            WITH_TEXT: self.web * self.text,
            WITHOUT_TEXT: self.web * (1 - self.text),
        }


SCENARIOS = (Scenario(0), *(Scenario(web, text) for web in (0.33, 0.67, 1.0) for text in (0.0, 0.33, 0.67, 1.0)))


@dataclass(frozen=True)
class Examples:
    """Which pictures, by kind and number within it, int64 [N] each; a meme is one whose kind is MEME."""

    kinds: Numbers
    numbers: Numbers

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def is_meme(self) -> NDArray[np.bool_]:
        return np.equal(self.kinds, MEME)


def split(count: int, seed: int) -> dict[str, Numbers]:
    """Numbers below ``count`` at random into train, val and test, 85 / 5 / 10."""
    order = np.random.default_rng([seed, count]).permutation(count).astype(np.int64)
    first, second = round(count * SHARES["train"]), round(count * (SHARES["train"] + SHARES["val"]))
    return {"train": np.sort(order[:first]), "val": np.sort(order[first:second]), "test": np.sort(order[second:])}


def available(pools: Pools, part: str, seed: int) -> dict[int, Numbers]:
    """What each kind has in a part ("train", "val" or "test"), the same in every scenario.

    A meme and its visual part are split as one, so that no picture is learnt from and tested with.
    """
    memes = split(pools.count(MEME), seed)[part]
    kinds = {kind: split(pools.count(kind), seed + kind)[part] for kind in (WITH_TEXT, WITHOUT_TEXT)}
    return {MEME: memes, PART: memes[pools.parted[memes]]} | kinds


def synthesise(scenario: Scenario, pools: Pools, part: str, seed: int) -> Examples:
    """As many memes of a part as there are regular pictures for, and those; raises ``Problem`` where that is none."""
    there, shares = available(pools, part, seed), scenario.shares()
    memes = min(int(len(there[kind]) / share + 1e-9) for kind, share in shares.items() if share > 0)
    if memes < 1:
        counts = ", ".join(f"{name} {len(there[kind])}" for kind, name in enumerate(("memes", "parts", "with", "no")))
        raise Problem("bad_request", f"too few pictures for {scenario.name} ({part}: {counts})", "give more of them")
    rng = np.random.default_rng([seed, len(pools.parted)])
    chosen = [(kind, np.sort(rng.permutation(there[kind])[: round(memes * share)])) for kind, share in shares.items()]
    kinds = np.concatenate([np.full(len(numbers), kind, np.int64) for kind, numbers in chosen])
    return Examples(kinds, np.concatenate([numbers for _, numbers in chosen]))
