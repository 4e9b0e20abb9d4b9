"""Train an embedded model by name: seeded, resumable, with held-out figures and a model card at the end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from serve_app.models.embedded.cards import write_card
from serve_app.models.embedded.corpus import corpus
from serve_app.models.embedded.export import fingerprint
from serve_app.models.embedded.recipes import RECIPES, Figures, Job, Recipe

_WARM_UP = 100


@dataclass(frozen=True)
class Progress:
    """Where a run stands: ``phase`` is "scenes", "training" or "evaluation"; ``eta_s`` None while it is unknown."""

    phase: str
    step: int
    steps: int
    loss: float | None
    eta_s: float | None


@dataclass(frozen=True)
class Report:
    """``files``: name -> (bytes, sha256); ``figures`` are held out; ``minutes`` of training, without scenes."""

    name: str
    seed: int
    steps: int
    minutes: float
    files: dict[str, tuple[int, str]]
    figures: Figures


@dataclass
class _State:
    step: int = 0
    elapsed: float = 0.0
    loss: float | None = None


def _optimiser(model: nn.Module, rate: float) -> torch.optim.AdamW:
    matrices = [weight for weight in model.parameters() if weight.ndim >= 2]
    others = [weight for weight in model.parameters() if weight.ndim < 2]
    groups: list[dict[str, Any]] = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))


def _kind(job: Job, recipe: Recipe) -> str:
    """What a checkpoint must have been made for to be of use: the network's shapes and the scenes and batch."""
    shapes = [tuple(weight.shape) for weight in job.model.state_dict().values()]
    return f"{recipe.scenes} x {recipe.side}, batch {recipe.batch}, {shapes}"


def _save(path: Path, kind: str, job: Job, optimiser: torch.optim.Optimizer, state: _State) -> None:
    unfinished = path.with_suffix(".part")
    torch.save(
        {
            "kind": kind,
            "model": job.model.state_dict(),
            "optimiser": optimiser.state_dict(),
            "step": state.step,
            "elapsed": state.elapsed,
        },
        unfinished,
    )
    unfinished.replace(path)


def _load(path: Path, kind: str, job: Job, optimiser: torch.optim.Optimizer) -> _State:
    """The state at ``path``, or a fresh one where there is none or it belongs to another recipe."""
    saved = torch.load(path, weights_only=True) if path.exists() else {}
    if saved.get("kind") != kind:
        return _State()
    job.model.load_state_dict(saved["model"])
    optimiser.load_state_dict(saved["optimiser"])
    return _State(int(saved["step"]), float(saved["elapsed"]))


def _fit(
    job: Job,
    recipe: Recipe,
    seed: int,
    checkpoint: Path,
    minutes: float | None,
    progress: Callable[[Progress], None] | None,
) -> _State:
    """Train to the recipe's steps, or until ``minutes`` are spent; the learning rate follows whichever is nearer."""
    optimiser = _optimiser(job.model, recipe.rate)
    kind = _kind(job, recipe)
    state = _load(checkpoint, kind, job, optimiser)
    job.model.train()
    while True:
        done = max(state.step / recipe.steps, state.elapsed / (60 * minutes) if minutes else 0.0)
        if done >= 1:
            break
        began = time.monotonic()
        warm = min(1.0, (state.step + 1) / _WARM_UP)
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
        loss = job.loss(seed, state.step, recipe.batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(job.model.parameters(), 5.0)
        optimiser.step()
        value = float(loss.detach())
        state.loss = value if state.loss is None else 0.95 * state.loss + 0.05 * value
        state.step += 1
        state.elapsed += time.monotonic() - began
        if state.step % recipe.save_every == 0:
            _save(checkpoint, kind, job, optimiser, state)
        if progress:
            eta = state.elapsed * (1 / done - 1) if done > 0 else None
            progress(Progress("training", state.step, recipe.steps, state.loss, eta))
    _save(checkpoint, kind, job, optimiser, state)
    return state


def train(
    name: str,
    out: Path,
    *,
    seed: int = 0,
    minutes: float | None = None,
    resume: bool = True,
    progress: Callable[[Progress], None] | None = None,
    work: Path | None = None,
    cards: Path | None = None,
    recipe: Recipe | None = None,
) -> Report:
    """Train ``name`` out of RECIPES and write its weights into ``out`` and its card into ``cards`` (default: none).

    Scenes and the checkpoint are kept under ``work`` (default ``~/.cache/mediaverse/training``), so that an
    interrupted run goes on where it stopped; ``resume=False`` starts over. Without ``minutes`` the run is the same on
    one machine each time; with it, training ends when that much time is spent. ``recipe`` overrides the table's.
    Raises KeyError for an unknown name.
    """
    recipe = recipe or RECIPES[name]
    work = work or Path.home() / ".cache" / "mediaverse" / "training"
    checkpoint = work / f"{name}-{seed}.pt"
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        checkpoint.unlink(missing_ok=True)

    def scenes(done: int, every: int) -> None:
        if progress:
            progress(Progress("scenes", done, every, None, None))

    kind = name.partition("-")[0]
    scenery = corpus(
        work / f"{kind}-{recipe.side}-{seed}", seed, recipe.scenes, recipe.side, recipe.mix, progress=scenes
    )
    job = recipe.job(scenery, seed)
    state = _fit(job, recipe, seed, checkpoint, minutes, progress)
    files = job.export(out)
    if progress:
        progress(Progress("evaluation", state.step, recipe.steps, state.loss, None))
    found = job.evaluate(recipe.held_out)
    report = Report(name, seed, state.step, state.elapsed / 60, {path.name: fingerprint(path) for path in files}, found)
    if cards:
        write_card(cards / f"{name}.md", report, recipe)
    return report
