"""Torch modules to ONNX files with a dynamic batch, weights stored in half precision and computed in single."""

from __future__ import annotations

import copy
import hashlib
import io
import logging
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from serve_app.models.onnx_export import trace
from serve_app.models.sessions import open_session

Module = TypeVar("Module", bound=nn.Module)
_LEAST_VALUES = 256  # smaller tensors stay in single precision: nothing to gain
TOLERANCE = 1e-3


def halve(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store every float32 initialiser of two or more dimensions as float16 behind a Cast; the graph still computes in
    float32, and a runtime folds the Casts once when it loads the file.
    """
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2 or np.prod(tensor.dims) < _LEAST_VALUES:
            continue
        name = tensor.name
        stored = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), name + "_half")
        tensor.CopyFrom(stored)
        casts.append(helper.make_node("Cast", [name + "_half"], [name], to=TensorProto.FLOAT, name=name + "_single"))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def as_stored(module: Module) -> Module:
    """A copy for inference that computes what :func:`halve` will store: normalisations folded into the convolutions
    before them, as the exporter would, and the weights then rounded to half precision.

    A normalisation belongs to the convolution that stands right before it among its parent's children.
    """
    module = copy.deepcopy(module).eval()
    for parent in list(module.modules()):
        for (name, child), (after, norm) in pairwise(list(parent.named_children())):
            if isinstance(child, nn.Conv2d | nn.Conv3d) and isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d):
                setattr(parent, name, fuse_conv_bn_eval(child, norm))
                setattr(parent, after, nn.Identity())
    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim >= 2 and weight.numel() >= _LEAST_VALUES:
                weight.copy_(weight.half().float())
    return module


def _rename_output(model: onnx.ModelProto, name: str) -> None:
    """Call the only output ``name``; an inner value that happens to be called so gives way."""
    graph = model.graph
    renamed = {name: f"{name}_inner", graph.output[0].name: name}
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [renamed.get(value, value) for value in values]
    graph.output[0].name = name


def export(
    module: nn.Module,
    example: Tensor,
    path: Path,
    input_name: str,
    output_name: str,
    metadata: Mapping[str, float] | None = None,
) -> float:
    """Write ``module`` as ONNX, replacing ``path`` only when it is whole and agrees with torch; the largest deviation.

    ``example`` is a batch of two or more; ``metadata`` is written into the file as it is. Raises ValueError when ONNX
    Runtime deviates from torch by more than TOLERANCE, relative to values above one.
    """
    module = module.eval()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = trace(module, {input_name: example})
    model = halve(program.model_proto)
    _rename_output(model, output_name)
    for node in model.graph.node:
        del node.metadata_props[:]  # where in the source a node came from: half the file, and nobody's business
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    helper.set_model_props(model, {key: repr(float(value)) for key, value in (metadata or {}).items()})
    onnx.checker.check_model(model)
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(model.SerializeToString())
    with torch.no_grad():
        expected = module(example).numpy()
    found = open_session(unfinished).run(None, {input_name: example.numpy()})[0]
    deviation = float((np.abs(found - expected) / np.maximum(1.0, np.abs(expected))).max())
    if deviation > TOLERANCE:
        raise ValueError(f"{path.name} deviates from torch by {deviation:.2g}")
    unfinished.replace(path)
    return deviation


def fingerprint(path: Path) -> tuple[int, str]:
    """Bytes and SHA-256 of a file."""
    data = path.read_bytes()
    return len(data), hashlib.sha256(data).hexdigest()
