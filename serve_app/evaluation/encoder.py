"""The embedded CLIP on pairs and photographs held out, through the reading of its files that serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serve_app.evaluation.photographs import CHANGES, Pixels, changed, encoded
from serve_app.evaluation.report import Figures, Tell, counted, say_nothing
from serve_app.models.embedded.held_out import held_out_pairs
from serve_app.models.manifest import Model
from serve_app.models.sessions import open_session
from serve_app.retrieval.encoder import ImageTower, TextTower

SIDE = 144  # of the generated pictures: a little more than the towers look at
Vectors = NDArray[np.float32]


class Towers:
    """Both towers of a manifest's row with the weights in ``files`` (logical name -> path)."""

    def __init__(self, model: Model, files: Mapping[str, Path], threads: int = 0) -> None:
        if model.clip is None:
            raise ValueError(f"{model.name} has no clip section")
        self._image = ImageTower(model.clip, open_session(files["image"], threads))
        self._text = TextTower(model.clip, open_session(files["text"], threads), files["tokenizer"])

    def picture(self, pixels: Pixels) -> Vectors:
        """The unit vector [1, D] of a picture uint8 [H, W, 3] of any size."""
        return self._image.run([self._image.prepare(encoded(pixels))])

    def text(self, text: str) -> Vectors:
        """The unit vector [1, D] of a text."""
        return self._text.run([self._text.prepare(text).ids])


def recalls(queries: Vectors, targets: Vectors) -> Figures:
    """recall@1, @5, @10 where target i answers query i: the share of queries with at most k - 1 targets as near."""
    scores = queries @ targets.T
    rank = (scores >= scores.diagonal()[:, None]).sum(axis=1)  # ties count against us
    return {f"recall@{k}": float((rank <= k).mean()) for k in (1, 5, 10)}


def pair_figures(towers: Towers, count: int, tell: Tell = say_nothing) -> Figures:
    """Recall on ``count`` generated pairs held out, text to image and back, for whole captions and free ones."""
    result = Figures()
    tell("drawing scenes", 0, count)
    pairs = held_out_pairs(count, SIDE)
    images = np.concatenate([towers.picture(one) for one in counted(list(pairs.pixels), "encoding pictures", tell)])
    for column, name in enumerate(("full captions", "free captions")):
        captions = [str(caption) for caption in pairs.captions[:, column]]
        texts = np.concatenate([towers.text(one) for one in counted(captions, "encoding texts", tell)])
        result |= {f"{name}: image by text {figure}": value for figure, value in recalls(texts, images).items()}
        result |= {f"{name}: text by image {figure}": value for figure, value in recalls(images, texts).items()}
    return result


def photograph_figures(towers: Towers, photographs: Sequence[Pixels], tell: Tell = say_nothing) -> Figures:
    """For each change: how often a changed photograph is nearest to its own original among all of them."""
    originals = np.concatenate([towers.picture(one) for one in photographs])
    result = Figures()
    for change in counted(list(CHANGES), "looking for photographs", tell):
        queries = np.concatenate([towers.picture(changed(one, change)) for one in photographs])
        among = f"original among {len(photographs)} photographs"
        result[f"{among}, {change}: recall@1"] = recalls(queries, originals)["recall@1"]
    return result


def evaluate(
    model: Model, files: Mapping[str, Path], pairs: int, photographs: Sequence[Pixels], tell: Tell = say_nothing
) -> Figures:
    """The figures of ``pairs`` generated pairs, and of the originals of ``photographs``."""
    towers = Towers(model, files)
    return pair_figures(towers, pairs, tell) | photograph_figures(towers, photographs, tell)
