"""A training from folders to a file that serves: fit, export, and what the manifest's row has to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serve_app.errors import Problem
from serve_app.models.embedded.export import fingerprint
from serve_app.models.memes.export import export_memes
from serve_app.models.memes.fit import Progress, Recipe, Trained, fit, probabilities
from serve_app.models.memes.pools import Pools
from serve_app.models.memes.scenarios import SCENARIOS, Numbers, Scenario, available, synthesise

WEIGHTS = "memetector.onnx"
THRESHOLD = 0.5
"""From this probability on it is a meme."""


@dataclass(frozen=True)
class Report:
    """What was made: ``accuracies`` by scenario are held out, of those that the pictures suffice for."""

    file: Path
    bytes: int
    sha256: str
    trained: Trained
    accuracies: dict[str, float]

    def row(self) -> str:
        """The lines of ``configs/models.yaml`` that change with the training."""
        numbers = {"mean": self.trained.mean, "std": self.trained.std}
        section = [f"      {key}: [{', '.join(f'{one:.4f}' for one in values)}]" for key, values in numbers.items()]
        said = [f"        sha256: {self.sha256}", f"        bytes: {self.bytes}", "    meme:"]
        side = f"      side: {self.trained.model.config.side}"
        return "\n".join([*said, side, *section])


def held_out(trained: Trained, pools: Pools, seed: int, scenarios: Sequence[Scenario] = SCENARIOS) -> dict[str, float]:
    """The accuracy on the test part of each scenario that the pictures suffice for, by its name."""
    sure = {
        kind: dict(zip(numbers.tolist(), _sure(trained, pools, kind, numbers), strict=True))
        for kind, numbers in available(pools, "test", seed).items()
    }
    found = {}
    for scenario in scenarios:
        try:
            examples = synthesise(scenario, pools, "test", seed)
        except Problem:
            continue
        each = zip(examples.kinds.tolist(), examples.numbers.tolist(), strict=True)
        said = np.array([sure[kind][number] >= THRESHOLD for kind, number in each])
        found[scenario.name] = float((said == examples.is_meme).mean())
    return found


def _sure(trained: Trained, pools: Pools, kind: int, numbers: Numbers) -> list[float]:
    parts = [
        probabilities(trained, pools.pick(np.full(len(some), kind), some)).tolist()
        for some in np.split(numbers, range(64, len(numbers), 64))
        if len(some)
    ]
    return [value for part in parts for value in part]


def train_memes(
    pools: Pools,
    scenario: Scenario,
    recipe: Recipe,
    seed: int,
    out: Path,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Train on a scenario and write ``memetector.onnx`` into ``out``; the checkpoint lies beside it, and from it a run
    that was interrupted goes on."""
    out.mkdir(parents=True, exist_ok=True)
    trained = fit(pools, scenario, recipe, seed, out / "checkpoint.pt", progress)
    export_memes(trained, out / WEIGHTS)
    length, sha256 = fingerprint(out / WEIGHTS)
    return Report(out / WEIGHTS, length, sha256, trained, held_out(trained, pools, seed))
