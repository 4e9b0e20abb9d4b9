"""Face descriptors on a network whose right answers are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from colour_network import session_of
from onnx import TensorProto, helper

from serve_app.annotation.descriptor import FaceDescriptor, load_descriptor
from serve_app.annotation.labels import FoundFace
from serve_app.errors import Problem
from serve_app.models.manifest import Descriptor, Model, load_manifest

Png = Callable[..., bytes]
SPEC: dict[str, Any] = {
    "side": 8, "colour": "rgb", "mean": [10, 20, 30], "std": [1, 2, 4], "align": "box", "margin": 0, "dim": 3,
    "thresholds": {1: 1.09, 2: 0.97, 5: 0.885},
}  # fmt: skip


def network(batch: int | str = "N", side: int | str = 8, channels: int | str = 3) -> bytes:
    """The mean of each channel."""
    node = helper.make_node("ReduceMean", ["faces"], ["vectors"], axes=[2, 3], keepdims=0)
    taken = helper.make_tensor_value_info("faces", TensorProto.FLOAT, [batch, channels, side, side])
    given = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, [batch, channels])
    graph = helper.make_graph([node], "means", [taken], [given])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def descriptor(batch: int | str = "N", **changes: Any) -> FaceDescriptor:
    return FaceDescriptor(Descriptor.model_validate({**SPEC, **changes}), session_of(network(batch)))


def colours(png: Png) -> bytes:
    """A picture whose left half is (50, 100, 150) and right half (200, 20, 30)."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40], pixels[:, 40:] = (50, 100, 150), (200, 20, 30)
    return png(pixels)


LEFT, RIGHT = FoundFace((5, 5, 35, 35), 0.99), FoundFace((45, 5, 75, 35), 0.98)


@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize(("colour", "order"), [("rgb", (0, 1, 2)), ("bgr", (2, 1, 0))])
def test_faces_become_vectors_by_the_rows_numbers(png: Png, batch: Any, colour: str, order: tuple[int, ...]) -> None:
    faces = descriptor(batch, colour=colour)
    prepared = faces.prepare(colours(png), [LEFT, RIGHT])
    rows = faces.run([one.tensor for one in prepared])
    for row, colour_of in zip(rows, ((50, 100, 150), (200, 20, 30)), strict=True):
        expected = (np.array(colour_of)[list(order)] - (10, 20, 30)) / (1, 2, 4)
        np.testing.assert_allclose(row, expected, atol=1e-4)
        np.testing.assert_allclose(faces.finish(row), expected / np.linalg.norm(expected), atol=1e-6)


def test_no_faces_need_no_picture() -> None:
    assert descriptor().prepare(b"", []) == []
    assert descriptor().run([]).shape == (0, 3)


def test_a_picture_that_cannot_be_decoded_is_a_problem() -> None:
    with pytest.raises(Problem) as problem:
        descriptor().prepare(b"no picture", [LEFT])
    assert problem.value.code == "unsupported_media"


@pytest.mark.parametrize("row", [(0, 0, 0), (np.nan, 0, 1), (np.inf, 0, 1)])
def test_a_vector_without_direction_is_a_problem(row: tuple[float, ...]) -> None:
    with pytest.raises(Problem, match="no direction"):
        descriptor().finish(np.array(row, np.float32))


@pytest.mark.parametrize(
    ("made", "changes", "message"),
    [
        (network(side=9), {}, r"has \['N', 3, 9, 9\], the manifest says \['N', 3, 8, 8\]"),
        (network(), {"dim": 512}, r"has \['N', 3\], the manifest says \['N', 512\]"),
    ],
)
def test_a_network_that_is_not_the_rows_is_refused(made: bytes, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FaceDescriptor(Descriptor.model_validate({**SPEC, **changes}), session_of(made))


def test_a_network_that_does_not_say_its_dimension_is_tried() -> None:
    faces = FaceDescriptor(Descriptor.model_validate({**SPEC, "dim": 4}), session_of(network(side="S", channels="C")))
    with pytest.raises(ValueError, match=r"gives \[1, 3\] for one face, the manifest says dim 4"):
        faces.warm()


def test_a_row_without_a_section_is_refused() -> None:
    model = load_manifest().models["fastestdet"]
    with pytest.raises(ValueError, match="fastestdet has no descriptor section"):
        load_descriptor(model, {})


@pytest.mark.parametrize(("k", "distance"), [(1, 1.09), (2, 0.97), (3, 0.97), (4, 0.97), (5, 0.885), (60, 0.885)])
def test_the_threshold_is_that_of_the_nearest_smaller_k(k: int, distance: float) -> None:
    assert Descriptor.model_validate(SPEC).threshold(k) == distance
    assert Descriptor.model_validate({**SPEC, "thresholds": {3: 0.5}}).threshold(k) == 0.5


POINTS = [[1, 1], [2, 1], [1.5, 2], [1, 3], [2, 3]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"margin": None}, "align box needs a margin"),
        ({"template": POINTS}, "align box has no template"),
        ({"align": "square", "margin": None}, "align square needs a margin"),
        ({"align": "five_points"}, "align five_points needs a template"),
        ({"align": "five_points", "template": POINTS}, "align five_points has no margin"),
        ({"align": "five_points", "template": POINTS[:4], "margin": None}, "template"),
        ({"thresholds": {}}, "thresholds"),
        ({"thresholds": {0: 0.5}}, "thresholds"),
        ({"thresholds": {1: 2.5}}, "thresholds"),
        ({"std": [1, 0, 1]}, "std"),
        ({"distance": "cosine"}, "distance"),
    ],
)
def test_a_section_that_does_not_add_up_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Descriptor.model_validate({**SPEC, **changes})


def test_a_row_of_face_identity_has_a_descriptor_and_weights() -> None:
    row = {
        "name": "face", "task": "face_identity", "revision": "1", "licence": "none", "source": "made here",
        "files": {"weights": {"url": "https://example.org/face.onnx"}}, "descriptor": SPEC,
    }  # fmt: skip
    assert Model.model_validate(row).descriptor is not None
    with pytest.raises(ValueError, match="face_identity needs a descriptor section"):
        Model.model_validate({**row, "descriptor": None})
    converted = {"files": {"weights": {"converted": "face_descriptor.onnx"}}, "convert": "inception_resnet"}
    with pytest.raises(ValueError, match="convert inception_resnet needs a file checkpoint"):
        Model.model_validate({**row, **converted})
    for task, convert in (("face_identity", "slowfast"), ("face_detection", "dlib_face")):
        with pytest.raises(ValueError, match=f"{task} has no convert {convert}"):
            Model.model_validate({**row, **converted, "task": task, "convert": convert})
