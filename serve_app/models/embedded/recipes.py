"""What can be trained: a table of named recipes. Another row trains a bigger network with the same code."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor, nn

from serve_app.media.images import letterbox
from serve_app.models.embedded import clip, detector, figures
from serve_app.models.embedded.corpus import Corpus
from serve_app.models.embedded.export import as_stored, export
from serve_app.models.embedded.held_out import calibration_negatives, calibration_shapes
from serve_app.models.embedded.motion_job import CONFIG, MotionJob
from serve_app.models.embedded.motion_world import SIDE
from serve_app.models.embedded.scenes import CLIP_MIX, DETECTOR_MIX, LABELS, MESHES_MIX, Mix
from serve_app.models.embedded.tokens import train_tokenizer

NMS_IOU = 0.5
LEAST_SCORE = 0.02  # what scores less is no detection, whatever the threshold
FALSE_DETECTIONS = 0.15  # the most a picture, on average, that the detector's threshold lets pass


class Job(Protocol):
    """One training: a model, its loss on step ``step``, and what is left when it ends."""

    @property
    def model(self) -> nn.Module: ...

    def loss(self, seed: int, step: int, batch: int) -> Tensor: ...

    def export(self, out: Path) -> list[Path]:
        """Write the weight files; the model stays as it was trained."""
        ...


@dataclass(frozen=True)
class Finish:
    """A second, shorter run of the same model with another loss or on other scenes: ``steps`` at a peak learning rate
    of ``rate``.

    ``job`` makes its job of the first run's, whose model it goes on with, and of the scenes: where there is a ``mix``,
    ``scenes`` of that, otherwise the first run's.
    """

    job: Callable[[Any, Corpus], Job]
    steps: int
    rate: float
    mix: Mix | None = None
    scenes: int = 0


@dataclass(frozen=True)
class Recipe:
    """``scenes`` of ``side`` pixels from ``mix``; ``steps`` of ``batch`` at a peak learning rate of ``rate``.

    Another number of ``threads`` adds up in another order, so that it is part of what makes a run repeatable.
    """

    job: Callable[[Corpus, int], Job]
    mix: Mix
    side: int
    scenes: int
    steps: int
    batch: int
    rate: float
    save_every: int = 50
    warm_up: int = 100
    threads: int = 2
    finish: Finish | None = None


class ClipJob:
    def __init__(self, corpus: Corpus, seed: int, config: clip.ClipConfig, twins: clip.Twins) -> None:
        self.corpus, self.config, self.twins = corpus, config, twins
        captions = [str(text) for text in corpus.captions.ravel()]
        self.tokenizer: Tokenizer = train_tokenizer(captions, config.vocabulary, config.context_length)
        vocabulary = self.tokenizer.get_vocab_size()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = clip.build_clip(config, vocabulary).to(memory_format=torch.channels_last)
        shape = corpus.captions.shape
        self.tokens = clip.encode_texts(self.tokenizer, captions).view(*shape, -1)
        self.wrong = clip.encode_texts(self.tokenizer, [str(text) for text in corpus.wrong.ravel()]).view(*shape, -1)
        self.without_solids = np.flatnonzero((corpus.boxes[..., 4] < 0).all(axis=1))

    def with_twins(self, twins: clip.Twins) -> ClipJob:
        """The same job, model and all, with another loss."""
        other = copy.copy(self)
        other.twins = twins
        return other

    def loss(self, seed: int, step: int, batch: int) -> Tensor:
        """The twins are pictures without solids, the nearest there is to photographs: to tell these apart takes more
        than their colours.
        """
        rng = np.random.default_rng([seed, step])
        count = min(self.twins.count, batch, len(self.without_solids))
        twins = rng.choice(self.without_solids, count, replace=False)
        others = np.setdiff1d(np.arange(len(self.corpus)), twins, assume_unique=True)
        chosen = np.concatenate([twins, rng.choice(others, batch - len(twins), replace=False)])
        wording = rng.integers(self.tokens.shape[1], size=batch)
        tokens, wrong = self.tokens[chosen, wording], self.wrong[chosen, wording]
        size, pixels = self.config.image_size, self.corpus.pixels[chosen]
        return clip.clip_loss(self.model, pixels, tokens, wrong, rng, size, replace(self.twins, count=count))

    def export(self, out: Path) -> list[Path]:
        model = as_stored(self.model)
        size, length = self.config.image_size, self.config.context_length
        image, text, words = out / "clip_image.onnx", out / "clip_text.onnx", out / "clip_tokenizer.json"
        generator = torch.Generator().manual_seed(0)
        export(
            clip.ImageTower(model),
            torch.randn(2, 3, size, size, generator=generator),
            image,
            "pixels",
            "embedding",
        )
        tokens = clip.encode_texts(self.tokenizer, ["a red cube", "two blue spheres on a striped background"])
        assert tokens.shape[1] == length
        export(clip.TextTower(model), tokens, text, "tokens", "embedding")
        words.write_text(self.tokenizer.to_str(), encoding="utf-8")
        return [image, text, words]


class ShapesJob:
    """``calibration`` scenes, and as many pictures with nothing to find, make the scores probabilities at the end."""

    def __init__(self, corpus: Corpus, seed: int, config: detector.DetectorConfig, calibration: int = 400) -> None:
        self.corpus, self.config, self.calibration = corpus, config, calibration
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = detector.Detector(config).to(memory_format=torch.channels_last)

    def with_scenes(self, corpus: Corpus) -> ShapesJob:
        """The same job, model and all, with other scenes."""
        other = copy.copy(self)
        other.corpus = corpus
        return other

    def loss(self, seed: int, step: int, batch: int) -> Tensor:
        rng = np.random.default_rng([seed, step])
        chosen = rng.choice(len(self.corpus), batch, replace=False)
        x, boxes = detector.augmented(rng, self.corpus.pixels[chosen], self.corpus.boxes[chosen])
        return detector.detector_loss(self.model, x, boxes)

    def export(self, out: Path) -> list[Path]:
        path = out / "shapes.onnx"
        size = self.config.image_size
        model = as_stored(self.model)
        metadata = self._calibrate(model)
        example = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        export(model, example, path, "images", "predictions", metadata)
        return [path]

    def _calibrate(self, model: detector.Detector) -> dict[str, float]:
        """Fit the line of the scores on pictures held out, then the threshold; what the file says about them."""
        size = self.config.image_size
        model.slope.fill_(1.0)
        model.intercept.fill_(0.0)
        scenes = calibration_shapes(self.calibration, size)
        found = detector.detect(model, scenes.pixels, LEAST_SCORE, NMS_IOU)
        matches = figures.match(found, [boxes[boxes[:, 4] >= 0] for boxes in scenes.boxes], len(LABELS))
        slope, intercept = figures.platt(matches.scores, matches.right)
        model.slope.fill_(slope)
        model.intercept.fill_(intercept)
        empty = calibration_negatives(self.calibration)
        squares = np.stack(
            [np.asarray(letterbox(Image.fromarray(pixels), (size, size), detector.PAD)[0]) for pixels in empty]
        )
        false = np.concatenate(detector.detect(model, squares, LEAST_SCORE, NMS_IOU))[:, 4]
        threshold = figures.least_threshold(false, len(empty), FALSE_DETECTIONS)
        return {"threshold": threshold, "nms_iou": NMS_IOU, "slope": slope, "intercept": intercept}


MOTION_MIX = Mix(photographs=0.5, pages=0.03, empty=0.17, moods=0.1, texts=0.1)
_HARD_TWINS = clip.Twins(48, weight=0.6, grey=0.65, strangers=True)
RECIPES: dict[str, Recipe] = {
    "clip-embedded": Recipe(
        job=lambda corpus, seed: ClipJob(corpus, seed, clip.ClipConfig(), clip.Twins()),
        mix=CLIP_MIX,
        side=144,
        scenes=30_000,
        steps=3_600,
        batch=128,
        rate=1.5e-3,
        finish=Finish(lambda job, _: job.with_twins(_HARD_TWINS), 400, 4e-4),
    ),
    "shapes-embedded": Recipe(
        job=lambda corpus, seed: ShapesJob(corpus, seed, detector.DetectorConfig()),
        mix=DETECTOR_MIX,
        side=256,
        scenes=10_000,
        steps=6_000,
        batch=32,
        rate=2e-3,
        finish=Finish(lambda job, scenes: job.with_scenes(scenes), 2_150, 1e-3, MESHES_MIX, 6_000),
    ),
    "motion-embedded": Recipe(
        job=MotionJob,
        mix=MOTION_MIX,
        side=SIDE,
        scenes=2_400,
        steps=3_000,
        batch=32,
        rate=3e-3,
        finish=Finish(lambda job, _: job.with_fades(0.12), 400, 6e-4),
    ),
}
"""What ships: half an hour on two cores, an hour for the CLIP."""

_LARGE_TOWERS = clip.ClipConfig(
    vision={"layers": (3, 4, 6, 3), "width": 64, "head_width": 64}, text={"width": 512, "heads": 8, "layers": 6}
)
_LARGE_DETECTOR = detector.DetectorConfig(widths=(32, 64, 128, 256), depths=(1, 3, 4), neck=128)
_LARGE_MOTION = replace(CONFIG, stem=64, widths=(32, 64, 96, 128), depths=(2, 2, 3, 2))
LARGE: dict[str, Recipe] = {
    "clip-embedded": replace(
        RECIPES["clip-embedded"],
        job=lambda corpus, seed: ClipJob(corpus, seed, _LARGE_TOWERS, clip.Twins(128)),
        scenes=200_000,
        steps=30_000,
        batch=512,
        rate=5e-4,
        threads=8,
        finish=Finish(lambda job, _: job.with_twins(replace(_HARD_TWINS, count=256)), 4_000, 1e-4),
    ),
    "shapes-embedded": replace(
        RECIPES["shapes-embedded"],
        job=lambda corpus, seed: ShapesJob(corpus, seed, _LARGE_DETECTOR),
        scenes=100_000,
        steps=40_000,
        batch=64,
        rate=1e-3,
        threads=8,
        finish=Finish(lambda job, scenes: job.with_scenes(scenes), 10_000, 4e-4, MESHES_MIX, 40_000),
    ),
    "motion-embedded": replace(
        RECIPES["motion-embedded"],
        job=lambda corpus, seed: MotionJob(corpus, seed, _LARGE_MOTION),
        scenes=20_000,
        steps=40_000,
        batch=128,
        rate=1e-3,
        threads=8,
        finish=Finish(lambda job, _: job.with_fades(0.12), 4_000, 2e-4),
    ),
}
"""The same input, output and code with twenty, five and ten times the weights, for a GPU; nothing of it ships."""

SIZES = {"embedded": RECIPES, "large": LARGE}
