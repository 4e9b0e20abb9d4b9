"""A folder of people becomes vectors: of the largest face of each picture, in the order of the names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from PIL import Image

from serve_app.annotation.descriptor import FaceDescriptor
from serve_app.annotation.labels import FoundFace
from serve_app.errors import Problem
from serve_app.evaluation.face_folder import read_people
from serve_app.models.manifest import Descriptor

SPEC: dict[str, Any] = {
    "side": 8, "colour": "rgb", "mean": [0, 0, 0], "std": [255, 255, 255], "align": "box", "margin": 0, "dim": 3,
    "thresholds": {1: 1.0},
}  # fmt: skip
SMALL, LARGE = FoundFace((2, 2, 8, 8), 0.99), FoundFace((12, 2, 28, 28), 0.95)


@pytest.fixture
def descriptor() -> FaceDescriptor:
    """The mean of each channel."""
    node = helper.make_node("ReduceMean", ["faces"], ["vectors"], axes=[2, 3], keepdims=0)
    taken = helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["N", 3, 8, 8])
    given = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph([node], "means", [taken], [given])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return FaceDescriptor(Descriptor.model_validate(SPEC), session)


def picture(path: Path, small: tuple[int, int, int], large: tuple[int, int, int]) -> None:
    path.parent.mkdir(exist_ok=True)
    pixels = np.zeros((30, 30, 3), np.uint8)
    pixels[:, :10], pixels[:, 10:] = small, large
    Image.fromarray(pixels).save(path)


def find(data: bytes) -> list[FoundFace]:
    if data == b"torn":
        raise Problem("undecodable_media", "the picture is torn")
    return [] if data == b"empty" else [SMALL, LARGE]


def test_the_largest_face_of_each_picture_counts(tmp_path: Path, descriptor: FaceDescriptor) -> None:
    picture(tmp_path / "b" / "1.png", (255, 0, 0), (0, 255, 0))
    picture(tmp_path / "a" / "2.png", (255, 0, 0), (0, 0, 255))
    (tmp_path / "a" / "1.png").write_bytes(b"empty")
    (tmp_path / "a" / ".hidden").write_bytes(b"torn")
    (tmp_path / "b" / "torn.png").write_bytes(b"torn")
    (tmp_path / "b" / "deeper").mkdir()
    (tmp_path / "notes.txt").write_text("nobody")
    told: list[tuple[int, int]] = []
    people = read_people(tmp_path, find, descriptor, tell=lambda stage, done, every: told.append((done, every)))
    assert (people.names, people.files) == (("a", "b"), ("a/2.png", "b/1.png"))
    np.testing.assert_allclose(people.vectors, [[0, 0, 1], [0, 1, 0]], atol=1e-6)
    assert people.skipped == {"a/1.png": "no face is found in it", "b/torn.png": "the picture is torn"}
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert read_people(tmp_path, find, descriptor, skip=["a", "b"]).vectors.shape == (0, 3)
