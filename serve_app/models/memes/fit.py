"""The training of MemeTector: shuffled batches, a warm-up and a cosine, checkpoints from which it goes on exactly."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from serve_app.models.memes.pools import MEME, Pixels, Pools
from serve_app.models.memes.scenarios import Examples, Scenario, synthesise
from serve_app.models.memetector import MemeTector, MemeTectorConfig

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Recipe:
    """The paper's numbers. ``words`` weighs a second task on the way: which patches do words of a meme cover, whose
    boxes the visual parts need anyhow; it lets the layers learn in a tenth of the steps. ``minutes`` ends a run early.
    """

    epochs: int = 20
    batch: int = 64
    rate: float = 1e-3
    weight_decay: float = 1e-3
    warm_up: float = 0.05
    words: float = 1.0
    minutes: float | None = None
    threads: int = 0
    save_every: int = 50
    config: MemeTectorConfig = field(default_factory=MemeTectorConfig)


@dataclass(frozen=True)
class Trained:
    """A network with the ``mean`` and ``std`` of its training pictures, on 0..255: everything it sees needs them."""

    model: MemeTector
    mean: Channels
    std: Channels
    steps: int
    minutes: float


@dataclass(frozen=True)
class Progress:
    """Where a run stands; ``accuracy`` on the validation part after each epoch, else None."""

    step: int
    steps: int
    loss: float
    accuracy: float | None
    eta_s: float


class Learner(nn.Module):
    """The network and a head that reads, of each patch, whether words of a meme cover it."""

    def __init__(self, config: MemeTectorConfig) -> None:
        super().__init__()
        self.network = MemeTector(config)
        self.words = nn.Linear(config.dim, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [N] of a meme and [N, patches] of its words."""
        logits, _, patches = self.network.look(x)
        return logits, self.words(patches)[..., 0]


def statistics(pools: Pools, examples: Examples, limit: int = 2000) -> tuple[Channels, Channels]:
    """Mean and deviation of each channel, on 0..255, over the training pictures or ``limit`` of them."""
    chosen = np.unique(np.linspace(0, len(examples) - 1, min(limit, len(examples))).astype(int))
    total, squares, count = np.zeros(3), np.zeros(3), 0
    for first in range(0, len(chosen), 64):
        some = chosen[first : first + 64]
        values = pools.pick(examples.kinds[some], examples.numbers[some]).reshape(-1, 3).astype(np.float64)
        total, squares, count = total + values.sum(0), squares + (values**2).sum(0), count + len(values)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1.0))
    return (float(mean[0]), float(mean[1]), float(mean[2])), (float(std[0]), float(std[1]), float(std[2]))


def normalised(pixels: Pixels, mean: Channels, std: Channels) -> Tensor:
    """Pictures uint8 [N, side, side, 3] as the network takes them, float32 [N, 3, side, side]."""
    x = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float()
    return (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def varied(rng: np.random.Generator, pixels: Pixels, words: NDArray[np.float32]) -> tuple[Pixels, NDArray[np.float32]]:
    """The same pictures in other light and colours, half of them mirrored, with the words' patches as they are then."""
    mirrored = rng.random(len(pixels)) < 0.5
    pixels, words = pixels.copy(), words.copy()
    pixels[mirrored], words[mirrored] = pixels[mirrored][:, :, ::-1], words[mirrored][:, :, ::-1]
    swapped = rng.random(len(pixels)) < 0.3
    pixels[swapped] = pixels[swapped][..., rng.permutation(3)]
    gain = rng.uniform(0.75, 1.25, (len(pixels), 1, 1, 3)).astype(np.float32)
    shift = rng.uniform(-25, 25, (len(pixels), 1, 1, 1)).astype(np.float32)
    return (pixels * gain + shift).clip(0, 255).astype(np.uint8), words


def probabilities(trained: Trained, pixels: Pixels, batch: int = 64) -> NDArray[np.float32]:
    """How sure the network is that each picture, uint8 [N, side, side, 3], is a meme: float32 [N]."""
    trained.model.eval()
    with torch.no_grad():
        parts = [
            trained.model(normalised(pixels[at : at + batch], trained.mean, trained.std))[0].sigmoid()
            for at in range(0, len(pixels), batch)
        ]
    found: NDArray[np.float32] = torch.cat(parts).numpy()
    return found


def accuracy(trained: Trained, pools: Pools, examples: Examples, threshold: float = 0.5) -> float:
    """The share of examples that it tells rightly."""
    right = 0
    for at in range(0, len(examples), 64):
        kinds, numbers = examples.kinds[at : at + 64], examples.numbers[at : at + 64]
        sure = probabilities(trained, pools.pick(kinds, numbers))
        right += int(((sure >= threshold) == (kinds == MEME)).sum())
    return right / len(examples)


class _Run:
    """One training; its state is what a checkpoint holds."""

    def __init__(self, pools: Pools, scenario: Scenario, recipe: Recipe, seed: int, checkpoint: Path) -> None:
        self.pools, self.recipe, self.seed, self.checkpoint = pools, recipe, seed, checkpoint
        self.examples = synthesise(scenario, pools, "train", seed)
        self.val = synthesise(scenario, pools, "val", seed)
        self.mean, self.std = statistics(pools, self.examples)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.learner = Learner(recipe.config)
        self.optimiser = torch.optim.AdamW(self.learner.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay)
        self.per_epoch = math.ceil(len(self.examples) / recipe.batch)
        self.steps = recipe.epochs * self.per_epoch
        self.step, self.elapsed, self.loss = 0, 0.0, math.log(2)
        self.kind = f"{scenario.name} of {len(self.examples)}, seed {seed}, {self.mean}, {recipe.config}"
        self._load()

    def _load(self) -> None:
        """Go on where a run of the same pictures and sizes stopped."""
        saved = torch.load(self.checkpoint, weights_only=True) if self.checkpoint.exists() else {}
        if saved.get("kind") != self.kind:
            return
        self.learner.load_state_dict(saved["learner"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.step, self.elapsed = int(saved["step"]), float(saved["elapsed"])

    def save(self) -> None:
        state = {"kind": self.kind, "step": self.step, "elapsed": self.elapsed}
        learned = {"learner": self.learner.state_dict(), "optimiser": self.optimiser.state_dict()}
        torch.save(state | learned, self.checkpoint.with_suffix(".part"))
        self.checkpoint.with_suffix(".part").replace(self.checkpoint)

    @property
    def done(self) -> float:
        """How much of the run is over, in 0..1: of its steps or of its minutes, whichever is more."""
        spent = self.elapsed / (60 * self.recipe.minutes) if self.recipe.minutes else 0.0
        return max(self.step / self.steps, spent)

    def advance(self) -> None:
        """One step: a batch of this epoch's own order, so that a resumed run sees what it would have seen."""
        began, recipe = time.monotonic(), self.recipe
        epoch, at = divmod(self.step, self.per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.examples))
        chosen = order[at * recipe.batch : (at + 1) * recipe.batch]
        warm = min(1.0, (self.done + 1 / self.steps) / recipe.warm_up) if recipe.warm_up else 1.0
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.done)))
        loss = self._loss(np.random.default_rng([self.seed, self.step, 1]), chosen)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.learner.parameters(), 5.0)
        self.optimiser.step()
        self.loss = 0.95 * self.loss + 0.05 * float(loss.detach())
        self.step += 1
        self.elapsed += time.monotonic() - began

    def _loss(self, rng: np.random.Generator, chosen: NDArray[np.int64]) -> Tensor:
        kinds, numbers = self.examples.kinds[chosen], self.examples.numbers[chosen]
        words = np.zeros((len(chosen), *self.pools.text.shape[1:]), np.float32)
        words[kinds == MEME] = self.pools.text[numbers[kinds == MEME]]
        pixels, words = varied(rng, self.pools.pick(kinds, numbers), words)
        x, y = normalised(pixels, self.mean, self.std), torch.from_numpy((kinds == MEME).astype(np.float32))
        with torch.random.fork_rng():
            torch.manual_seed(int(rng.integers(2**62)))  # the dropout's
            logits, patches = self.learner(x)
        target = torch.from_numpy((words > 0.25).astype(np.float32)).flatten(1)
        told: Tensor = F.binary_cross_entropy_with_logits(logits, y)
        return told + self.recipe.words * F.binary_cross_entropy_with_logits(patches, target)

    def trained(self) -> Trained:
        return Trained(self.learner.network.eval(), self.mean, self.std, self.step, self.elapsed / 60)


def fit(
    pools: Pools,
    scenario: Scenario,
    recipe: Recipe,
    seed: int,
    checkpoint: Path,
    progress: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train on a scenario of the pools; ``checkpoint`` is written as it goes and read where it is there already."""
    before = torch.get_num_threads()
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    try:
        run = _Run(pools, scenario, recipe, seed, checkpoint)
        while run.done < 1:
            run.learner.train()
            run.advance()
            whole = run.step % run.per_epoch == 0
            if run.step % recipe.save_every == 0 or whole:
                run.save()
            if progress:
                right = accuracy(run.trained(), pools, run.val) if whole else None
                progress(Progress(run.step, run.steps, run.loss, right, run.elapsed * (1 / run.done - 1)))
        run.save()
        return run.trained()
    finally:
        torch.set_num_threads(before)
