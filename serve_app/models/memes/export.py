"""A trained MemeTector as an ONNX file: half-precision weights, the score and the attention as outputs."""

from __future__ import annotations

import io
import logging
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from serve_app.models.embedded.export import as_stored, halve
from serve_app.models.memes.fit import Trained
from serve_app.models.memetector import ATTENTION, INPUT, SCORE, MemeTector
from serve_app.models.onnx_export import trace
from serve_app.models.sessions import open_session

TOLERANCE = 1e-3


class _Scored(nn.Module):
    def __init__(self, model: MemeTector) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, attention = self.model(x)
        return logits.sigmoid(), attention


def export_memes(trained: Trained, path: Path) -> float:
    """Write ``path`` when it is whole and agrees with torch; the largest deviation of scores and attention.

    The mean and the deviation of the training pictures stand in the file's metadata, as ``mean`` and ``std``. Raises
    ValueError when ONNX Runtime deviates from torch by more than TOLERANCE.
    """
    module = _Scored(as_stored(trained.model)).eval()
    side = trained.model.config.side
    example = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    model = halve(_traced(module, example))
    _bare(model)
    said = {"mean": trained.mean, "std": trained.std}
    helper.set_model_props(model, {key: ",".join(f"{value:.4f}" for value in found) for key, found in said.items()})
    onnx.checker.check_model(model)
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(model.SerializeToString())
    with torch.no_grad():
        expected = [output.numpy() for output in module(example)]
    found = open_session(unfinished).run([SCORE, ATTENTION], {INPUT: example.numpy()})
    deviation = max(float(np.abs(one - two).max()) for one, two in zip(found, expected, strict=True))
    if deviation > TOLERANCE:
        raise ValueError(f"{path.name} deviates from torch by {deviation:.2g}")
    unfinished.replace(path)
    return deviation


def _traced(module: nn.Module, example: Tensor) -> onnx.ModelProto:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        model: onnx.ModelProto = trace(module, {INPUT: example}, [SCORE, ATTENTION]).model_proto
    return model


def _bare(model: onnx.ModelProto) -> None:
    """Without where in the source each node came from: that is half the file."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
