"""Memes: preparing as in the training, one score each, an overlay that shows where the network looked; and the
network that ships, on real pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from serve_app.annotation.memes import SHOWN_SIDE, MemeDetector, Seen, load_memes
from serve_app.errors import Problem
from serve_app.models.manifest import Model, load_manifest
from serve_app.models.sections import Meme
from serve_app.models.sessions import open_session
from serve_app.models.store import Store

SPEC = Meme(side=20, mean=(100, 50, 0), std=(50, 50, 100), threshold=0.5)


def network(side: int = 20) -> bytes:
    """The mean of a picture as its score, and one attention map [N, 1, 2, 2] that looks at the upper left corner."""
    taken = helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ["N", 3, side, side])
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("score", "attention")]
    corner = numpy_helper.from_array(np.array([[[[1.0, 0], [0, 0]]]], np.float32), "corner")
    zero = numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    nodes = [
        helper.make_node("ReduceMean", ["pictures"], ["score"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["pictures"], ["kept"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["kept", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "corner"], ["attention"]),
    ]
    graph = helper.make_graph(nodes, "memes", [taken], given, [corner, zero])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(made.SerializeToString())


@pytest.fixture
def detector(tmp_path: Path) -> MemeDetector:
    (tmp_path / "memes.onnx").write_bytes(network())
    return MemeDetector(SPEC, open_session(tmp_path / "memes.onnx", 1))


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def test_a_picture_is_stretched_and_normalised_with_the_row_s_statistics(detector: MemeDetector) -> None:
    tensor = detector.prepare(encoded(Image.new("RGB", (70, 31), (150, 100, 200))))
    assert tensor.shape == (3, 20, 20)
    assert tensor.dtype == np.float32
    np.testing.assert_allclose(tensor[:, 3, 7], [1.0, 1.0, 2.0], atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA", "I;16"])
def test_any_colour_mode_is_a_picture(detector: MemeDetector, mode: str) -> None:
    """All white, so that a mode that is misread shows."""
    if mode == "I;16":
        image = Image.fromarray(np.full((30, 30), 65535, np.uint16))
    else:
        image = Image.new("RGB", (30, 30), "white").convert(mode)
    tensor = detector.prepare(encoded(image))
    np.testing.assert_allclose(tensor[:, 0, 0], [155 / 50, 205 / 50, 2.55], atol=0.03)


def test_a_large_picture_is_prepared_as_its_small_copy(detector: MemeDetector) -> None:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (20, 20, 3)).astype(np.uint8))
    large = small.resize((1200, 600), Image.Resampling.NEAREST)
    np.testing.assert_allclose(
        detector.prepare(encoded(large)), detector.prepare(encoded(small.resize((80, 40), 0))), atol=0.5
    )


def test_each_of_a_batch_gets_its_own_answer(detector: MemeDetector) -> None:
    items = [detector.prepare(encoded(Image.new("RGB", (9, 9), (tone, tone, tone)))) for tone in (100, 150, 60)]
    together = [detector.finish(seen) for seen in detector.run(items)]
    alone = [detector.finish(detector.run([item])[0]) for item in items]
    assert together == alone
    assert together[1] == 1.0  # more than 1 is as sure as one can be
    assert len(set(together)) == 3
    detector.warm()


def test_a_score_that_is_no_number_is_refused_alone(detector: MemeDetector) -> None:
    with pytest.raises(Problem, match="not a number"):
        detector.finish(Seen(float("nan"), np.ones((1, 2, 2), np.float32)))


def test_the_overlay_is_brightest_where_the_network_looked(detector: MemeDetector) -> None:
    data = encoded(Image.new("RGB", (1300, 650), (90, 90, 90)))
    png = detector.explain(data, detector.run([detector.prepare(data)])[0])
    with Image.open(io.BytesIO(png)) as shown:
        assert (shown.format, shown.size) == ("PNG", (SHOWN_SIDE, SHOWN_SIDE // 2))
        pixels = np.asarray(shown).astype(int).sum(axis=2)
    height, width = pixels.shape
    corners = [pixels[y : y + 20, x : x + 20].mean() for y in (0, height - 20) for x in (0, width - 20)]
    assert corners[0] > max(corners[1:]) + 100


def test_broken_pictures_and_networks_that_do_not_fit_are_said(detector: MemeDetector, tmp_path: Path) -> None:
    with pytest.raises(Problem):
        detector.prepare(b"no picture")
    (tmp_path / "other.onnx").write_bytes(network(16))
    with pytest.raises(ValueError, match="not \\['N', 3, 20, 20\\]"):
        MemeDetector(SPEC, open_session(tmp_path / "other.onnx", 1))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, MemeDetector]:
    model = load_manifest().models["memetector-embedded"]
    return model, load_memes(model, Store(tmp_path_factory.mktemp("home")).locate(model), 1)


def test_the_row_has_the_statistics_that_the_network_was_trained_with(tmp_path: Path) -> None:
    model = load_manifest().models["memetector-embedded"]
    session = open_session(Store(tmp_path).locate(model)["weights"], 1)
    said = session.get_modelmeta().custom_metadata_map
    assert model.meme is not None
    np.testing.assert_allclose([float(one) for one in said["mean"].split(",")], model.meme.mean, atol=1e-3)
    np.testing.assert_allclose([float(one) for one in said["std"].split(",")], model.meme.std, atol=1e-3)


def test_the_shipped_network_tells_seven_of_eight_real_memes(shipped: tuple[Model, MemeDetector], shared: Path) -> None:
    """Macros on photographs that no training has seen; at most two of the other photographs look like memes to it."""
    model, detector = shipped
    assert model.meme is not None

    def told(folder: Path) -> list[str]:
        found = []
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            try:
                seen = detector.run([detector.prepare(path.read_bytes())])[0]
            except Problem:
                continue
            if detector.finish(seen) >= model.meme.threshold:
                found.append(path.name)
        return found

    images = shared / "media" / "images"
    assert len(told(images / "memes_derived")) >= 7
    assert len(told(images)) <= 2


def test_the_shipped_network_looks_at_the_words(shipped: tuple[Model, MemeDetector], shared: Path) -> None:
    """Of the macros' attention more falls on the uppermost and lowermost fifths than on an equally large middle."""
    _, detector = shipped
    shares = []
    for path in sorted((shared / "media" / "images" / "memes_derived").iterdir()):
        weights = detector.run([detector.prepare(path.read_bytes())])[0].attention.mean(axis=0)
        rows = weights.sum(axis=1)
        shares.append(rows[[0, 1, 8, 9]].sum() / rows[3:7].sum())
    assert np.median(shares) > 1
