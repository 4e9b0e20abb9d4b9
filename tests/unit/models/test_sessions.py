"""Sessions open where the hardware allows, and warm up whatever shape they have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from serve_app.models.sessions import gpus, open_session, providers, warm


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
