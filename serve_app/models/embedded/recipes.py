"""What can be trained: a table of named recipes. Another row trains a bigger network with the same code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from serve_app.models.embedded import clip, detector, figures
from serve_app.models.embedded.corpus import Corpus
from serve_app.models.embedded.export import export, round_to_half
from serve_app.models.embedded.held_out import held_out_pairs, held_out_photographs, held_out_shapes
from serve_app.models.embedded.scenes import CLIP_MIX, DETECTOR_MIX, LABELS, Mix
from serve_app.models.embedded.tokens import train_tokenizer

NMS_IOU = 0.5
Figures = dict[str, float]


class Job(Protocol):
    """One training: a model, its loss on step ``step``, and what is left when it ends."""

    @property
    def model(self) -> nn.Module: ...

    def loss(self, seed: int, step: int, batch: int) -> Tensor: ...

    def export(self, out: Path) -> list[Path]:
        """Write the weight files; the model's weights are rounded to what is stored."""
        ...

    def evaluate(self, held_out: int) -> Figures: ...


@dataclass(frozen=True)
class Recipe:
    """``scenes`` of ``side`` pixels from ``mix``; ``steps`` of ``batch`` at a peak learning rate of ``rate``."""

    job: Callable[[Corpus, int], Job]
    mix: Mix
    side: int
    scenes: int
    steps: int
    batch: int
    rate: float
    held_out: int
    save_every: int = 50
    warm_up: int = 100


class ClipJob:
    def __init__(self, corpus: Corpus, seed: int, config: clip.ClipConfig, twins: int = 32) -> None:
        self.corpus, self.config, self.twins = corpus, config, twins
        captions = [str(text) for text in corpus.captions.ravel()]
        self.tokenizer: Tokenizer = train_tokenizer(captions, config.vocabulary, config.context_length)
        vocabulary = self.tokenizer.get_vocab_size()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = clip.build_clip(config, vocabulary).to(memory_format=torch.channels_last)
        self.tokens = clip.encode_texts(self.tokenizer, captions).view(*corpus.captions.shape, -1)

    def loss(self, seed: int, step: int, batch: int) -> Tensor:
        rng = np.random.default_rng([seed, step])
        chosen = rng.choice(len(self.corpus), batch, replace=False)
        wording = rng.integers(self.tokens.shape[1], size=batch)
        pixels, tokens = self.corpus.pixels[chosen], self.tokens[chosen, wording]
        return clip.clip_loss(self.model, pixels, tokens, rng, self.config.image_size, min(self.twins, batch))

    def export(self, out: Path) -> list[Path]:
        round_to_half(self.model)
        size, length = self.config.image_size, self.config.context_length
        image, text, words = out / "clip_image.onnx", out / "clip_text.onnx", out / "clip_tokenizer.json"
        generator = torch.Generator().manual_seed(0)
        export(
            clip.ImageTower(self.model),
            torch.randn(2, 3, size, size, generator=generator),
            image,
            "pixels",
            "embedding",
        )
        tokens = clip.encode_texts(self.tokenizer, ["a red cube", "two blue spheres on a striped background"])
        assert tokens.shape[1] == length
        export(clip.TextTower(self.model), tokens, text, "tokens", "embedding")
        words.write_text(self.tokenizer.to_str(), encoding="utf-8")
        return [image, text, words]

    def evaluate(self, held_out: int) -> Figures:
        result: Figures = {}
        pairs = held_out_pairs(held_out, self.corpus.pixels.shape[1])
        images = clip.embed(self.model, self.config, list(pairs.pixels))
        for column, name in enumerate(("full captions", "free captions")):
            texts = clip.embed_texts(
                self.model, self.tokenizer, [str(caption) for caption in pairs.captions[:, column]]
            )
            found = {f"image by text {figure}": value for figure, value in clip.recalls(texts, images).items()}
            found |= {f"text by image {figure}": value for figure, value in clip.recalls(images, texts).items()}
            result |= {f"{name}: {figure}": value for figure, value in found.items()}
        return result


class ShapesJob:
    def __init__(self, corpus: Corpus, seed: int, config: detector.DetectorConfig) -> None:
        self.corpus, self.config = corpus, config
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = detector.Detector(config).to(memory_format=torch.channels_last)

    def loss(self, seed: int, step: int, batch: int) -> Tensor:
        rng = np.random.default_rng([seed, step])
        chosen = rng.choice(len(self.corpus), batch, replace=False)
        x, boxes = detector.augmented(rng, self.corpus.pixels[chosen], self.corpus.boxes[chosen])
        return detector.detector_loss(self.model, x, boxes)

    def export(self, out: Path) -> list[Path]:
        round_to_half(self.model)
        path = out / "shapes.onnx"
        size = self.config.image_size
        example = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        export(self.model, example, path, "images", "predictions")
        return [path]

    @torch.no_grad()
    def _found(
        self, pictures: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], threshold: float
    ) -> list[figures.Floats]:
        self.model.eval()
        rows: list[figures.Floats] = []
        for first in range(0, len(pictures), 32):
            x = torch.from_numpy(pictures[first : first + 32]).permute(0, 3, 1, 2).float() / 255
            rows += [figures.detections(output, threshold, NMS_IOU) for output in self.model(x).numpy()]
        return rows

    def evaluate(self, held_out: int) -> Figures:
        scenes = held_out_shapes(held_out, self.config.image_size)
        found = self._found(scenes.pixels, 0.02)
        truth = [boxes[boxes[:, 4] >= 0] for boxes in scenes.boxes]
        precision = {label: figures.average_precision(found, truth, number) for number, label in enumerate(LABELS)}
        result = {"mAP50": float(np.nanmean(list(precision.values())))}
        result |= {f"AP50 {label}": value for label, value in precision.items()}
        photographs = [pixels for name, pixels in held_out_photographs().items() if name != "page.png"]
        crops = np.stack([clip.prepare(pixels, self.config.image_size) for pixels in photographs])
        false = self._found(crops, 0.3)
        for threshold in (0.3, 0.4, 0.5, 0.6):
            result[f"false detections a photograph at {threshold}"] = float(
                np.mean([(rows[:, 4] >= threshold).sum() for rows in false])
            )
        return result


RECIPES: dict[str, Recipe] = {
    "clip-embedded": Recipe(
        job=lambda corpus, seed: ClipJob(corpus, seed, clip.ClipConfig()),
        mix=CLIP_MIX,
        side=144,
        scenes=10_000,
        steps=3_000,
        batch=128,
        rate=1.5e-3,
        held_out=1_000,
    ),
    "shapes-embedded": Recipe(
        job=lambda corpus, seed: ShapesJob(corpus, seed, detector.DetectorConfig()),
        mix=DETECTOR_MIX,
        side=256,
        scenes=5_000,
        steps=2_500,
        batch=24,
        rate=2e-3,
        held_out=300,
    ),
}
