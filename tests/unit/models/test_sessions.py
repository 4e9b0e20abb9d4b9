"""Sessions open where the hardware allows, and warm up whatever shape they have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tokenizers import Tokenizer

from serve_app.models.manifest import load_manifest
from serve_app.models.sessions import gpus, open_session, providers, warm
from serve_app.models.store import Store


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """``y = x + x`` for any batch of three by any height, and a switch it ignores."""
    sides = ["batch", 3, "height"]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, sides),
        helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", 2]),
    ]
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, sides),
        helper.make_tensor_value_info("z", TensorProto.INT64, ["batch", 2]),
    ]
    nodes = [helper.make_node("Add", ["x", "x"], ["y"]), helper.make_node("Add", ["tokens", "tokens"], ["z"])]
    graph = helper.make_graph(nodes, "double", inputs, outputs)
    path = tmp_path / "double.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_a_session_answers(network: Path) -> None:
    session = open_session(network, threads=1)
    x, tokens = np.ones((2, 3, 4), np.float32), np.ones((2, 2), np.int64)
    assert session.run(["y"], {"x": x, "tokens": tokens})[0].tolist() == (2 * x).tolist()
    assert session.get_session_options().intra_op_num_threads == 1


def test_the_providers_are_what_the_machine_has(network: Path) -> None:
    names = [name for name, _ in providers()]
    assert names[-1] == "CPUExecutionProvider"
    assert ("CUDAExecutionProvider" in names) == (gpus() > 0)
    assert open_session(network).get_providers() == names


def test_warming_takes_free_axes_as_one_unless_it_is_told(network: Path) -> None:
    session = open_session(network)
    warm(session)
    warm(session, {"x": (4, 3, 16), "tokens": (4, 2)})
    with pytest.raises(Exception, match="rank"):
        warm(session, {"x": (3,)})


def test_no_file_and_no_network_are_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_session(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(Exception, match=r"text\.onnx"):
        open_session(tmp_path / "text.onnx")


def test_the_public_detector_opens(shared: Path) -> None:
    session = open_session(shared / "weights" / "fastestdet" / "FastestDet.onnx")
    warm(session)
    assert session.get_inputs()[0].shape[1:] == [3, 352, 352]


def test_the_shipped_networks_are_as_their_rows_say() -> None:
    manifest, store = load_manifest(), Store(Path("/nowhere"))
    encoder, detector = manifest.models["clip-embedded"], manifest.models["shapes-embedded"]
    assert {report.state for one in (encoder, detector) for report in store.verify(one)} == {"ok"}
    assert encoder.clip is not None
    assert detector.detector is not None
    files, clip, shapes = store.locate(encoder), encoder.clip, detector.detector
    image, text = open_session(files["image"], 1), open_session(files["text"], 1)
    assert [(one.name, one.shape[1:]) for one in image.get_inputs()] == [("pixels", [3, *2 * [clip.image_size]])]
    assert [(one.name, one.shape[1:]) for one in text.get_inputs()] == [("tokens", [clip.context_length])]
    for session in (image, text):
        warm(session)
        assert [(one.name, one.shape[1:]) for one in session.get_outputs()] == [("embedding", [clip.dim])]
    assert len(Tokenizer.from_file(str(files["tokenizer"])).encode("a red cube").ids) == clip.context_length
    network = open_session(store.locate(detector)["weights"], 1)
    warm(network)
    assert network.get_inputs()[0].shape[1:] == [3, *shapes.input]
    assert isinstance(shapes.labels, list)
    assert network.get_outputs()[0].shape[1] == 4 + len(shapes.labels)
