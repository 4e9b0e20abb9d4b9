"""Seeded courses over the frames of a clip: eased, swaying, trembling, jumping, bouncing, flashing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FRAMES = 16
_TIME = np.linspace(0, 1, FRAMES)


def amount(rng: np.random.Generator, low: float, high: float) -> float:
    """A positive number between the two, small ones as often as large ones (log-uniform)."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def sign(rng: np.random.Generator, negative: float = 0.5) -> int:
    return -1 if rng.random() < negative else 1


def progress(rng: np.random.Generator) -> Floats:
    """From 0 to 1 without a step back, [T]: even or eased, through the whole clip or at rest for up to half of it."""
    begin, end = (rng.uniform(0, 0.25), rng.uniform(0.75, 1)) if rng.random() < 0.4 else (0.0, 1.0)
    t = np.clip((_TIME - begin) / (end - begin), 0, 1)
    ease = rng.random() if rng.random() < 0.6 else 0.0
    return (1 - ease) * t + ease * t * t * (3 - 2 * t)


def wobble(rng: np.random.Generator) -> Floats:
    """A smooth sway around 0 with a width of 1 between its extremes, [T]: three slow waves."""
    waves = rng.uniform(0.4, 3, 3)
    course = (rng.random(3) / waves * np.sin(2 * np.pi * (_TIME[:, None] * waves + rng.random(3)))).sum(axis=1)
    course -= course.mean()
    return np.asarray(course / (np.ptp(course) + 1e-9))


def tremor(rng: np.random.Generator, deviation: float) -> Floats:
    """Another small deviation in every frame, [T], for half of the clips."""
    return rng.normal(0, deviation, FRAMES) * rng.integers(2)


def jumps(rng: np.random.Generator) -> Floats:
    """To and fro in a few frames each, with a width of 1 between the extremes, [T]."""
    swing = np.sin(2 * np.pi * (rng.uniform(2, 6.5) * _TIME + rng.random())) * rng.uniform(0.4, 1)
    course = swing + rng.normal(0, rng.uniform(0.15, 0.6), FRAMES)
    course -= course.mean()
    return np.asarray(course / np.ptp(course))


def bounce(rng: np.random.Generator) -> Floats:
    """Heights of a ball above the floor as y, from -1 at the top to 0 on it, [T]: parabolas, at least one and a half
    of them."""
    hops = rng.uniform(1.5, 3.5) * _TIME + rng.random()
    phase = hops % 1
    lost = rng.uniform(0.7, 1) ** np.floor(hops)
    return -4 * phase * (1 - phase) * lost


def flashes(rng: np.random.Generator) -> Floats:
    """Gains of the light that jump between frames, [T, 3], held for one to three frames, sometimes coloured."""
    depth, hold = rng.uniform(0.25, 0.95), int(rng.integers(1, 4))
    held = np.arange(FRAMES) // hold
    if rng.random() < 0.5:  # a strobe or a bad lamp
        level = (held % 2).astype(float)
    else:
        level = rng.random(FRAMES)[held]
        level = (level - level.min()) / np.ptp(level)
    tint = rng.uniform(0.3, 1, 3) if rng.random() < 0.25 else np.ones(3)
    return 1 + rng.uniform(0, 0.3) - depth * level[:, None] * tint
