"""Memes by MemeTector, exported with its attention: what it looked at explains what it says."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from PIL import Image

from serve_app.errors import Problem
from serve_app.media import images
from serve_app.models.manifest import Model
from serve_app.models.sections import Meme
from serve_app.models.sessions import open_session

ENOUGH_SIDES = 2
"""A shorter side of this many times the network's input is as good as the whole picture: it is averaged away anyway."""
SHOWN_SIDE = 640
"""Longest side of the picture that explains a score."""
HEAT = np.array([(20, 20, 60), (150, 20, 110), (240, 80, 40), (255, 240, 120)], np.float32)
"""Colours of attention from none to the most."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Seen:
    """``score`` in [0, 1] that it is a meme; ``attention`` float32 [layers, grid, grid], each layer sums to 1."""

    score: float
    attention: Floats


class MemeDetector:
    """Prepare one picture, run a batch, finish one score; and show why."""

    def __init__(self, spec: Meme, session: InferenceSession) -> None:
        """Raises ValueError where the network does not take pictures of the row's side, or gives no attention."""
        self._spec, self._session = spec, session
        self._taken = session.get_inputs()[0]
        if list(self._taken.shape[1:]) != [3, spec.side, spec.side] or len(session.get_outputs()) != 2:
            raise ValueError(f"the network takes {self._taken.shape}, not ['N', 3, {spec.side}, {spec.side}]")

    def prepare(self, data: bytes) -> Floats:
        """Decode one picture, stretch and normalise it: float32 [3, side, side]; ``Problem`` for what is no picture."""
        side = self._spec.side
        info = images.inspect(data)
        longest, shortest = max(info.width, info.height), max(1, min(info.width, info.height))
        enough = ceil(ENOUGH_SIDES * side * longest / shortest)
        picture = images.decode(data, max_side=enough if longest > enough else None)
        image = Image.fromarray(picture.pixels).resize((side, side), Image.Resampling.BILINEAR)
        tensor = np.asarray(image, np.float32) - np.asarray(self._spec.mean, np.float32)
        return np.ascontiguousarray((tensor / np.asarray(self._spec.std, np.float32)).transpose(2, 0, 1))

    def run(self, batch: Sequence[Floats]) -> list[Seen]:
        """What the network says of each prepared picture, and where it looked."""
        scores, attention = self._session.run(None, {self._taken.name: np.stack(batch)})
        return [Seen(float(score), where) for score, where in zip(scores, attention, strict=True)]

    def finish(self, seen: Seen) -> float:
        """How sure it is that the picture is a meme, in [0, 1]."""
        if not np.isfinite(seen.score):
            raise Problem("internal", "the network's answer is not a number")
        return min(1.0, max(0.0, seen.score))

    def explain(self, data: bytes, seen: Seen) -> bytes:
        """The picture in grey under the attention in colours, the mean over the layers, as PNG."""
        picture = images.decode(data, max_side=SHOWN_SIDE)
        height, width = picture.pixels.shape[:2]
        weights = seen.attention.mean(axis=0)
        weights = weights / max(float(weights.max()), 1e-9)
        smooth = Image.fromarray(weights).resize((width, height), Image.Resampling.BICUBIC)
        heat = np.asarray(smooth, np.float32).clip(0, 1)
        stops = np.linspace(0, 1, len(HEAT))
        colours = np.stack([np.interp(heat, stops, HEAT[:, channel]) for channel in range(3)], axis=-1)
        grey = picture.pixels.mean(axis=2, keepdims=True)
        share = 0.25 + 0.5 * heat[..., None]
        made = Image.fromarray(((1 - share) * grey + share * colours).clip(0, 255).astype(np.uint8))
        buffer = io.BytesIO()
        made.save(buffer, "PNG")
        return buffer.getvalue()

    def warm(self) -> None:
        """Run one blank picture."""
        self.run([np.zeros((3, self._spec.side, self._spec.side), np.float32)])


def load_memes(model: Model, files: Mapping[str, Path], threads: int = 0) -> MemeDetector:
    """Open the network of a manifest row whose ``files`` (logical name -> path) are on this machine."""
    if model.meme is None:
        raise ValueError(f"{model.name} has no meme section")
    return MemeDetector(model.meme, open_session(files["weights"], threads))
