"""A network published for TensorFlow.js answers as torch does with the same numbers, and another file is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from serve_app.models.manifest import Model, load_manifest
from serve_app.models.pull import PullError, pull
from serve_app.models.sessions import open_session
from serve_app.models.store import Store
from serve_app.models.tfjs import convert_tfjs

CHANNELS_LAST = {"data_format": "channels_last"}
PLAIN = {**CHANNELS_LAST, "activation": "linear", "use_bias": False, "dilation_rate": [1, 1]}
LAYERS: list[tuple[str, str, dict[str, Any], list[str]]] = [
    ("InputLayer", "in", {"batch_input_shape": [None, 12, 12, 3]}, []),
    ("ZeroPadding2D", "pad", {**CHANNELS_LAST, "padding": [[0, 1], [0, 1]]}, ["in"]),
    ("Conv2D", "conv", {**PLAIN, "kernel_size": [3, 3], "strides": [2, 2], "padding": "valid"}, ["pad"]),
    ("BatchNormalization", "norm", {"axis": -1, "epsilon": 0.001, "scale": True, "center": True}, ["conv"]),
    ("ReLU", "relu", {"max_value": 6.0}, ["norm"]),
    ("DepthwiseConv2D", "deep", {**PLAIN, "kernel_size": [3, 3], "strides": [1, 1], "padding": "same"}, ["relu"]),
    ("Conv2D", "same", {**PLAIN, "use_bias": True, "activation": "relu", "strides": [2, 2], "padding": "same"}, ["in"]),
    ("Add", "add", {}, ["deep", "same"]),
    ("AveragePooling2D", "pool", {"pool_size": [3, 3], "strides": [3, 3], "padding": "valid"}, ["add"]),
    ("Flatten", "flat", CHANNELS_LAST, ["pool"]),
    ("Dense", "hidden", {"activation": "relu", "use_bias": True}, ["flat"]),
    ("Dropout", "drop", {"rate": 0.5}, ["hidden"]),
    ("Dense", "out", {"activation": "softmax", "use_bias": True}, ["drop"]),
]  # fmt: skip
SHAPES = {
    "conv/kernel": (3, 3, 3, 4), "norm/gamma": (4,), "norm/beta": (4,), "norm/moving_mean": (4,),
    "norm/moving_variance": (4,), "deep/depthwise_kernel": (3, 3, 4, 1), "same/kernel": (3, 3, 3, 4), "same/bias": (4,),
    "hidden/kernel": (16, 8), "hidden/bias": (8,), "out/kernel": (8, 5), "out/bias": (5,),
}  # fmt: skip


def published() -> tuple[dict[str, Any], bytes, dict[str, torch.Tensor]]:
    """``model.json``, one shard in which every other array is quantised, and the numbers meant."""
    rng = np.random.default_rng(5)
    entries, shard, meant = [], b"", {}
    for i, (name, shape) in enumerate(SHAPES.items()):
        values = rng.uniform(0.5, 2, shape) if "variance" in name else rng.normal(size=shape)
        entry: dict[str, Any] = {"name": name, "shape": list(shape), "dtype": "float32"}
        if i % 2:
            least, scale = float(values.min()), float(np.ptp(values)) / 255
            levels = np.round((values - least) / scale).astype(np.uint8)
            entry["quantization"] = {"min": least, "scale": scale, "dtype": "uint8"}
            shard += levels.tobytes()
            meant[name] = torch.tensor(least + scale * levels.astype(np.float64), dtype=torch.float32)
        else:
            shard += values.astype("<f4").tobytes()
            meant[name] = torch.tensor(values, dtype=torch.float32)
        entries.append(entry)
    layers = [
        {
            "class_name": kind,
            "config": {"name": name, **config},
            "inbound_nodes": [[[each, 0, 0, {}] for each in taken]],
        }
        for kind, name, config, taken in LAYERS
    ]
    config = {"layers": layers, "input_layers": [["in", 0, 0]], "output_layers": [["out", 0, 0]]}
    model = {
        "modelTopology": {"model_config": {"class_name": "Model", "config": config}},
        "weightsManifest": [{"paths": ["shard"], "weights": entries}],
    }
    return model, shard, meant


def reference(pixels: torch.Tensor, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """The same layers written down in torch's terms; Keras' kernels are [height, width, in, out]."""
    kernel = {name: values.permute(3, 2, 0, 1) for name, values in weights.items() if values.ndim == 4}
    found = functional.conv2d(functional.pad(pixels, (0, 1, 0, 1)), kernel["conv/kernel"], stride=2)
    mean, variance, gamma, beta = (
        weights[f"norm/{part}"] for part in ("moving_mean", "moving_variance", "gamma", "beta")
    )
    found = functional.relu6(functional.batch_norm(found, mean, variance, gamma, beta, eps=0.001))
    deep = weights["deep/depthwise_kernel"].permute(2, 3, 0, 1)
    found = functional.conv2d(found, deep, padding=1, groups=4)
    # TensorFlow's "same" at stride 2 on an even side pads one row and column, at the end.
    same = functional.conv2d(
        functional.pad(pixels, (0, 1, 0, 1)), kernel["same/kernel"], weights["same/bias"], stride=2
    )
    found = functional.avg_pool2d(found + same.relu(), 3)
    flat = found.permute(0, 2, 3, 1).flatten(1)
    hidden = (flat @ weights["hidden/kernel"] + weights["hidden/bias"]).relu()
    return (hidden @ weights["out/kernel"] + weights["out/bias"]).softmax(1)


def write(folder: Path, model: Any, shard: bytes) -> tuple[Path, list[Path]]:
    folder.mkdir(exist_ok=True)
    (folder / "model.json").write_text(model if isinstance(model, str) else json.dumps(model))
    (folder / "group1-shard1of1").write_bytes(shard)
    return folder / "model.json", [folder / "group1-shard1of1"]


@pytest.mark.parametrize("batch", [1, 3])
def test_it_answers_as_torch_with_the_same_numbers(tmp_path: Path, batch: int) -> None:
    model, shard, meant = published()
    convert_tfjs(*write(tmp_path, model, shard), tmp_path / "made.onnx")
    pixels = torch.tensor(np.random.default_rng(1).random((batch, 3, 12, 12), np.float32))
    (found,) = open_session(tmp_path / "made.onnx", 1).run(None, {"pixels": pixels.numpy()})
    expected = reference(pixels, meant).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert expected.std() > 0.05, "answers of no spread would agree with anything"


def test_it_is_pulled_and_converted_by_its_row(tmp_path: Path) -> None:
    model, shard, _ = published()
    write(tmp_path / "from", model, shard)
    row = load_manifest().models["nsfwjs-mobilenet-v2"].model_dump(by_alias=True)
    for file in ("topology", "shard"):
        row["files"][file] |= {"sha256": None, "bytes": None}
    served = Model.model_validate(row)
    store = Store(tmp_path / "home")
    pulled = {one.file: one.origin for one in pull(store, [served], from_dir=tmp_path / "from")}
    assert pulled == {"topology": "copied", "shard": "copied", "weights": "converted"}
    given = open_session(store.locate(served)["weights"], 1).get_inputs()[0]
    assert given.shape == ["N", 3, 12, 12]
    (tmp_path / "from" / "group1-shard1of1").write_bytes(shard[:-1])
    with pytest.raises(PullError, match=r"nsfwjs-mobilenet-v2@4\.4\.0: the shards end within out/bias"):
        pull(Store(tmp_path / "other"), [served], from_dir=tmp_path / "from")


def layer(model: dict[str, Any], name: str) -> dict[str, Any]:
    layers: list[dict[str, Any]] = model["modelTopology"]["model_config"]["config"]["layers"]
    return next(each for each in layers if each["config"]["name"] == name)


def weight(model: dict[str, Any], index: int) -> dict[str, Any]:
    entry: dict[str, Any] = model["weightsManifest"][0]["weights"][index]
    return entry


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no layers": (lambda model: model["modelTopology"].pop("model_config"), "no TensorFlow.js layers model"),
    "no weights": (lambda model: model.pop("weightsManifest"), "no TensorFlow.js layers model"),
    "unknown layer": (lambda model: layer(model, "add").update(class_name="Lambda"), "its layer add is a Lambda"),
    "unknown activation": (
        lambda model: layer(model, "out")["config"].update(activation="gelu"), "no TensorFlow.js layers model"
    ),
    "channels first": (
        lambda model: layer(model, "conv")["config"].update(data_format="channels_first"), "count channels last"
    ),
    "no such input": (
        lambda model: layer(model, "add").update(inbound_nodes=[[["nowhere", 0, 0, {}]]]), "no TensorFlow.js layers"
    ),
    "a weight less": (lambda model: model["weightsManifest"][0]["weights"].pop(), "the shards have"),
    "a huge weight": (lambda model: weight(model, 0).update(shape=[10**6] * 4), "the shards end within conv/kernel"),
    "a negative weight": (lambda model: weight(model, 0).update(shape=[-3, 3, 3, 4]), "end within conv/kernel"),
    "a wrong shape": (lambda model: weight(model, -2).update(shape=[4, 10]), "no TensorFlow.js layers model"),
}  # fmt: skip


@pytest.mark.parametrize("how", FAULTS)
def test_another_network_is_refused(tmp_path: Path, how: str) -> None:
    model, shard, _ = published()
    spoil, message = FAULTS[how]
    spoil(model)
    with pytest.raises(ValueError, match=message):
        convert_tfjs(*write(tmp_path, model, shard), tmp_path / "made.onnx")
    assert not (tmp_path / "made.onnx").exists()


@pytest.mark.parametrize("text", ["", "<html>", "[]", "3", "{}"])
def test_what_is_no_network_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"model\.json"):
        convert_tfjs(*write(tmp_path, text, b""), tmp_path / "made.onnx")
