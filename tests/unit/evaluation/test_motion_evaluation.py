"""Figures of an action model whose every answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from serve_app.evaluation.embedded import evaluate
from serve_app.evaluation.motion import Answers, Reader, clip_figures
from serve_app.models.embedded.motion import LABELS
from serve_app.models.manifest import load_manifest

NOTES = {"threshold": "0.5", "temperature": "2.0"}


def _network(path: Path, row: np.ndarray, notes: dict[str, str]) -> None:
    """A network that answers every clip with the same probabilities."""
    clip = helper.make_tensor_value_info("clip", TensorProto.FLOAT, ["batch", 3, 16, 64, 64])
    said = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", len(LABELS)])
    nodes = [
        helper.make_node("ReduceMean", ["clip", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Unsqueeze", ["nothing", "one"], ["column"]),
        helper.make_node("Add", ["column", "row"], ["probabilities"]),
    ]
    constants = {"axes": np.arange(1, 5), "zero": np.zeros(1, np.float32), "one": np.ones(1, np.int64)}
    kept = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    kept.append(numpy_helper.from_array(row[None].astype(np.float32), "row"))
    model = helper.make_model(
        helper.make_graph(nodes, "fixed", [clip], [said], kept),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    helper.set_model_props(model, notes)
    onnx.save(model, path)


def _sure_of_roll(rest: float) -> np.ndarray:
    row = np.full(len(LABELS), rest / (len(LABELS) - 1))
    row[LABELS.index("roll")] = 1 - rest
    return row


def test_figures_of_a_model_that_always_says_roll(tmp_path: Path) -> None:
    _network(tmp_path / "motion.onnx", _sure_of_roll(0.17), NOTES)
    reader = Reader(load_manifest().models["motion-embedded"], {"weights": tmp_path / "motion.onnx"}, 1)
    found = clip_figures(reader, 2 * len(LABELS))
    assert found["top-1"] == found["right of the named"] == pytest.approx(1 / len(LABELS))
    assert (found["top-1 roll"], found["top-1 shake"]) == (1, 0)
    assert found["named at the threshold"] == found["clips of two motions named at the threshold"] == 1
    assert found["expected calibration error"] == pytest.approx(0.83 - 1 / len(LABELS), abs=1e-6)
    before = 0.83**2 / (0.83**2 + 0.17**2 / 17)  # what the probabilities were before a temperature of two
    assert found["expected calibration error before calibration"] == pytest.approx(before - 1 / len(LABELS), abs=1e-6)


def test_a_confusion_has_the_truth_in_its_rows() -> None:
    found = Answers(np.eye(len(LABELS))[[3, 3, 5]], np.array([3, 4, 5]))
    assert found.right.tolist() == [True, False, True]
    assert {(row, column) for row, column in np.argwhere(found.confusion).tolist()} == {(3, 3), (4, 3), (5, 5)}


def test_a_file_that_does_not_say_its_temperature_is_refused(tmp_path: Path) -> None:
    _network(tmp_path / "motion.onnx", _sure_of_roll(0.1), {"threshold": "0.5"})
    with pytest.raises(ValueError, match="does not say its temperature"):
        evaluate("motion-embedded", tmp_path)
