"""How well memes are told: the crossed scenarios of the MemeTector paper, and a network on files of yours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from serve_app.annotation.memes import MemeDetector
from serve_app.errors import Problem
from serve_app.models.memes.fit import Progress, Recipe, fit
from serve_app.models.memes.pools import Pools
from serve_app.models.memes.scenarios import Scenario
from serve_app.models.memes.train import held_out

CELL, MARGIN = 56, 84
"""Pixels of a number in the plot, and of the names beside them."""

Follow = Callable[[str], AbstractContextManager[Callable[[Progress], None]]]
"""Gives what listens to a training of that title."""


def crossed(
    pools: Pools, scenarios: Sequence[Scenario], recipe: Recipe, seed: int, out: Path, follow: Follow
) -> NDArray[np.float64]:
    """Train on each scenario and test on all: accuracies [trained on, tested on].

    What is finished stands in ``out``, so that a run that was interrupted goes on with the next. Raises ``Problem``
    where the pictures do not suffice for a scenario.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for scenario in scenarios:
        done = out / f"crossed-{scenario.name}-{seed}.json"
        found: dict[str, float] = json.loads(done.read_text()) if done.exists() else {}
        if any(one.name not in found for one in scenarios):
            checkpoint = out / f"crossed-{scenario.name}-{seed}.pt"
            with follow(f"scenario {scenario.name}") as listener:
                trained = fit(pools, scenario, recipe, seed, checkpoint, listener)
            found = held_out(trained, pools, seed, scenarios)
            if missing := [one.name for one in scenarios if one.name not in found]:
                raise Problem("bad_request", f"too few pictures to test {', '.join(missing)}", "give more of them")
            done.write_text(json.dumps(found))
        rows.append([found[one.name] for one in scenarios])
    return np.array(rows)


def plot(matrix: NDArray[np.float64], names: Sequence[str], path: Path) -> None:
    """The accuracies as a PNG, darker where they are worse; a row is what it was trained on."""
    side = MARGIN + CELL * len(names)
    image = Image.new("RGB", (side, side), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    for row, name in enumerate(names):
        middle = MARGIN + CELL * row + CELL // 2
        draw.text((MARGIN - 6, middle), name, "black", font, anchor="rm")
        draw.text((middle, MARGIN - 6), name.replace(",", "\n"), "black", font, anchor="md", align="center")
        for column, value in enumerate(matrix[row]):
            good = float(np.clip((value - 0.5) * 2, 0, 1))
            left, top = MARGIN + CELL * column, MARGIN + CELL * row
            fill = (round(40 + 200 * good), round(60 + 190 * good), round(130 + 110 * good))
            draw.rectangle((left, top, left + CELL - 2, top + CELL - 2), fill)
            ink = "black" if good > 0.5 else "white"
            draw.text((left + CELL // 2, top + CELL // 2), f"{value:.3f}", ink, font, anchor="mm")
    image.save(path, "PNG")


def scores(detector: MemeDetector, paths: Sequence[Path]) -> Iterator[tuple[Path, float | Problem]]:
    """The score of each file, or why it has none."""
    for path in paths:
        try:
            yield path, detector.finish(detector.run([detector.prepare(path.read_bytes())])[0])
        except Problem as problem:
            yield path, problem
