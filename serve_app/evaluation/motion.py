"""The embedded action model on clips held out, through the reading of its file that serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serve_app.annotation.actions import ActionRecognizer, load_actions
from serve_app.evaluation.photographs import Pixels
from serve_app.evaluation.report import Figures, Tell, counted, say_nothing
from serve_app.models.embedded.figures import calibration_error
from serve_app.models.embedded.held_out import WORLD
from serve_app.models.embedded.motion import CAMERA_LABELS, LABELS, draw, shoot
from serve_app.models.embedded.motion_render import render, targets
from serve_app.models.embedded.motion_world import World, held_out_world, world_over
from serve_app.models.manifest import Model
from serve_app.models.sessions import open_session

_BATCH = 32
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Stored:
    """What a trained file says of itself: its threshold, and the temperature its logits were divided by."""

    threshold: float
    temperature: float


@dataclass(frozen=True)
class Answers:
    """Probabilities [N, 18] and the number of the true label of each clip."""

    probabilities: Floats
    truth: NDArray[np.int64]

    @property
    def named(self) -> NDArray[np.int64]:
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def right(self) -> NDArray[np.bool_]:
        return np.asarray(self.named == self.truth)

    @property
    def confusion(self) -> NDArray[np.int64]:
        """How many clips of each label (rows) were named as each (columns)."""
        table = np.zeros((len(LABELS), len(LABELS)), np.int64)
        np.add.at(table, (self.truth, self.named), 1)
        return table


class Reader:
    """The action model of a manifest's row with the weights in ``files`` (logical name -> path)."""

    def __init__(self, model: Model, files: Mapping[str, Path], threads: int = 0) -> None:
        """Raises ValueError for a file that says nothing of its threshold."""
        [path] = files.values()
        notes = open_session(path, threads).get_modelmeta().custom_metadata_map
        if missing := Stored.__annotations__.keys() - notes.keys():
            raise ValueError(f"{path} does not say its {', '.join(sorted(missing))}: train it again")
        self.stored = Stored(**{name: float(notes[name]) for name in Stored.__annotations__})
        self.recognizer: ActionRecognizer = load_actions(model, files, threads)

    def read(self, clips: NDArray[np.uint8], tell: Tell = say_nothing) -> Floats:
        """Probabilities [N, 18] of clips uint8 [N, T, H, W, 3]."""
        parts = [clips[first : first + _BATCH] for first in range(0, len(clips), _BATCH)]
        prepared = ([self.recognizer.prepare(clip) for clip in part] for part in counted(parts, "reading clips", tell))
        return np.concatenate([np.asarray(self.recognizer.run(batch), np.float64) for batch in prepared])


def answers(
    reader: Reader, world: World, count: int, labels: Sequence[str] = LABELS, tell: Tell = say_nothing
) -> Answers:
    """What the model says of ``count`` clips of that world, each label as often as the others."""
    rng = np.random.default_rng([WORLD, count, len(labels)])
    shots = [shoot(rng, labels[number % len(labels)]) for number in range(count)]
    return Answers(reader.read(render(rng, shots, world), tell), targets(shots).argmax(axis=1))


def clip_figures(reader: Reader, count: int, tell: Tell = say_nothing) -> Figures:
    """Top-1, what the threshold does, and calibration on ``count`` clips over the test photographs."""
    tell("drawing clips", 0, count)
    world = held_out_world()
    found = answers(reader, world, count, tell=tell)
    best, stored = found.probabilities.max(axis=1), reader.stored
    sure = best >= stored.threshold
    before = found.probabilities**stored.temperature
    before /= before.sum(axis=1, keepdims=True)
    return {
        "top-1": float(found.right.mean()),
        **{f"top-1 {label}": float(found.right[found.truth == at].mean()) for at, label in enumerate(LABELS)},
        "threshold": stored.threshold,
        "named at the threshold": float(sure.mean()),
        "right of the named": float(found.right[sure].mean()) if sure.any() else float("nan"),
        **_mixed_figures(reader, world, count // 4),
        "expected calibration error": calibration_error(best, found.right),
        "expected calibration error before calibration": calibration_error(before.max(axis=1), found.right),
    }


def _mixed_figures(reader: Reader, world: World, count: int) -> Figures:
    """What is said of ``count`` clips that show two motions at once, of which either is true."""
    rng = np.random.default_rng([WORLD, count])
    shots = draw(rng, count, mixed=1.0)
    probabilities = reader.read(render(rng, shots, world))
    sure = probabilities.max(axis=1) >= reader.stored.threshold
    true = targets(shots)[np.arange(count), probabilities.argmax(axis=1)] > 0
    return {
        "clips of two motions named at the threshold": float(sure.mean()),
        "clips of two motions named as neither": float((sure & ~true).mean()),
    }


def evaluate(
    model: Model, files: Mapping[str, Path], clips: int, photographs: Sequence[Pixels], tell: Tell = say_nothing
) -> Figures:
    """Figures of ``clips`` held out and, where there are ``photographs``, of a camera that moves over these."""
    reader = Reader(model, files)
    found = clip_figures(reader, clips, tell)
    if photographs:
        over = world_over(photographs, max(120, len(photographs)))
        name = f"over {len(photographs)} photographs given: top-1"
        found[f"camera moves {name}"] = float(answers(reader, over, clips // 2, CAMERA_LABELS, tell).right.mean())
        found[f"all motions {name}"] = float(answers(reader, over, clips // 2, tell=tell).right.mean())
    return found
