"""A second encoder of another dimension for tests, without any download.

It stands where the manifest's 768-d encoder keeps its converted weights. Both towers are the embedded ones with an
isometry to 768 dimensions behind them, so that they find about what those find; pictures are brought to the size that
those read.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from serve_app.models.manifest import Model, load_manifest
from serve_app.models.store import Store

OWN = "clip-embedded"
OTHER = "siglip2-vit-b-16"


def model(name: str = OTHER) -> Model:
    return load_manifest().models[name]


def install(home: Path) -> None:
    """Write the towers into ``home``, as a pull would have converted them."""
    row, own, store = model(), model(OWN), Store(home)
    assert row.clip is not None
    assert own.clip is not None
    store.folder(row).mkdir(parents=True)
    embedded = store.locate(own)
    shutil.copy(embedded["tokenizer"], store.path(row, "tokenizer"))
    onnx.save(_widened(onnx.load(embedded["text"]), row.clip.dim), store.path(row, "text"))
    image = _widened(onnx.load(embedded["image"]), row.clip.dim)
    onnx.save(_resized(image, own.clip.image_size, row.clip.image_size), store.path(row, "image"))
    for logical in ("checkpoint", "vocabulary"):
        store.path(row, logical).write_text(json.dumps({"of": "a test"}))


def _widened(network: onnx.ModelProto, dim: int) -> onnx.ModelProto:
    """``network`` with a matrix of orthonormal rows behind its output, which keeps every cosine."""
    graph = network.graph
    narrow = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    square, _ = np.linalg.qr(np.random.default_rng(5).standard_normal((dim, dim)))
    for node in graph.node:
        node.output[:] = ["narrow" if name == "embedding" else name for name in node.output]
        node.input[:] = ["narrow" if name == "embedding" else name for name in node.input]
    graph.initializer.append(numpy_helper.from_array(square[:narrow].astype(np.float32), "isometry"))
    graph.node.append(helper.make_node("MatMul", ["narrow", "isometry"], ["embedding"]))
    graph.output[0].type.tensor_type.shape.dim[1].dim_value = dim
    return network


def _resized(network: onnx.ModelProto, inside: int, outside: int) -> onnx.ModelProto:
    """``network`` for pixels [N, 3, ``outside``, ``outside``], with twice the standard deviation of its own."""
    graph = network.graph
    for node in graph.node:
        node.input[:] = ["small" if name == "pixels" else name for name in node.input]
    sizes = np.asarray([inside / outside] * 2, np.float32)
    graph.initializer.append(numpy_helper.from_array(np.concatenate([[1, 1], sizes]).astype(np.float32), "scales"))
    graph.initializer.append(numpy_helper.from_array(np.asarray(2, np.float32), "twice"))
    shrink = helper.make_node("Resize", ["pixels", "", "scales"], ["shrunk"], mode="linear", antialias=1)
    graph.node.insert(0, helper.make_node("Mul", ["shrunk", "twice"], ["small"]))
    graph.node.insert(0, shrink)
    shape = [graph.input[0].type.tensor_type.shape.dim[0].dim_param or "batch", 3, outside, outside]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)
    graph.input[0].CopyFrom(pixels)
    return network
