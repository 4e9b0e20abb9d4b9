"""The largest part of a picture without words: our exact search against the published grid, in time and in area."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import mean, median

import numpy as np

from serve_app.annotation.visual_part import Box, visual_part
from tests.benchmarks.report import Result, progress, table
from tests.visual_part_grid import search, search_at_once

SIZE = 800, 600
COUNTS = (2, 5, 20, 100)
OURS, LOOPS, ARRAYS = "ours", "grid, in loops", "grid, in arrays"


def run(quick: bool) -> Result:
    """Milliseconds a picture (median) and share of it (mean, 0 where nothing is free) by how many lines it has."""
    rows: list[list[object]] = []
    raw: dict[int, dict[str, dict[str, float]]] = {}
    for count in COUNTS[:2] if quick else COUNTS:
        layouts = [_layout(count, seed) for seed in range(2 if quick else 20)]
        found = {
            OURS: _measure(lambda boxes: visual_part(*SIZE, boxes), layouts, rounds=20),
            ARRAYS: _measure(lambda boxes: search_at_once(*SIZE, boxes), layouts, rounds=3),
            # Slow enough that a few layouts must do; its areas are those of the arrays.
            LOOPS: _measure(lambda boxes: next(iter(search(*SIZE, boxes)), None), layouts[:4], rounds=1),
        }
        raw[count] = found
        ours, arrays, loops = (found[name]["ms"] for name in (OURS, ARRAYS, LOOPS))
        shares = [f"{found[name]['share']:.3f}" for name in (OURS, ARRAYS)]
        rows.append([count, ours, loops, loops / ours, arrays, arrays / ours, *shares])
        progress(f"visual part: {count} boxes: {found}")
    heads = [
        "lines",
        "ms, ours",
        f"ms, {LOOPS}",
        "times ours",
        f"ms, {ARRAYS}",
        "times ours",
        "share, ours",
        "share, grid",
    ]
    return Result(table(heads, rows), raw)


def _layout(count: int, seed: int) -> list[Box]:
    """Lines of text: two captions above and below, the others anywhere, shorter the more there are."""
    rng = np.random.default_rng([count, seed])
    width, height = SIZE
    boxes: list[Box] = [
        (40.0, 8.0, width - 40.0, 60 + 40 * rng.random()),
        (60.0, height - 90.0, width - 60.0, height - 9.0),
    ]
    for _ in range(count - 2):
        across, down = width * rng.uniform(0.02, 0.1), rng.uniform(8, 24)
        left, top = rng.uniform(0, width - across), rng.uniform(0, height - down)
        boxes.append((left, top, left + across, top + down))
    return boxes


def _measure(find: Callable[[list[Box]], Box | None], layouts: list[list[Box]], rounds: int) -> dict[str, float]:
    taken, shares = [], []
    for boxes in layouts:
        found = find(boxes)
        shares.append((found[2] - found[0]) * (found[3] - found[1]) / (SIZE[0] * SIZE[1]) if found else 0.0)
        begun = time.perf_counter()
        for _ in range(rounds):
            find(boxes)
        taken.append((time.perf_counter() - begun) / rounds)
    return {"ms": 1000 * median(taken), "share": mean(shares)}
