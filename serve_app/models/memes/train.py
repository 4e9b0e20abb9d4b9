"""A training from folders to a file that serves: fit, export, and what the manifest's row has to say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serve_app.models.embedded.export import fingerprint
from serve_app.models.memes.export import export_memes
from serve_app.models.memes.fit import Progress, Recipe, Trained, accuracy, fit
from serve_app.models.memes.pools import Pools
from serve_app.models.memes.scenarios import SCENARIOS, Scenario, synthesise

WEIGHTS = "memetector.onnx"


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


def held_out(trained: Trained, pools: Pools, seed: int) -> dict[str, float]:
    """The accuracy on the test part of each scenario that the pictures suffice for, by its name."""
    found = {}
    for scenario in SCENARIOS:
        if all(share == 0 or pools.count(kind) for kind, share in scenario.shares().items()):
            found[scenario.name] = accuracy(trained, pools, synthesise(scenario, pools, "test", seed))
    return found


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
