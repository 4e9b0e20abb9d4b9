"""The training loop: AdamW under a cosine, with checkpoints from which an interrupted run goes on exactly."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from serve_app.models.embedded.recipes import Job, Recipe


@dataclass(frozen=True)
class Progress:
    """Where a run stands: ``phase`` is "scenes", "training" or "evaluation"; ``eta_s`` None while it is unknown."""

    phase: str
    step: int
    steps: int
    loss: float | None
    eta_s: float | None


@dataclass
class State:
    """Steps done, seconds they took, and the running mean of the loss."""

    step: int = 0
    elapsed: float = 0.0
    loss: float | None = None


def _optimiser(model: nn.Module, rate: float) -> torch.optim.AdamW:
    matrices = [weight for weight in model.parameters() if weight.ndim >= 2]
    others = [weight for weight in model.parameters() if weight.ndim < 2]
    groups: list[dict[str, Any]] = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))


def _kind(job: Job, recipe: Recipe) -> str:
    """What a checkpoint must have been made for to be of use: the weights it began with, the scenes and the batch."""
    began = hashlib.sha256()
    for weight in job.model.state_dict().values():
        began.update(weight.cpu().numpy().tobytes())
    return f"{recipe.scenes} x {recipe.side}, batch {recipe.batch}, from {began.hexdigest()}"


def _save(path: Path, kind: str, job: Job, optimiser: torch.optim.Optimizer, state: State) -> None:
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


def _load(path: Path, kind: str, job: Job, optimiser: torch.optim.Optimizer) -> State:
    """The state at ``path``, or a fresh one where there is none or it belongs to another recipe."""
    saved = torch.load(path, map_location="cpu", weights_only=True) if path.exists() else {}
    if saved.get("kind") != kind:
        return State()
    job.model.load_state_dict(saved["model"])
    optimiser.load_state_dict(saved["optimiser"])
    return State(int(saved["step"]), float(saved["elapsed"]))


@contextmanager
def _placed(model: nn.Module, threads: int) -> Iterator[None]:
    """The model on a GPU where torch sees one, and torch on so many threads; both as before in the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        yield
    finally:
        model.to("cpu")  # where it is calibrated and exported
        torch.set_num_threads(before)


def fit(
    job: Job,
    recipe: Recipe,
    seed: int,
    checkpoint: Path,
    minutes: float | None,
    progress: Callable[[Progress], None] | None,
) -> State:
    """Train to the recipe's steps, or until ``minutes`` are spent; the learning rate follows whichever is nearer.

    It runs on a GPU where torch sees one, and otherwise on the recipe's number of threads.
    """
    with _placed(job.model, recipe.threads):
        optimiser = _optimiser(job.model, recipe.rate)
        kind = _kind(job, recipe)
        state = _load(checkpoint, kind, job, optimiser)
        job.model.train()
        while True:
            done = max(state.step / recipe.steps, state.elapsed / (60 * minutes) if minutes else 0.0)
            if done >= 1:
                break
            began = time.monotonic()
            warm = min(1.0, (state.step + 1) / recipe.warm_up)
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
