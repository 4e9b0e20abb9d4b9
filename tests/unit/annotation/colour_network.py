"""A detector that is small enough to be built here and still sees: it tells red cells from green ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

CELLS, CELL = 4, 8
SPEC: dict[str, Any] = {
    "input": (32, 32), "resize": "stretch", "colour": "rgb", "mean": (0, 0, 0), "std": (255, 255, 255),
    "layout": "yolo", "labels": ["red", "green"], "threshold": 0.8, "nms_iou": 0.45,
}  # fmt: skip


def colour_network(batch: int | str) -> bytes:
    """Input [batch, 3, 32, 32] in 0..1; output [batch, 6, 16], layout yolo: the mean red and green of each cell."""
    y, x = np.divmod(np.arange(CELLS**2), CELLS)
    places = np.stack([(x + 0.5) * CELL, (y + 0.5) * CELL, np.full(16, CELL), np.full(16, CELL)])
    constants = {
        "shape": np.array([0, 3, CELLS**2], np.int64),
        "parts": np.array([2, 1], np.int64),
        "places": places[None].astype(np.float32),
        "none": np.zeros(1, np.float32),
    }
    nodes = [
        helper.make_node("AveragePool", ["pixels"], ["pooled"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
        helper.make_node("Reshape", ["pooled", "shape"], ["cells"]),
        helper.make_node("Split", ["cells", "parts"], ["classes", "rest"], axis=1),
        helper.make_node("Mul", ["rest", "none"], ["nothing"]),
        helper.make_node("Add", ["nothing", "places"], ["boxes"]),
        helper.make_node("Concat", ["boxes", "classes"], ["output"], axis=1),
    ]
    graph = helper.make_graph(
        nodes, "colours",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [batch, 3, 32, 32])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, 6, 16])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def session_of(network: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
