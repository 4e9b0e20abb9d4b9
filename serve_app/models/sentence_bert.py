"""A published sentence encoder in ONNX, written node by node: torch is not needed, and it takes a second.

Source: Devlin, Chang, Lee, Toutanova, "BERT", NAACL 2019, with the keys of ``transformers``' BertModel; pooled and
normalised as in Reimers, Gurevych, "Sentence-BERT", EMNLP 2019. Matrices are kept in float16, half the bytes, and
computed with in float32.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper
from safetensors import SafetensorError
from safetensors.numpy import load_file

from serve_app.models.manifest import Sentence, UnusableFile
from serve_app.models.onnx_nodes import Nodes

TOKENS, MASK, OUTPUT = "tokens", "mask", "embedding"
"""Names in the ONNX file."""
SENTENCES = "sentence_encoder.onnx"
"""The file that :func:`convert_sentence_bert` writes."""
OPSET, IR_VERSION = 20, 9

State = Mapping[str, NDArray[np.float32]]
LAYER = {
    "attention.self.query": (1, 1),
    "attention.self.key": (1, 1),
    "attention.self.value": (1, 1),
    "attention.output.dense": (1, 1),
    "intermediate.dense": (4, 1),
    "output.dense": (1, 4),
}
"""Matrices of a layer: outputs and inputs, in widths of the network."""
NORMS = ("attention.output.LayerNorm", "output.LayerNorm")


@dataclass(frozen=True)
class Bert:
    """A checked network: every matrix of ``state`` has the shape that its layers need."""

    state: State
    layers: int
    width: int
    heads: int
    epsilon: float


def convert_sentence_bert(files: Mapping[str, Path], sentence: Sentence, out: Path) -> None:
    """Write the network of ``files["checkpoint"]``, described by ``files["config"]``, into ``out``.

    Raises :class:`UnusableFile` where they are no such network, or where the row describes another one.
    """
    try:
        settings = read_settings(files["config"])
    except ValueError as error:
        raise UnusableFile("config", f"{files['config'].name} is unusable: {error}") from None
    try:
        bert = read_bert(files["checkpoint"], *settings)
        if bert.width != sentence.dim:
            raise ValueError(f"it gives {bert.width} numbers, the manifest says {sentence.dim}")
        if (most := len(bert.state["embeddings.position_embeddings.weight"])) < sentence.max_tokens:
            raise ValueError(f"it reads {most} tokens, the manifest says {sentence.max_tokens}")
        export_bert(bert, out / SENTENCES)
    except ValueError as error:
        raise UnusableFile("checkpoint", f"{files['checkpoint'].name} is unusable: {error}") from None


def read_settings(config: Path) -> tuple[int, float]:
    """How many heads attend, and the epsilon of the normalisations; raises ValueError where they are not told."""
    try:
        table = json.loads(config.read_text(encoding="utf-8"))
        heads, epsilon = table["num_attention_heads"], table["layer_norm_eps"]
        known = (table["model_type"], table["hidden_act"]) == ("bert", "gelu")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"it does not describe a network: {shorten(repr(error), 200)}") from None
    if not known or type(heads) is not int or heads < 1 or not isinstance(epsilon, float):
        raise ValueError("it describes no BERT with GELU")
    return heads, epsilon


def read_bert(checkpoint: Path, heads: int, epsilon: float) -> Bert:
    """The network of a safetensors file; depth and width are read off it. Raises ValueError for any other file."""
    try:
        state = load_file(checkpoint)
    except SafetensorError as error:
        raise ValueError(f"it cannot be read as safetensors: {shorten(str(error), 200)}") from None
    words = state.get("embeddings.word_embeddings.weight")
    if words is None or words.ndim != 2 or words.shape[1] % heads:
        raise ValueError(f"it has no embeddings of words for {heads} heads")
    width = words.shape[1]
    layers = len({key.split(".")[2] for key in state if key.startswith("encoder.layer.") and key.count(".") > 2})
    shapes: dict[str, tuple[int | None, ...]] = {
        "embeddings.position_embeddings.weight": (None, width),
        "embeddings.token_type_embeddings.weight": (None, width),
    }
    norms = ["embeddings.LayerNorm"]
    for start in (f"encoder.layer.{number}." for number in range(layers)):
        norms += [start + norm for norm in NORMS]
        for name, (outputs, inputs) in LAYER.items():
            shapes[f"{start}{name}.weight"] = (outputs * width, inputs * width)
            shapes[f"{start}{name}.bias"] = (outputs * width,)
    shapes |= {f"{norm}.{part}": (width,) for norm in norms for part in ("weight", "bias")}
    for key, shape in shapes.items():
        _check(state, key, shape)
    return Bert(state, layers, width, heads, epsilon)


def _check(state: State, key: str, shape: tuple[int | None, ...]) -> None:
    if key not in state:
        raise ValueError(f"it has no {key}, which a BERT has")
    value = state[key]
    fits = (want in (None, has) for want, has in zip(shape, value.shape, strict=False))
    if value.ndim != len(shape) or not all(fits):
        raise ValueError(f"{key} is {list(value.shape)}, not {list(shape)}")
    if value.dtype != np.float32 or not np.isfinite(value).all():
        raise ValueError(f"{key} is not float32, or not finite")


def export_bert(bert: Bert, path: Path) -> None:
    """Write the network: ``tokens`` and ``mask`` int64 [N,L] (1 where there is a token) to ``embedding`` float32
    [N,width], the normalised mean of what the last layer says of the tokens."""
    graph = _Graph(bert)
    features = graph.embed()
    mask = graph.add("Cast", [MASK], to=TensorProto.FLOAT)
    # What is no token gets a weight of nothing: the softmax of -1e9 is zero in float32.
    hidden = graph.add("Mul", [graph.add("Sub", [mask, graph.number(1)]), graph.number(1e9)])
    hidden = graph.add("Unsqueeze", [hidden, graph.integers(1, 2)])
    for number in range(bert.layers):
        features = graph.layer(features, hidden, f"encoder.layer.{number}.")
    graph.pool(features, mask)
    text = ["batch", "length"]
    graph.save(
        path,
        "sentence_encoder",
        [helper.make_tensor_value_info(name, TensorProto.INT64, text) for name in (TOKENS, MASK)],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", bert.width])],
        opset=OPSET,
        ir_version=IR_VERSION,
    )


class _Graph(Nodes):
    def __init__(self, bert: Bert) -> None:
        super().__init__()
        self.bert = bert

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def halves(self, values: NDArray[np.float32]) -> str:
        """A constant kept in float16, as float32; the runtime computes it once."""
        return self.add("Cast", [self.constant(values.astype(np.float16))], to=TensorProto.FLOAT)

    def embed(self) -> str:
        state = self.bert.state
        # The table of words stays in float16 in memory too: of its rows only those that are read become float32.
        words = self.constant(state["embeddings.word_embeddings.weight"].astype(np.float16))
        features = self.add("Cast", [self.add("Gather", [words, TOKENS])], to=TensorProto.FLOAT)
        places = state["embeddings.position_embeddings.weight"] + state["embeddings.token_type_embeddings.weight"][0]
        length = self.add("Gather", [self.add("Shape", [TOKENS]), self.integers(1)])
        place = self.add("Slice", [self.halves(places), self.integers(0), length, self.integers(0)])
        return self.norm(self.add("Add", [features, place]), "embeddings.LayerNorm")

    def norm(self, features: str, name: str) -> str:
        weight, bias = (self.constant(self.bert.state[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self.add("LayerNormalization", [features, weight, bias], axis=-1, epsilon=self.bert.epsilon)

    def dense(self, features: str, name: str) -> str:
        weight = self.halves(self.bert.state[f"{name}.weight"].T)
        return self.add("Add", [self.add("MatMul", [features, weight]), self.constant(self.bert.state[f"{name}.bias"])])

    def layer(self, features: str, hidden: str, name: str) -> str:
        size = self.bert.width // self.bert.heads
        split = self.integers(0, 0, self.bert.heads, size)
        query, key, value = (
            self.add("Reshape", [self.dense(features, f"{name}attention.self.{part}"), split])
            for part in ("query", "key", "value")
        )
        query, value = (self.add("Transpose", [part], perm=[0, 2, 1, 3]) for part in (query, value))
        key = self.add("Transpose", [key], perm=[0, 2, 3, 1])
        scores = self.add("Mul", [self.add("MatMul", [query, key]), self.number(size**-0.5)])
        weights = self.add("Softmax", [self.add("Add", [scores, hidden])], axis=-1)
        seen = self.add("Transpose", [self.add("MatMul", [weights, value])], perm=[0, 2, 1, 3])
        seen = self.add("Reshape", [seen, self.integers(0, 0, self.bert.width)])
        seen = self.add("Add", [self.dense(seen, f"{name}attention.output.dense"), features])
        seen = self.norm(seen, f"{name}attention.output.LayerNorm")
        inner = self.add("Gelu", [self.dense(seen, f"{name}intermediate.dense")])
        outer = self.add("Add", [self.dense(inner, f"{name}output.dense"), seen])
        return self.norm(outer, f"{name}output.LayerNorm")

    def pool(self, features: str, mask: str) -> None:
        """The mean over the tokens, of length 1. Its length says nothing, so the sum is as good as the mean."""
        counted = self.add("Mul", [features, self.add("Unsqueeze", [mask, self.integers(2)])])
        total = self.add("ReduceSum", [counted, self.integers(1)], keepdims=0)
        length = self.add("Max", [self.add("ReduceL2", [total, self.integers(-1)]), self.number(1e-12)])
        self.add("Div", [total, length], output=OUTPUT)
