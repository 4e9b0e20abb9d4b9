"""Towers of 512 dimensions for searches through HTTP without any download.

They stand where the manifest's 512-d encoder keeps its converted weights, in the home of one benchmark. The text tower
is the embedded one with a fixed isometry to 512 dimensions behind it, so that encoding a query costs what it costs in
the embedded profile; the image tower only passes the warm-up.
"""

from __future__ import annotations

import hashlib
import shutil
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

from serve_app.models.convert import export_clip
from serve_app.models.manifest import Model, load_manifest
from serve_app.models.store import Store
from serve_app.models.vocabulary import from_open_clip
from tests.benchmarks import bare
from tests.benchmarks.report import ROOT
from tests.cluster.conftest import Service

NAME = "clip-vit-b-32-openai"
CHECKPOINT = b"-"
"""In the place of the weights that the towers would have been converted from."""
PLACES = 4093
"""Rows of the table of chosen vectors; a prime, so that texts spread over it."""


def model() -> Model:
    return load_manifest().models[NAME]


def texts(number: int) -> list[str]:
    """Texts of which no two share a place in the table of ``install``."""
    found, taken = list[str](), set[int]()
    for text in (f"picture number {i}" for i in count()):
        if len(found) == number:
            return found
        if (place := _place(text)) not in taken:
            taken.add(place)
            found.append(text)
    raise AssertionError("unreachable")


def install(running: Service, chosen: dict[str, NDArray[np.float32]] | None = None) -> None:
    """Write the towers into the home of a service that is not started yet, as the manifest's 512-d encoder.

    ``chosen`` says what the text tower answers for some of ``texts``, after as much work as for any other.
    """
    row, files = model(), _made_room(running)
    embedded = bare.encoder_files()
    shutil.copy(embedded["tokenizer"], files["tokenizer"])
    assert row.clip is not None
    onnx.save(_answering(_widened(onnx.load(embedded["text"]), row.clip.dim), chosen or {}), files["text"])
    onnx.save(_means(row.clip.image_size, row.clip.dim), files["image"])


def install_untrained(running: Service) -> None:
    """Likewise, but the real towers of that encoder, with random weights: they cost what the trained ones cost."""
    import open_clip

    row = model()
    _made_room(running)
    assert row.clip is not None
    untrained = open_clip.create_model(row.clip.architecture, pretrained=None)
    export_clip(untrained.eval(), from_open_clip(row.clip.context_length), Store(running.home).folder(row))


def _made_room(running: Service) -> dict[str, Path]:
    """Where the files of the encoder belong; the checkpoint is there."""
    row, store = model(), Store(running.home)
    files = {logical: store.path(row, logical) for logical in row.files}
    store.folder(row).mkdir(parents=True)
    files["checkpoint"].write_bytes(CHECKPOINT)
    _expect_checkpoint(running, row)
    return files


def _expect_checkpoint(running: Service, row: Model) -> None:
    """Let the service read a manifest with the hash of ``CHECKPOINT``, which it checks and never opens."""
    overlay, expected = running.place / "overlay", row.files["checkpoint"]
    shutil.copytree(ROOT / "configs", overlay / "configs")
    manifest = overlay / "configs" / "models.yaml"
    named = "        sha256: {}\n        bytes: {}\n"
    before = named.format(expected.sha256, expected.bytes)
    text = manifest.read_text(encoding="utf-8")
    if before not in text:
        raise ValueError(f"{row.name}: the manifest names its checkpoint otherwise")
    after = named.format(hashlib.sha256(CHECKPOINT).hexdigest(), len(CHECKPOINT))
    manifest.write_text(text.replace(before, after), encoding="utf-8")
    running.environment["PYTHONPATH"] = f"{overlay}:{ROOT}"


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


def _answering(network: onnx.ModelProto, chosen: dict[str, NDArray[np.float32]]) -> onnx.ModelProto:
    """``network``, but for the texts of ``chosen`` their vectors come out: a sum over tokens finds a text's place."""
    if not chosen:
        return network
    graph = network.graph
    dim = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    table = np.zeros((PLACES, dim), np.float32)
    for text, vector in chosen.items():
        table[_place(text)] = vector
    for node in graph.node:
        node.output[:] = ["computed" if name == "embedding" else name for name in node.output]
    graph.initializer.extend(
        numpy_helper.from_array(array, name)
        for name, array in {
            "by_position": _by_position(), "last": np.asarray([1], np.int64), "places": np.asarray(PLACES, np.int64),
            "table": table, "nothing": np.asarray(0, np.float32),
        }.items()
    )  # fmt: skip
    graph.node.extend([
        helper.make_node("Mul", ["tokens", "by_position"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "last"], ["sum"], keepdims=0),
        helper.make_node("Mod", ["sum", "places"], ["place"]),
        helper.make_node("Gather", ["table", "place"], ["given"], axis=0),
        helper.make_node("Mul", ["computed", "nothing"], ["unused"]),
        helper.make_node("Add", ["given", "unused"], ["embedding"]),
    ])  # fmt: skip
    return network


def _place(text: str) -> int:
    return int(np.asarray(_tokenizer().encode(text).ids, np.int64) @ _by_position()) % PLACES


def _by_position() -> NDArray[np.int64]:
    """A weight for each position of a text's tokens."""
    return np.random.default_rng(8).integers(1, PLACES, len(_tokenizer().encode("").ids))


@cache
def _tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(bare.encoder_files()["tokenizer"]))


def _means(side: int, dim: int) -> onnx.ModelProto:
    """pixels [N, 3, side, side] -> a vector [N, dim] that tells little."""
    weights = np.random.default_rng(6).standard_normal((3, dim)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["pixels", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["embedding"]),
    ]
    constants = [
        numpy_helper.from_array(np.asarray([2, 3], np.int64), "axes"),
        numpy_helper.from_array(weights, "weights"),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 3, side, side])
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", dim])
    graph = helper.make_graph(nodes, "means", [pixels], [embedding], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
