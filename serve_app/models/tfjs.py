"""Networks that were published for TensorFlow.js (``model.json`` and its shards of weights) as ONNX.

Reads Keras layers models of the operations in ``LAYERS``; anything else is refused. Nothing of the files is executed.
The format: https://github.com/tensorflow/tfjs/blob/master/tfjs-core/src/io/types.ts (``WeightsManifestEntry``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPSET = 18
MAX_BYTES = 200_000_000
TYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "uint8": np.dtype("u1"), "uint16": np.dtype("<u2")}

Floats = NDArray[np.float32]


def convert_tfjs(model_json: Path, shards: Sequence[Path], out: Path) -> None:
    """Write the network as ONNX: ``pixels`` float32 [N, 3, H, W] (NCHW, whatever it was) to ``output``, any N.

    Raises ValueError where the files are no such network, or one with operations that are not known here.
    """
    import onnx

    wrong = (onnx.checker.ValidationError, onnx.shape_inference.InferenceError)
    data = b"".join(shard.read_bytes() for shard in shards if shard.stat().st_size <= MAX_BYTES)
    try:
        published = json.loads(model_json.read_text(encoding="utf-8"))
    except ValueError:
        raise ValueError(f"{model_json.name} is no JSON text") from None
    try:
        network = _Network(_weights(published["weightsManifest"], data))
        graph = network.graph(published["modelTopology"]["model_config"]["config"])
        made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=9)
        onnx.checker.check_model(made, full_check=True)
    except (KeyError, IndexError, TypeError, AttributeError, *wrong) as error:
        raise ValueError(f"{model_json.name} is no TensorFlow.js layers model: {error!r}"[:400]) from None
    onnx.save(made, str(out))


def _weights(manifest: list[dict[str, Any]], data: bytes) -> dict[str, Floats]:
    """Name -> values. Quantised values are ``min + scale * q``."""
    found: dict[str, Floats] = {}
    at = 0
    for entry in (entry for group in manifest for entry in group["weights"]):
        quantised = entry.get("quantization")
        kind = TYPES[quantised["dtype"] if quantised else entry["dtype"]]
        count = prod(entry["shape"])
        if min(entry["shape"], default=1) < 0 or at + count * kind.itemsize > len(data):
            raise ValueError(f"the shards end within {entry['name']}")
        values = np.frombuffer(data, kind, count, at).reshape(entry["shape"]).astype(np.float32)
        if quantised:
            values = values * np.float32(quantised["scale"]) + np.float32(quantised["min"])
        found[entry["name"]] = values
        at += count * kind.itemsize
    if at != len(data):
        raise ValueError(f"the shards have {len(data)} bytes, the weights {at}")
    return found


class _Network:
    """Collects nodes and weights, layer by layer; Keras counts axes NHWC, the graph is NCHW."""

    def __init__(self, weights: dict[str, Floats]) -> None:
        self.weights = weights
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def graph(self, config: dict[str, Any]) -> Any:
        from onnx import TensorProto, helper

        outputs: dict[str, str] = {}
        shape: list[int | None] = []
        for layer in config["layers"]:
            kind, settings = layer["class_name"], layer["config"]
            if kind == "InputLayer":
                shape, outputs[settings["name"]] = settings["batch_input_shape"], "pixels"
                continue
            if kind not in LAYERS:
                raise ValueError(f"its layer {settings['name']} is a {kind}, which is not known here")
            if settings.get("data_format", "channels_last") != "channels_last":
                raise ValueError(f"its layer {settings['name']} does not count channels last")
            taken = [outputs[name] for name, *_ in layer["inbound_nodes"][0]]
            outputs[settings["name"]] = LAYERS[kind](self, settings, taken)
        self.node("Identity", [outputs[config["output_layers"][0][0]]], "output")
        _, height, width, channels = shape
        pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", channels, height, width])
        output = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", None])
        return helper.make_graph(self.nodes, "tfjs", [pixels], [output], self.constants)

    def node(self, operation: str, inputs: list[str], name: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(operation, inputs, [name], name=f"{name}/{operation}", **attributes))
        return name

    def constant(self, name: str, values: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def weight(self, layer: str, name: str, order: tuple[int, ...] | None = None) -> str:
        values = self.weights[f"{layer}/{name}"]
        return self.constant(f"{layer}/{name}", values if order is None else values.transpose(order))

    def activated(self, settings: dict[str, Any], name: str) -> str:
        operations = {"linear": None, "relu": "Relu", "softmax": "Softmax", "sigmoid": "Sigmoid"}
        operation = operations[settings["activation"]]
        return self.node(operation, [name], settings["name"]) if operation else name


def _pad(network: _Network, settings: dict[str, Any], taken: list[str]) -> str:
    (top, bottom), (left, right) = settings["padding"]
    pads = network.constant(f"{settings['name']}/pads", np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
    return network.node("Pad", [*taken, pads], settings["name"])


def _convolve(network: _Network, settings: dict[str, Any], taken: list[str]) -> str:
    name = settings["name"]
    kernel = network.weight(name, "kernel", (3, 2, 0, 1))
    return _convolved(network, settings, [*taken, kernel], 1)


def _convolve_depthwise(network: _Network, settings: dict[str, Any], taken: list[str]) -> str:
    name = settings["name"]
    height, width, channels, each = network.weights[f"{name}/depthwise_kernel"].shape
    kernel = network.weights[f"{name}/depthwise_kernel"].transpose(2, 3, 0, 1)
    filters = network.constant(f"{name}/depthwise_kernel", kernel.reshape(channels * each, 1, height, width))
    return _convolved(network, settings, [*taken, filters], channels)


def _convolved(network: _Network, settings: dict[str, Any], inputs: list[str], groups: int) -> str:
    name = settings["name"]
    if settings["use_bias"]:
        inputs = [*inputs, network.weight(name, "bias")]
    padding = {"same": "SAME_UPPER", "valid": "VALID"}[settings["padding"]]
    options = {"auto_pad": padding, "group": groups, "strides": settings["strides"]}
    options["dilations"] = settings.get("dilation_rate", [1, 1])
    linear = settings["activation"] == "linear"
    made = network.node("Conv", inputs, name if linear else f"{name}/conv", **options)
    return network.activated(settings, made)


def _normalise(network: _Network, settings: dict[str, Any], taken: list[str]) -> str:
    name = settings["name"]
    if settings["axis"] not in (-1, 3, [3]) or not (settings["scale"] and settings["center"]):
        raise ValueError(f"its layer {name} normalises in a way that is not known here")
    parts = [network.weight(name, part) for part in ("gamma", "beta", "moving_mean", "moving_variance")]
    return network.node("BatchNormalization", [*taken, *parts], name, epsilon=settings["epsilon"])


def _rectify(network: _Network, settings: dict[str, Any], taken: list[str]) -> str:
    name, most = settings["name"], settings.get("max_value")
    if settings.get("negative_slope") or settings.get("threshold"):
        raise ValueError(f"its layer {name} is no plain ReLU")
    if most is None:
        return network.node("Relu", taken, name)
    bounds = {"least": 0.0, "most": most}
    ends = [network.constant(f"{name}/{end}", np.array(value, np.float32)) for end, value in bounds.items()]
    return network.node("Clip", [*taken, *ends], name)


def _pool(network: _Network, settings: dict[str, Any], taken: list[str]) -> str:
    padding = {"same": "SAME_UPPER", "valid": "VALID"}[settings["padding"]]
    options = {"kernel_shape": settings["pool_size"], "strides": settings["strides"], "auto_pad": padding}
    return network.node("AveragePool", taken, settings["name"], **options)


def _flatten(network: _Network, settings: dict[str, Any], taken: list[str]) -> str:
    last = network.node("Transpose", taken, f"{settings['name']}/nhwc", perm=[0, 2, 3, 1])
    return network.node("Flatten", [last], settings["name"])


def _connect(network: _Network, settings: dict[str, Any], taken: list[str]) -> str:
    name = settings["name"]
    inputs = [*taken, network.weight(name, "kernel")]
    if settings["use_bias"]:
        inputs.append(network.weight(name, "bias"))
    linear = settings["activation"] == "linear"
    return network.activated(settings, network.node("Gemm", inputs, name if linear else f"{name}/gemm"))


LAYERS: dict[str, Callable[[_Network, dict[str, Any], list[str]], str]] = {
    "ZeroPadding2D": _pad,
    "Conv2D": _convolve,
    "DepthwiseConv2D": _convolve_depthwise,
    "BatchNormalization": _normalise,
    "ReLU": _rectify,
    "Add": lambda network, settings, taken: network.node("Sum", taken, settings["name"]),
    "AveragePooling2D": _pool,
    "GlobalAveragePooling2D": lambda network, settings, taken: network.node(
        "ReduceMean", [*taken, network.constant(f"{settings['name']}/axes", np.array([2, 3]))], settings["name"],
        keepdims=0,
    ),
    "Flatten": _flatten,
    "Dense": _connect,
    "Dropout": lambda network, settings, taken: taken[0],
}  # fmt: skip
