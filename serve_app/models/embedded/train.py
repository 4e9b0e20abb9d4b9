"""Train an embedded model by name: seeded, resumable, with held-out figures and a model card at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from serve_app.models.embedded.cards import write_card
from serve_app.models.embedded.corpus import Corpus, corpus
from serve_app.models.embedded.export import fingerprint
from serve_app.models.embedded.fit import Progress, State, fit
from serve_app.models.embedded.recipes import RECIPES, SIZES, Recipe
from serve_app.models.embedded.scenes import REVISION

__all__ = ["RECIPES", "SIZES", "Evaluate", "Figures", "Progress", "Report", "train"]

Figures = dict[str, float]
Evaluate = Callable[[str, Path], Figures]
"""What the weights of a model in a folder are worth. It stands above this package: it reads them as the services do."""


@dataclass(frozen=True)
class Report:
    """``files``: name -> (bytes, sha256); ``figures`` are held out; ``minutes`` of training, without scenes."""

    name: str
    size: str
    seed: int
    steps: int
    minutes: float
    files: dict[str, tuple[int, str]]
    figures: Figures


def _scenery(
    name: str, recipe: Recipe, work: Path, seed: int, tell: Callable[[Progress], None], stage: str = ""
) -> Corpus:
    """The recipe's scenes, drawn where ``work`` lacks them."""
    return corpus(
        work / f"{name}-{recipe.side}-{seed}{stage}-r{REVISION}",
        seed,
        recipe.scenes,
        recipe.side,
        recipe.mix,
        progress=lambda done, every: tell(Progress("scenes", done, every, None, None)),
    )


def train(
    name: str,
    out: Path,
    evaluate: Evaluate,
    *,
    size: str = "embedded",
    seed: int = 0,
    minutes: float | None = None,
    resume: bool = True,
    progress: Callable[[Progress], None] | None = None,
    cards: Path | None = None,
    work: Path | None = None,
    recipe: Recipe | None = None,
) -> Report:
    """Train ``name`` by the recipe of that ``size`` out of SIZES; write its weights into ``out``, evaluate them there,
    and write its card into ``cards`` (default: ``out``).

    Scenes and the checkpoint are kept under ``work`` (default ``~/.cache/mediaverse/training``), so that an
    interrupted run goes on where it stopped; ``resume=False`` starts over. Without ``minutes`` the run is the same on
    one machine each time; with it, training ends when that much time is spent. ``recipe`` overrides the table's.
    Raises KeyError for an unknown name or size.
    """
    if name not in RECIPES or size not in SIZES:
        raise KeyError(f"no recipe {name!r} {size!r}; there are {', '.join(sorted(RECIPES))}, {', '.join(SIZES)}")
    recipe = recipe or SIZES[size][name]
    work = work or Path.home() / ".cache" / "mediaverse" / "training"
    checkpoints = [work / f"{name}-{size}-{seed}{stage}.pt" for stage in ("", "-finish")]
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        for checkpoint in checkpoints:
            checkpoint.unlink(missing_ok=True)
    tell = progress or (lambda _: None)
    scenery = _scenery(name, recipe, work, seed, tell)
    job, last = recipe.job(scenery, seed), recipe.finish
    share = recipe.steps / (recipe.steps + last.steps) if last else 1.0
    state = fit(job, recipe, seed, checkpoints[0], minutes and minutes * share, progress)
    if last:
        if last.mix:
            other = replace(recipe, mix=last.mix, scenes=last.scenes)
            scenery = _scenery(name, other, work, seed, tell, "-finish")
        job, rest = last.job(job, scenery), replace(recipe, steps=last.steps, rate=last.rate)
        ended = fit(job, rest, seed, checkpoints[1], minutes and minutes * (1 - share), progress)
        state = State(state.step + ended.step, state.elapsed + ended.elapsed, ended.loss)
    files = job.export(out)
    tell(Progress("evaluation", state.step, state.step, state.loss, None))
    found = evaluate(name, out)
    made = {path.name: fingerprint(path) for path in files}
    report = Report(name, size, seed, state.step, state.elapsed / 60, made, found)
    write_card((cards or out) / f"{name}.md", report, recipe)
    return report
