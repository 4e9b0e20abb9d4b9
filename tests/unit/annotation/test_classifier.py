"""A classifier of pictures or vectors on networks whose right answers are known, and on one real network."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from colour_network import session_of
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageOps

from serve_app.annotation.classifier import PictureClassifier, load_classifier
from serve_app.errors import Problem
from serve_app.models.manifest import Classifier, Model, load_manifest
from serve_app.models.pull import pull
from serve_app.models.sessions import open_session
from serve_app.models.store import Store

Png = Callable[..., bytes]
PICTURE: dict[str, Any] = {
    "on": "picture", "input": (4, 6), "colour": "rgb", "mean": (0, 0, 0), "std": (255, 255, 255), "layout": "nchw",
    "activation": "none", "labels": ["first", "second", "third"], "positive": ["first"], "threshold": 0.5,
}  # fmt: skip
VECTOR: dict[str, Any] = {
    "on": "vector", "encoder": "clip-embedded@2", "activation": "sigmoid", "labels": ["disturbing"],
    "positive": ["disturbing"], "threshold": 0.5,
}  # fmt: skip
FLOAT = TensorProto.FLOAT
IDENTITY = np.eye(3)


def network(
    nodes: list[Any], shape: list[Any], constants: dict[str, np.ndarray[Any, Any]], kind: int = FLOAT, out: int = 2
) -> bytes:
    """Input "in" of ``shape``, output "out" with ``out`` axes, and a second output that must not count."""
    nodes = [*nodes, helper.make_node("Neg", ["out"], ["other"])]
    outputs = [helper.make_tensor_value_info(name, kind, [None] * out) for name in ("out", "other")]
    inputs = [helper.make_tensor_value_info("in", kind, shape)]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "closed form", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def means(layout: str = "nchw", weights: Any = IDENTITY, batch: int | str = "N") -> bytes:
    """The mean of each channel [N, 3] times ``weights`` [3, columns]."""
    axes, sides = ([2, 3], [3, 4, 6]) if layout == "nchw" else ([1, 2], [4, 6, 3])
    nodes = [
        helper.make_node("ReduceMean", ["in"], ["means"], axes=axes, keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["out"]),
    ]
    return network(nodes, [batch, *sides], {"weights": np.asarray(weights, np.float32)})


def head(weights: Any, kind: int = FLOAT) -> bytes:
    """A linear head: vectors [N, D] times ``weights`` [D, columns]."""
    dtype = np.float64 if kind == TensorProto.DOUBLE else np.float32
    values = np.asarray(weights, dtype)
    return network([helper.make_node("MatMul", ["in", "w"], ["out"])], ["N", len(values)], {"w": values}, kind)


def classifier(onnx: bytes, row: dict[str, Any] = PICTURE, **changes: Any) -> PictureClassifier:
    spec = Classifier.model_validate({**row, **changes})
    assert isinstance(spec.labels, list)
    return PictureClassifier(spec, spec.labels, session_of(onnx))


def plain(*colour: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.full((10, 12, 3), colour, np.uint8)


def score(of: PictureClassifier, *pictures: bytes) -> list[float]:
    return [of.score(row) for row in of.run([of.prepare(data) for data in pictures])]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize(("colour", "channel"), [("rgb", 0), ("bgr", 2)])
def test_colour_order_layout_and_normalisation(png: Png, layout: str, colour: str, channel: int) -> None:
    made = classifier(means(layout), colour=colour, layout=layout, mean=(10, 20, 30), std=(100, 200, 300))
    assert made.prepare(png(plain(60, 70, 80))).shape == ((3, 4, 6) if layout == "nchw" else (4, 6, 3))
    expected = ((60, 70, 80)[channel] - 10) / 100
    assert score(made, png(plain(60, 70, 80))) == [pytest.approx(expected)]


def test_a_picture_is_stretched_and_every_pixel_counts(png: Png) -> None:
    halves = plain(0, 0, 0)
    halves[:, 6:] = 255
    assert score(classifier(means()), png(halves)) == [pytest.approx(0.5, abs=0.01)]
    across = np.linspace(0, 255, 600).astype(np.uint8)[None, :, None] * np.ones((2, 1, 3), np.uint8)
    tensor = classifier(means()).prepare(png(across))
    assert tensor[0, 0] == pytest.approx(np.array([1, 3, 5, 7, 9, 11]) / 12, abs=0.02)


def test_a_picture_lies_upright(png: Png) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    pixels = plain(0, 0, 0)
    pixels[0] = 255
    tensor = classifier(means()).prepare(png(pixels, exif=exif))
    assert tensor[:, 0].max() == 0
    assert tensor[:, -1].min() > 0.2


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (9000, 3)])
def test_odd_sizes_are_read(png: Png, size: tuple[int, int]) -> None:
    assert score(classifier(means()), png(np.full((*size, 3), 51, np.uint8))) == [pytest.approx(0.2)]


@pytest.mark.parametrize("batch", ["N", 1])
def test_each_picture_of_a_batch_has_its_own_score(png: Png, batch: int | str) -> None:
    pictures = [png(plain(red, 255, 0)) for red in (0, 51, 102, 255)]
    assert score(classifier(means(batch=batch)), *pictures) == pytest.approx([0, 0.2, 0.4, 1])


def test_softmax_adds_up_the_positive_labels(png: Png) -> None:
    made = classifier(means(weights=1000 * np.eye(3)), activation="softmax", positive=["first", "third"])
    powers = [1.0, math.exp(-1000 / 255), math.exp(-2000 / 255)]
    assert score(made, png(plain(202, 201, 200))) == [pytest.approx((powers[0] + powers[2]) / sum(powers), abs=1e-5)]


@pytest.mark.parametrize("labels", [["disturbing"], ["harmless", "disturbing"]])
def test_one_column_of_a_binary_network(png: Png, labels: list[str]) -> None:
    logits = [[6.0], [-3.0], [0.0]]
    made = classifier(means(weights=logits), activation="sigmoid", labels=labels, positive=["disturbing"])
    expected = [1 / (1 + math.exp(-(6 * 0.2 - 3))), 1 / (1 + math.exp(-6))]
    assert score(made, png(plain(51, 255, 0)), png(plain(255, 0, 0))) == pytest.approx(expected, abs=1e-6)


def test_a_binary_column_may_be_the_harmless_one(png: Png) -> None:
    made = classifier(means(weights=[[1], [0], [0]]), labels=["disturbing", "harmless"], positive=["disturbing"])
    assert score(made, png(plain(51, 0, 0))) == [pytest.approx(0.8)]


def test_an_output_without_a_column_axis(png: Png) -> None:
    nodes = [helper.make_node("ReduceMean", ["in"], ["out"], axes=[1, 2, 3], keepdims=0)]
    made = classifier(network(nodes, ["N", 3, 4, 6], {}, out=1), labels=["bright"], positive=["bright"])
    assert score(made, png(plain(51, 51, 51)), png(plain(255, 255, 255))) == pytest.approx([0.2, 1])


def test_independent_probabilities_are_clipped_to_one(png: Png) -> None:
    made = classifier(means(), activation="sigmoid", positive=["first", "second"])
    assert score(made, png(plain(255, 255, 0))) == [1]
    assert score(classifier(means(weights=-np.eye(3))), png(plain(255, 0, 0))) == [0]


def test_a_head_on_vectors() -> None:
    made = classifier(head([[3], [-4], [0.5]]), VECTOR)
    vectors = [np.array(values, np.float32) for values in ([1, 0, 0], [0, 1, 0], [0, 0.6, 0.8])]
    rows = made.run([made.prepare_vector(vector) for vector in vectors])
    expected = [1 / (1 + math.exp(-logit)) for logit in (3, -4, -2)]
    assert [made.score(row) for row in rows] == pytest.approx(expected, abs=1e-6)


def test_a_head_in_double_precision() -> None:
    made = classifier(
        head([[3, 0], [-4, 0]], TensorProto.DOUBLE), VECTOR | {"activation": "softmax"}, labels=["disturbing", "not"]
    )
    assert made.score(made.run([np.array([1, 0], np.float32)])[0]) == pytest.approx(1 / (1 + math.exp(-3)))


def test_answers_that_are_no_numbers_spoil_only_their_own_item() -> None:
    made = classifier(head(np.eye(2)), VECTOR | {"activation": "softmax"}, labels=["disturbing", "not"])
    rows = made.run([np.array(values, np.float32) for values in ([0, 0], [np.inf, 0], [np.nan, 0])])
    assert made.score(rows[0]) == 0.5
    for row in rows[1:]:
        with pytest.raises(Problem, match="not a number"):
            made.score(row)


def test_what_is_not_of_the_row_is_refused(png: Png) -> None:
    with pytest.raises(Problem, match="reads vectors of clip-embedded@2, not a picture") as refused:
        classifier(head(np.eye(1)), VECTOR).prepare(png(plain(0, 0, 0)))
    assert refused.value.code == "unavailable"
    with pytest.raises(Problem, match="reads pictures, not a vector") as refused:
        classifier(means()).prepare_vector(np.zeros(3, np.float32))
    assert refused.value.code == "unavailable"
    with pytest.raises(Problem, match=r"reads vectors of clip-embedded@2, \[1\], not \[3\]") as refused:
        classifier(head(np.eye(1)), VECTOR).prepare_vector(np.zeros(3, np.float32))
    assert refused.value.code == "unavailable"
    assert "clip-embedded@2" in str(refused.value.remedy)


def test_a_network_that_does_not_fit_its_row_is_refused() -> None:
    for changes in ({"input": (4, 7)}, {"layout": "nhwc"}):
        with pytest.raises(ValueError, match="the manifest says"):
            classifier(means(), **changes)
    for onnx, row in ((means(batch=2), PICTURE), (head(np.eye(3)), PICTURE)):
        with pytest.raises(ValueError, match="the network takes"):
            classifier(onnx, row)
    for shape in (["N", "D"], ["N", 2, 2]):
        with pytest.raises(ValueError, match="how long D is"):
            classifier(network([helper.make_node("Neg", ["in"], ["out"])], shape, {}, out=len(shape)), VECTOR)
    with pytest.raises(ValueError, match="gives 3 columns, the manifest names 2 labels"):
        classifier(means(), labels=["first", "second"]).warm()
    with pytest.raises(ValueError, match="always 1"):
        classifier(head([[1]]), VECTOR, activation="softmax").warm()
    classifier(means()).warm()


@pytest.mark.parametrize("data", [b"", b"words", b"\x89PNG\r\n\x1a\n"])
def test_what_cannot_be_decoded_is_a_problem(data: bytes) -> None:
    with pytest.raises(Problem):
        classifier(means()).prepare(data)


def test_a_row_is_opened(tmp_path: Path, png: Png) -> None:
    (tmp_path / "network.onnx").write_bytes(means())
    row = {
        "name": "brightness", "task": "disturbing_content", "revision": "1", "licence": "none", "source": "made here",
        "files": {"weights": {"url": "https://example.org/network.onnx"}}, "classifier": PICTURE,
    }  # fmt: skip
    made = load_classifier(Model.model_validate(row), {"weights": tmp_path / "network.onnx"}, threads=1)
    assert score(made, png(plain(51, 0, 0))) == [pytest.approx(0.2)]


def test_the_reports_network_for_actions_by_its_row(tmp_path: Path, png: Png) -> None:
    """Random weights of an own making stand for ResNet-152's, brought as an operator would; torch has the answer."""
    weights = 2 * np.random.default_rng(7).normal(size=(3, 400)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["in"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["out"]),
    ]
    (tmp_path / "from").mkdir()
    onnx = network(nodes, ["N", 3, 224, 224], {"weights": weights})
    (tmp_path / "from" / "resnet152_kinetics400.onnx").write_bytes(onnx)
    row, store = load_manifest().models["resnet152-kinetics400"], Store(tmp_path / "home")
    with pytest.raises(Problem, match=r"resnet152_kinetics400\.onnx is missing"):
        store.locate(row)
    pull(store, [row], from_dir=tmp_path / "from")
    made = load_classifier(row, store.locate(row), threads=1)
    (found,) = made.run([made.prepare(png(plain(250, 120, 10)))])
    normalised = (torch.tensor([250, 120, 10]) / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
        [0.229, 0.224, 0.225]
    )
    expected = torch.softmax(normalised @ torch.tensor(weights), 0).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    labels = made.finish(found)
    order = np.argsort(-expected)
    assert [label.label for label in labels] == [made.labels[i] for i in order[:3] if expected[i] >= 0.2]
    assert labels


PHOTOGRAPHS = ("coco_000000000790.jpg", "fox_8bit.avif", "flower.webp", "chelsea.png", "exif_landscape_6.jpg")
"""The network is in doubt about the first three; the last is stored lying."""


def test_a_real_network_on_photographs(shared: Path) -> None:
    """Against the preprocessing that the network's makers describe, done by torch."""
    path = shared / "weights" / "nsfwjs_mobilenet_v2" / "nsfw_mobilenet_v2_converted.onnx"
    if not path.is_file():
        pytest.skip(f"no network at {path}")
    session = open_session(path, 1)
    labels = ["Drawing", "Hentai", "Neutral", "Porn", "Sexy"]
    row = PICTURE | {"input": (224, 224), "labels": labels, "positive": ["Hentai", "Porn", "Sexy"]}
    made = PictureClassifier(Classifier.model_validate(row), labels, session)
    ours, theirs = [], []
    for file in (shared / "media" / "images" / name for name in PHOTOGRAPHS):
        upright = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
        pixels = torch.tensor(np.array(upright)).permute(2, 0, 1)[None] / 255
        pixels = torch.nn.functional.interpolate(pixels, (224, 224), mode="bilinear", antialias=True)
        drawing, hentai, neutral, porn, sexy = session.run(None, {"input": pixels.numpy()})[0][0]
        theirs.append(float(hentai + porn + sexy))
        assert theirs[-1] == pytest.approx(1 - drawing - neutral, abs=1e-5)
        ours.append(made.prepare(file.read_bytes()))
        assert np.abs(ours[-1] - pixels[0].numpy()).max() < 1 / 255  # Pillow rounds to whole levels, and twice
    assert [made.score(probabilities) for probabilities in made.run(ours)] == pytest.approx(theirs, abs=0.04)
    assert max(theirs) - min(theirs) > 0.4


def test_what_is_not_safe_for_work_raises_no_alarm_on_photographs(shared: Path) -> None:
    """The shipped row with the network it converts to; of such pictures there is none here to find."""
    path = shared / "weights" / "nsfwjs_mobilenet_v2" / "nsfw_mobilenet_v2_converted.onnx"
    if not path.is_file():
        pytest.skip(f"no network at {path}")
    row = load_manifest().models["nsfwjs-mobilenet-v2"]
    made = load_classifier(row, {"weights": path}, threads=1)
    files = sorted((shared / "media" / "images").glob("coco_*.jpg"))[:12]
    assert files
    scores = [made.score(found) for found in made.run([made.prepare(file.read_bytes()) for file in files])]
    assert row.head is not None
    assert max(scores) < row.head.threshold
    assert max(scores) > 0.1, "a network that never doubts would raise no alarm either"
