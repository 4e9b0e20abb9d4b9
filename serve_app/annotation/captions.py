"""One sentence about a picture: CoCa from ONNX, decoded greedily, token by token for a whole batch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel

from serve_app.annotation.labels import Label
from serve_app.errors import Problem
from serve_app.media.squares import square
from serve_app.models.manifest import Caption, Model
from serve_app.models.sessions import open_session

START, END = "<start_of_text>", "<end_of_text>"
PAD = 0
"""CLIP's vocabulary pads with its first token, an exclamation mark; like the reference, a sentence ends there too."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Sentence:
    """Token ids without the two ends, and the logarithms of the probabilities they were chosen with, the end's too."""

    tokens: list[int]
    chosen: list[float]


class Captioner:
    """Prepare one picture, run a batch, finish one answer."""

    def __init__(self, spec: Caption, sight: InferenceSession, step: InferenceSession, tokenizer: Tokenizer) -> None:
        """``sight`` and ``step`` are what :mod:`serve_app.models.coca` exports.

        Raises ValueError where they, the tokenizer and the row do not fit together.
        """
        self._spec, self._sight, self._step, self._tokenizer = spec, sight, step, tokenizer
        ends = tokenizer.token_to_id(START), tokenizer.token_to_id(END)
        if None in ends:
            raise ValueError(f"the tokenizer does not know {START} and {END}")
        self._start, self._end = ends
        shapes = {one.name: one.shape for one in [*sight.get_inputs(), *step.get_inputs()]}
        if shapes["pixels"][1:] != [3, spec.image_size, spec.image_size] or shapes["past"][4] < spec.max_tokens:
            raise ValueError(f"the networks take {shapes}, the manifest says {spec.image_size} px, {spec.max_tokens}")
        self._past = tuple(shapes["past"][1:])
        self._mean = np.asarray(spec.mean, np.float32).reshape(3, 1, 1)
        self._scale = 1 / (255 * np.asarray(spec.std, np.float32).reshape(3, 1, 1))

    def prepare(self, data: bytes) -> Floats:
        """Decode and normalise one picture to [3, S, S]; raises ``Problem`` for what cannot be decoded."""
        crop = square(data, self._spec.image_size, self._spec.resize, self._spec.interpolation)
        pixels = crop.astype(np.float32).transpose(2, 0, 1)
        return np.ascontiguousarray((pixels - 255 * self._mean) * self._scale)

    def run(self, batch: Sequence[Floats]) -> list[Sentence]:
        """The likeliest next token again and again, for every prepared picture, until each sentence has its end."""
        (sight,) = self._sight.run(["sight"], {"pixels": np.stack(batch)})
        made = [Sentence([], []) for _ in batch]
        open_ones = np.arange(len(batch))
        token = np.full(len(batch), self._start, np.int64)
        past = np.zeros((len(batch), *self._past), np.float32)
        for position in range(self._spec.max_tokens - 1):
            scores, own = self._step.run(
                ["scores", "own"],
                {"token": token, "position": np.array([position]), "past": past, "sight": sight},
            )
            past[..., position : position + 1, :] = own
            token = self._choose(scores, position + 1)
            for item, best, score in zip(open_ones, token, scores[np.arange(len(token)), token], strict=True):
                made[item].chosen.append(float(score))
                if best not in (self._end, PAD):
                    made[item].tokens.append(int(best))
            goes_on = (token != self._end) & (token != PAD)
            if not goes_on.any():
                break
            if not goes_on.all():
                open_ones, token, past, sight = open_ones[goes_on], token[goes_on], past[goes_on], sight[goes_on]
        return made

    def finish(self, sentence: Sentence) -> list[Label]:
        """The sentence with the geometric mean of its tokens' probabilities as confidence; none where it is empty."""
        if not np.isfinite(sentence.chosen).all():
            raise Problem("internal", "the answer of the network is not a number")
        text = self._text(sentence.tokens)
        return [Label(text, float(min(1.0, np.exp(np.mean(sentence.chosen)))))] if text else []

    def _choose(self, scores: Floats, length: int) -> NDArray[np.int64]:
        """The next token of each sentence of ``length`` tokens; it ends neither too early nor too late."""
        if length + 1 == self._spec.max_tokens:
            return np.full(len(scores), self._end, np.int64)
        if length < self._spec.min_tokens:
            scores = scores.copy()
            scores[:, self._end] = -np.inf
        best: NDArray[np.int64] = scores.argmax(axis=1)
        return best

    def _text(self, tokens: Sequence[int]) -> str:
        spelt = "".join(self._tokenizer.id_to_token(token) or "" for token in tokens if token != self._start)
        words = [ByteLevel().decode([word]) for word in spelt.split("</w>") if word]
        return re.sub(r" ([.,;:!?'])", r"\1", " ".join(" ".join(words).split()))


def load_captioner(model: Model, files: Mapping[str, Path], threads: int = 0) -> Captioner:
    """Open the captioner of a manifest row whose ``files`` (logical name -> path) are on this machine, run it once."""
    if model.caption is None:
        raise ValueError(f"{model.name} has no caption section")
    sight, step = (open_session(files[name], threads) for name in ("image", "text"))
    captioner = Captioner(model.caption, sight, step, Tokenizer.from_file(str(files["tokenizer"])))
    side = model.caption.image_size
    captioner.run([np.zeros((3, side, side), np.float32)])
    return captioner
