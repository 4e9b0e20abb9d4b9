"""What makes a face comparable: any network in ONNX that turns a crop of a face into a vector and that a manifest row
describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from serve_app.annotation.face_crops import KeptFace, Opened
from serve_app.annotation.labels import FoundFace
from serve_app.errors import Problem
from serve_app.models.manifest import Descriptor, Model

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["Described", "FaceDescriptor", "KeptFace", "Prepared", "load_descriptor"]

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Described:
    """The faces of one picture: ``vectors`` float32 [n, D] of length 1, and ``crops``, one for each."""

    vectors: Floats
    crops: list[KeptFace]


@dataclass(frozen=True)
class Prepared:
    """One face: ``tensor``, RGB uint8 [side, side, 3], is what ``run`` takes, ``kept`` what may be stored."""

    tensor: Pixels
    kept: KeptFace


class FaceDescriptor:
    """Prepare the faces of one picture, run a batch of faces, finish one vector."""

    def __init__(self, spec: Descriptor, session: InferenceSession) -> None:
        """The first input and output of ``session`` count. Raises ValueError where they do not fit ``spec``."""
        self._spec, self._session = spec, session
        taken, given = session.get_inputs()[0], session.get_outputs()[0]
        self._input, self._output = taken.name, given.name
        self._one_by_one = isinstance(taken.shape[0], int)
        wanted = ("N", 3, spec.side, spec.side), ("N", spec.dim)
        for has, says in zip((taken.shape, given.shape), wanted, strict=True):
            fixed = zip(has[1:], says[1:], strict=False)
            if len(has) != len(says) or any(isinstance(side, int) and side != other for side, other in fixed):
                raise ValueError(f"the network has {has}, the manifest says {list(says)}")
        self._mean, self._std = (np.asarray(values, np.float32).reshape(3, 1, 1) for values in (spec.mean, spec.std))

    @property
    def dim(self) -> int:
        """The length of a vector, in numbers."""
        return self._spec.dim

    def prepare(self, data: bytes, faces: Sequence[FoundFace]) -> list[Prepared]:
        """The faces of one picture, which is decoded once; no faces need no picture.

        Raises ``Problem`` for what cannot be decoded, and for a face that cannot be cut out: one that lies outside, or
        one without landmarks where the row aligns by them.
        """
        opened = Opened(data) if faces else None
        return [Prepared(opened.cut(face, self._spec), opened.keep(face)) for face in faces if opened]

    def run(self, batch: Sequence[Pixels]) -> Floats:
        """What the network says of faces, RGB uint8 [side, side, 3] each: float32 [N, D], of any length.

        A network that was exported for one face is called once for each.
        """
        if not len(batch):
            return np.empty((0, self._spec.dim), np.float32)
        tensors = np.stack(batch).transpose(0, 3, 1, 2).astype(np.float32)
        if self._spec.colour == "bgr":
            tensors = tensors[:, ::-1]
        tensors = np.ascontiguousarray((tensors - self._mean) / self._std)
        groups = np.split(tensors, len(tensors)) if self._one_by_one else [tensors]
        outputs = [self._session.run([self._output], {self._input: group})[0] for group in groups]
        return np.concatenate(outputs).astype(np.float32, copy=False)

    def finish(self, row: Floats) -> Floats:
        """One vector [D] brought to length 1; ``Problem`` where the network overflowed or gave nothing."""
        length = float(np.linalg.norm(row.astype(np.float64)))
        if not np.isfinite(length) or length == 0:
            raise Problem("internal", "the face descriptor's answer has no direction")
        return (row / length).astype(np.float32)

    def warm(self) -> None:
        """Run one blank face; raises ValueError where the vector is not as long as the row says."""
        made = self.run([np.zeros((self._spec.side, self._spec.side, 3), np.uint8)])
        if made.shape != (1, self._spec.dim):
            raise ValueError(f"the network gives {list(made.shape)} for one face, the manifest says dim {self.dim}")


def load_descriptor(model: Model, files: Mapping[str, Path], threads: int = 0) -> FaceDescriptor:
    """Open the face descriptor of a manifest row whose ``files`` (logical name -> path) are on this machine."""
    if model.descriptor is None:
        raise ValueError(f"{model.name} has no descriptor section")
    # Here, not above: graphs import this file for what it answers with, and have no use for ONNX Runtime.
    from serve_app.models.sessions import open_session

    return FaceDescriptor(model.descriptor, open_session(files["weights"], threads))
