"""What happens in a clip: any network in ONNX for clips that a manifest row describes, SlowFast among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from serve_app.annotation.labels import Label
from serve_app.annotation.watch import Clips
from serve_app.models.manifest import LabelsFile, Model, Video
from serve_app.models.sessions import open_session, providers, warm

Floats = NDArray[np.float32]


class ActionRecognizer:
    """Prepare one clip, run a batch, finish one answer."""

    def __init__(self, spec: Video, labels: Sequence[str], session: InferenceSession) -> None:
        """Raises ValueError where the network takes or gives something else than the row says."""
        self._spec = spec
        self._labels = list(labels)
        self._session = session
        (given,), (made,) = session.get_inputs(), session.get_outputs()
        self._input = given.name
        wanted = (3, spec.frames, spec.crop, spec.crop)
        if tuple(given.shape[1:]) != wanted or made.shape[-1] != len(self._labels):
            raise ValueError(
                f"the network takes {given.shape} and gives {made.shape}, "
                f"the manifest says [N, {', '.join(map(str, wanted))}] and {len(self._labels)} labels"
            )
        # (x / 255 - mean) / std in one multiplication and one addition.
        mean, std = (np.asarray(values, np.float32).reshape(3, 1, 1, 1) for values in (spec.mean, spec.std))
        self._scale, self._shift = 1 / (255 * std), -mean / std

    @property
    def clips(self) -> Clips:
        """How the clips are cut out of a video."""
        return Clips(self._spec.frames, self._spec.short_side, self._spec.crop, self._spec.window_s)

    def prepare(self, pixels: NDArray[np.uint8]) -> Floats:
        """RGB uint8 [T, crop, crop, 3] as float32 [3, frames, crop, crop]; of another T, ``frames`` uniform ones.

        Raises ValueError for another shape or type, and for no frames at all.
        """
        crop = self._spec.crop
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (crop, crop, 3) or not len(pixels):
            raise ValueError(f"a clip is uint8 [T, {crop}, {crop}, 3], not {pixels.dtype} {list(pixels.shape)}")
        frames = self._spec.frames
        if len(pixels) != frames:
            # Both ends and even steps, cut to whole frames, as the reference samples (UniformTemporalSubsample).
            pixels = pixels[np.linspace(0, len(pixels) - 1, frames).astype(np.int64)]
        tensor = np.empty((3, frames, crop, crop), np.float32)
        np.multiply(pixels.transpose(3, 0, 1, 2), self._scale, out=tensor)
        tensor += self._shift
        return tensor

    def run(self, batch: Floats | Sequence[Floats]) -> Floats:
        """Probabilities, float32 [N, classes], of prepared clips [N, 3, frames, crop, crop]."""
        if not len(batch):
            return np.empty((0, len(self._labels)), np.float32)
        found: Floats = self._session.run(None, {self._input: np.asarray(batch, np.float32)})[0]
        return found

    def finish(self, row: Floats) -> list[Label]:
        """The labels of one clip's probabilities, best first: at most ``top``, none below ``threshold``."""
        best = np.argsort(-row, kind="stable")[: self._spec.top]
        # A network that overflowed answers NaN, which is not at least anything.
        return [Label(self._labels[i], min(1.0, float(row[i]))) for i in best if row[i] >= self._spec.threshold]


def load_actions(model: Model, files: Mapping[str, Path], threads: int = 0) -> ActionRecognizer:
    """Open the network of a manifest row whose ``files`` (logical name -> path) are on this machine, and run it once.

    Where ONNX Runtime has a GPU, the file ``half`` is taken if the row has one: it computes in float16.
    """
    if model.video is None:
        raise ValueError(f"{model.name} has no video section")
    labels = model.video.labels
    if isinstance(labels, LabelsFile):
        labels = files[labels.file].read_text(encoding="utf-8").splitlines()
    on_gpu = providers()[0][0].startswith("CUDA")
    session = open_session(files["half" if on_gpu and "half" in files else "weights"], threads)
    recognizer = ActionRecognizer(model.video, labels, session)
    warm(session)
    return recognizer
