"""The deployment of the classifier of disturbing content, without a cluster: a replica is a plain object."""

from __future__ import annotations

import asyncio
import io
import math
import time
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own use of pydantic
    import deployments.replica
    from deployments.concern_detector import ConcernDetector
    from deployments.replica import ModelRecipe

from serve_app.errors import Problem
from serve_app.models.manifest import load_manifest, shipped

SECTIONS: dict[str, dict[str, Any]] = {
    "bright": {
        "on": "picture", "input": [8, 8], "colour": "rgb", "mean": [0, 0, 0], "std": [255, 255, 255], "layout": "nchw",
        "activation": "none", "labels": ["bright"], "positive": ["bright"], "threshold": 0.5,
    },
    "head": {
        "on": "vector", "encoder": "clip-embedded@2", "activation": "sigmoid", "labels": ["fine", "disturbing"],
        "positive": ["disturbing"], "threshold": 0.5,
    },
}  # fmt: skip
NODES = {
    "bright": (["N", 3, 8, 8], helper.make_node("ReduceMean", ["in"], ["out"], axes=[1, 2, 3], keepdims=0)),
    "head": (["N", 3], helper.make_node("MatMul", ["in", "weights"], ["out"])),
}
WEIGHTS = np.array([[2, -2], [0, 3], [0, 0]], np.float32)


def network(name: str) -> bytes:
    """The mean brightness of a picture [N], or a linear head [N, 2]."""
    shape, node = NODES[name]
    taken = helper.make_tensor_value_info("in", TensorProto.FLOAT, shape)
    given = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], name, [taken], [given], [numpy_helper.from_array(WEIGHTS, "weights")])
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    )


@pytest.fixture
def replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A replica of a row that an operator added to the shipped manifest, its weights pulled or not."""
    manifest = yaml.safe_load(shipped().read_text(encoding="utf-8"))
    for name, section in SECTIONS.items():
        manifest["models"][name] = {
            "task": "disturbing_content", "revision": "1", "licence": "none", "source": "made here",
            "files": {"weights": {"url": f"https://example.org/{name}.onnx"}}, "classifier": section,
        }  # fmt: skip
    (tmp_path / "models.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")
    monkeypatch.setattr(deployments.replica, "load_manifest", lambda: load_manifest(tmp_path / "models.yaml"))

    def make(name: str, *, pulled: bool = True) -> Any:
        folder = tmp_path / "models" / f"{name}@1"
        folder.mkdir(parents=True)
        if pulled:
            (folder / f"{name}.onnx").write_bytes(network(name))
        return ConcernDetector.func_or_class(ModelRecipe(name, str(tmp_path), threads=1))

    return make


def grey(level: int, size: tuple[int, int] = (20, 10)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (level,) * 3).save(buffer, "PNG")
    return buffer.getvalue()


def together(*calls: Awaitable[float]) -> list[Any]:
    async def gather() -> list[Any]:
        return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20)

    return asyncio.run(gather())


def test_pictures_share_batches_and_a_broken_one_harms_nobody(replica: Callable[..., Any]) -> None:
    made = replica("bright")
    sizes: list[int] = []
    run = made.head.run

    def slow(batch: list[Any]) -> Any:
        sizes.append(len(batch))
        time.sleep(0.1)
        return run(batch)

    made.items = made.batcher(slow)
    levels = range(0, 255, 17)
    broken = [b"", b"words", grey(3)[:40]]
    calls = [made.score(grey(level, (level + 1, 9))) for level in levels] + [made.score(data) for data in broken]
    answers = together(*calls)
    assert answers[: len(levels)] == pytest.approx([level / 255 for level in levels])
    codes = [problem.code for problem in answers[len(levels) :]]
    assert codes == ["undecodable_media", "unsupported_media", "undecodable_media"]
    assert sum(sizes) == len(levels)
    assert len(sizes) < len(levels)


def test_vectors_are_scored_by_a_head(replica: Callable[..., Any]) -> None:
    vectors = [np.array(values, np.float64) for values in ([1, 0, 0], [0, 1, 0], [0, 0, 1])]
    for vector in vectors:
        vector.setflags(write=False)
    answers = together(*map(replica("head").score_vector, vectors))
    assert answers == pytest.approx([1 / (1 + math.exp(-logit)) for logit in (-2, 3, 0)], abs=1e-6)


def test_a_row_for_the_other_kind_says_so(replica: Callable[..., Any]) -> None:
    head, bright = replica("head"), replica("bright")
    refused = together(head.score(grey(0)), head.score_vector(np.zeros(256)), bright.score_vector(np.zeros(3)))
    assert all(isinstance(problem, Problem) and problem.code == "unavailable" for problem in refused)
    assert "reads vectors of clip-embedded@2, not a picture" in refused[0].detail
    assert "[3], not [256]" in refused[1].detail
    assert "reads pictures, not a vector" in refused[2].detail


def test_weights_that_are_missing_are_taken_up_when_they_come(replica: Callable[..., Any], tmp_path: Path) -> None:
    made = replica("bright", pulled=False)
    (problem,) = together(made.score(grey(51)))
    assert (problem.code, problem.remedy) == ("unavailable", "mediaverse models pull bright")
    (tmp_path / "models" / "bright@1" / "bright.onnx").write_bytes(network("bright"))
    assert asyncio.run(made.status())["state"] == "ready"
    assert together(made.score(grey(51))) == [pytest.approx(0.2)]


def test_a_network_that_is_not_what_its_row_says_is_unavailable(replica: Callable[..., Any], tmp_path: Path) -> None:
    made = replica("head", pulled=False)
    (tmp_path / "models" / "head@1" / "head.onnx").write_bytes(network("bright"))
    assert asyncio.run(made.status())["state"] == "unavailable"
    (problem,) = together(made.score_vector(np.zeros(3)))
    assert problem.code == "unavailable"
    assert "how long D is" in problem.detail
