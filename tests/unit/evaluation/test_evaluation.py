"""Figures against what they mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from serve_app.evaluation.detector import Reader
from serve_app.evaluation.embedded import evaluate
from serve_app.evaluation.encoder import recalls
from serve_app.models.manifest import load_manifest


def test_recalls_by_hand() -> None:
    targets = np.eye(12, dtype=np.float32)
    queries = targets.copy()
    queries[0] = targets[1]  # a miss whose own target shares the last place
    queries[1] = targets[1] + 2 * targets[2]  # found second
    found = recalls(queries, targets)
    assert found == pytest.approx({"recall@1": 10 / 12, "recall@5": 11 / 12, "recall@10": 11 / 12})


def _network(path: Path, rows: np.ndarray, notes: dict[str, str]) -> None:
    """A detector that finds the same rows [4 + C, A] in every picture."""
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 256, 256])
    predictions = helper.make_tensor_value_info("predictions", TensorProto.FLOAT, [1, *rows.shape])
    node = helper.make_node("Identity", ["rows"], ["predictions"])
    constant = numpy_helper.from_array(rows[None].astype(np.float32), "rows")
    graph = helper.make_graph([node], "fixed", [images], [predictions], [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, notes)
    onnx.save(model, path)


def test_a_reader_counts_at_the_threshold_of_the_file(tmp_path: Path) -> None:
    rows = np.zeros((11, 3))
    rows[:4] = [[50, 150, 200], [50, 150, 200], [20, 20, 20], [20, 20, 20]]
    rows[4, 0], rows[5, 1], rows[10, 2] = 0.9, 0.4, 0.05
    notes = {"threshold": "0.3", "nms_iou": "0.5", "slope": "2.0", "intercept": "-1.0"}
    model = load_manifest().models["shapes-embedded"]
    _network(tmp_path / "shapes.onnx", rows, notes)
    reader = Reader(model, tmp_path / "shapes.onnx", 1)
    found = reader.find(np.zeros((512, 512, 3), np.uint8))
    assert found[:, 4:].tolist() == [pytest.approx(row) for row in ([0.9, 0], [0.4, 1], [0.05, 6])]
    assert found[0, :4] == pytest.approx([80, 80, 120, 120]), "in pixels of the picture, twice the input"
    assert reader.claims([np.zeros((64, 64, 3), np.uint8)] * 2) == 2


def test_a_file_that_does_not_say_its_threshold_is_refused(tmp_path: Path) -> None:
    _network(tmp_path / "shapes.onnx", np.zeros((11, 1)), {"slope": "1.0", "intercept": "0.0", "nms_iou": "0.5"})
    with pytest.raises(ValueError, match="does not say its threshold"):
        evaluate("shapes-embedded", tmp_path)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"clip_image\.onnx"):
        evaluate("clip-embedded", tmp_path)
