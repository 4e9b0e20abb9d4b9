"""The deployment of the face descriptor, without a cluster: a replica is a plain object."""

from __future__ import annotations

import asyncio
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from onnx import TensorProto, helper
from PIL import Image

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own use of pydantic
    import deployments.replica
    from deployments.face_descriptor import FaceDescriptor
    from deployments.replica import ModelRecipe

from serve_app.annotation.labels import FoundFace
from serve_app.errors import Problem
from serve_app.models.manifest import load_manifest, shipped

ROW: dict[str, Any] = {
    "task": "face_identity", "revision": "1", "licence": "none", "source": "made here",
    "files": {"weights": {"url": "https://example.org/means.onnx"}},
    "descriptor": {
        "side": 8, "colour": "rgb", "mean": [0, 0, 0], "std": [255, 255, 255], "align": "box", "margin": 0, "dim": 3,
        "thresholds": {1: 1.0},
    },
}  # fmt: skip


def means() -> bytes:
    node = helper.make_node("ReduceMean", ["faces"], ["vectors"], axes=[2, 3], keepdims=0)
    taken = helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["N", 3, 8, 8])
    given = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph([node], "means", [taken], [given])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


@pytest.fixture
def replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A replica of a row that an operator added to the shipped manifest, its weights pulled or not."""
    manifest = yaml.safe_load(shipped().read_text(encoding="utf-8"))
    manifest["models"]["means"] = ROW
    (tmp_path / "models.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")
    monkeypatch.setattr(deployments.replica, "load_manifest", lambda: load_manifest(tmp_path / "models.yaml"))

    def make(*, pulled: bool = True) -> Any:
        folder = tmp_path / "models" / "means@1"
        folder.mkdir(parents=True)
        if pulled:
            (folder / "means.onnx").write_bytes(means())
        return FaceDescriptor.func_or_class(ModelRecipe("means", str(tmp_path), threads=1))

    return make


def rainbow() -> bytes:
    """Red, then green, then blue, each 40 pixels wide."""
    pixels = np.zeros((40, 120, 3), np.uint8)
    for number in range(3):
        pixels[:, 40 * number : 40 * (number + 1), number] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def face(number: int) -> FoundFace:
    return FoundFace((40 * number + 10, 10, 40 * number + 30, 30), 0.9)


def test_every_face_has_its_vector_and_its_crop_in_the_order_asked(replica: Callable[..., Any]) -> None:
    one = replica()

    async def twice() -> tuple[Any, list[Any]]:
        described = await one.describe(rainbow(), [face(2), face(0), face(1)])
        return described, [await one.describe(kept.picture, [kept.face]) for kept in described.crops]

    described, again = asyncio.run(twice())
    assert described.vectors.dtype == np.float32
    np.testing.assert_allclose(described.vectors, [[0, 0, 1], [1, 0, 0], [0, 1, 0]], atol=1e-6)
    np.testing.assert_allclose([kept.vectors[0] for kept in again], described.vectors, atol=0.02)


def test_a_picture_without_faces_gives_no_vectors(replica: Callable[..., Any]) -> None:
    described = asyncio.run(replica().describe(rainbow(), []))
    assert described.vectors.shape == (0, 3)
    assert described.crops == []


def test_one_bad_face_costs_only_its_own_picture(replica: Callable[..., Any]) -> None:
    one = replica()

    async def both() -> list[Any]:
        bad = FoundFace((500, 0, 600, 50), 1)
        calls = (one.describe(rainbow(), faces) for faces in ([face(0)], [bad], [face(1)]))
        return await asyncio.gather(*calls, return_exceptions=True)

    first, bad, last = asyncio.run(both())
    assert isinstance(bad, Problem)
    assert bad.code == "unprocessable"
    np.testing.assert_allclose([first.vectors[0], last.vectors[0]], [[1, 0, 0], [0, 1, 0]], atol=1e-6)


def test_without_weights_it_says_which_command_brings_them(replica: Callable[..., Any]) -> None:
    one = replica(pulled=False)
    with pytest.raises(Problem) as problem:
        asyncio.run(one.describe(rainbow(), [face(0)]))
    assert (problem.value.code, problem.value.remedy) == ("unavailable", "mediaverse models pull means")
    assert asyncio.run(one.status())["state"] == "unavailable"
