"""Clips become labels: sampled, normalised, batched and cut off as the row says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from serve_app.annotation.actions import ActionRecognizer, load_actions
from serve_app.annotation.watch import Clips
from serve_app.models.manifest import Model

FRAMES, CROP = 4, 6
ROW = {
    "name": "probe",
    "task": "video_action_recognition",
    "revision": "1",
    "licence": "MIT",
    "source": "here",
    "files": {"weights": {"url": "https://weights.example/probe.onnx"}},
    "video": {
        "frames": FRAMES,
        "alpha": 2,
        "short_side": 8,
        "crop": CROP,
        "mean": [0.5, 0.25, 0.0],
        "std": [0.5, 0.25, 1.0],
        "window_s": 2.5,
        "labels": ["red", "green", "blue", "later"],
        "threshold": 0.1,
        "top": 2,
    },
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A network whose "probabilities" are the mean of each channel, and that of the blue one in the last frame."""
    numbers = {"all": [2, 3, 4], "last": [FRAMES - 1], "blue": [2]}
    nodes = [
        helper.make_node("ReduceMean", ["clip", "all"], ["channels"], keepdims=0),
        helper.make_node("Gather", ["clip", "last"], ["end"], axis=2),
        helper.make_node("ReduceMean", ["end", "all"], ["ends"], keepdims=0),
        helper.make_node("Gather", ["ends", "blue"], ["later"], axis=1),
        helper.make_node("Concat", ["channels", "later"], ["probabilities"], axis=1),
    ]
    given = helper.make_tensor_value_info("clip", TensorProto.FLOAT, ["batch", 3, FRAMES, CROP, CROP])
    made = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 4])
    constants = [helper.make_tensor(name, TensorProto.INT64, [len(each)], each) for name, each in numbers.items()]
    graph = helper.make_graph(nodes, "probe", [given], [made], constants)
    path = tmp_path_factory.mktemp("probe") / "probe.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return {"weights": path}


def row(**video: object) -> Model:
    return Model.model_validate({**ROW, "video": {**ROW["video"], **video}})  # type: ignore[dict-item]


@pytest.fixture(scope="module")
def probe(files: dict[str, Path]) -> ActionRecognizer:
    return load_actions(row(), files, threads=1)


def colours(*frames: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A clip whose frames are of one colour each."""
    return np.broadcast_to(np.array(frames, np.uint8)[:, None, None], (len(frames), CROP, CROP, 3)).copy()


def test_the_row_says_how_clips_are_cut(probe: ActionRecognizer) -> None:
    assert probe.clips == Clips(frames=4, short_side=8, crop=6, window_s=2.5)


def test_pixels_are_normalised_channel_by_channel(probe: ActionRecognizer) -> None:
    tensor = probe.prepare(colours((255, 0, 51), (0, 255, 0), (0, 0, 255), (0, 0, 0)))
    assert tensor.dtype == np.float32
    assert tensor.shape == (3, FRAMES, CROP, CROP)
    # (x / 255 - mean) / std, by hand
    np.testing.assert_allclose(tensor[:, :, 0, 0], [[1, -1, -1, -1], [-1, 3, -1, -1], [0.2, 0, 1, 0]], atol=1e-6)
    assert np.array_equal(tensor, np.broadcast_to(tensor[:, :, :1, :1], tensor.shape))


def test_rows_and_columns_keep_their_places(probe: ActionRecognizer) -> None:
    pixels = colours(*[(0, 0, 0)] * FRAMES)
    pixels[2, 1, 4, 2] = 255
    assert [axis.tolist() for axis in np.nonzero(probe.prepare(pixels)[2])] == [[2], [1], [4]]


@pytest.mark.parametrize(
    ("given", "chosen"),
    [(1, [0, 0, 0, 0]), (2, [0, 0, 0, 1]), (3, [0, 0, 1, 2]), (4, [0, 1, 2, 3]), (7, [0, 2, 4, 6]), (9, [0, 2, 5, 8])],
)
def test_any_number_of_frames_is_sampled_uniformly(probe: ActionRecognizer, given: int, chosen: list[int]) -> None:
    tensor = probe.prepare(colours(*[(0, 0, frame) for frame in range(given)]))
    assert np.rint(tensor[2, :, 0, 0] * 255).tolist() == chosen


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((0, CROP, CROP, 3), np.uint8),
        np.zeros((FRAMES, CROP, CROP, 3), np.float32),
        np.zeros((FRAMES, CROP, CROP + 1, 3), np.uint8),
        np.zeros((FRAMES, 3, CROP, CROP), np.uint8),
        np.zeros((CROP, CROP, 3), np.uint8),
    ],
    ids=["none", "float", "wide", "channels first", "a picture"],
)
def test_what_is_no_clip_is_refused(probe: ActionRecognizer, wrong: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="a clip is uint8"):
        probe.prepare(wrong)


def test_a_batch_answers_as_its_clips_alone(probe: ActionRecognizer) -> None:
    random = np.random.default_rng(0)
    clips = [probe.prepare(random.integers(0, 256, (n, CROP, CROP, 3), np.uint8)) for n in (1, 4, 9)]
    together = probe.run(clips)
    assert together.shape == (3, 4)
    for clip, answer in zip(clips, together, strict=True):
        np.testing.assert_allclose(probe.run(clip[None])[0], answer, atol=1e-6)
        np.testing.assert_allclose(answer[:3], clip.mean((1, 2, 3)), atol=1e-6)
    assert probe.run([]).shape == (0, 4)


def test_the_best_labels_first_and_none_below_the_threshold(probe: ActionRecognizer) -> None:
    def named(*row: float) -> list[tuple[str, float]]:
        return [(label.label, round(label.confidence, 3)) for label in probe.finish(np.array(row, np.float32))]

    assert named(0.2, 0.5, 0.11, 0.19) == [("green", 0.5), ("red", 0.2)]
    assert named(0.05, 0.05, 0.85, 0.05) == [("blue", 0.85)]
    assert named(0.0, 0.0, 0.0, 1.0000001) == [("later", 1.0)]
    assert named(0.09, 0.09, 0.09, 0.09) == []
    assert named(*[float("nan")] * 4) == []


def test_a_network_that_is_not_the_rows_is_refused(files: dict[str, Path]) -> None:
    for change in ({"frames": 8}, {"crop": 8}, {"labels": ["one", "two"]}):
        with pytest.raises(ValueError, match="the manifest says"):
            load_actions(row(**change), files)


def test_labels_may_stand_in_a_file(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("rouge\nvert\nbleu\nà la fin\n", encoding="utf-8")
    there = {**files, "labels": tmp_path / "labels.txt"}
    wanted = {**row(labels={"file": "weights"}).model_dump()}
    wanted["files"]["labels"] = {"url": "https://weights.example/labels.txt"}
    wanted["video"]["labels"] = {"file": "labels"}
    model = Model.model_validate(wanted)
    [best, _] = load_actions(model, there).finish(np.array([0, 0.3, 0, 0.6], np.float32))
    assert best.label == "à la fin"


def test_half_precision_is_for_gpus(files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = {**files, "half": tmp_path / "half.onnx"}
    monkeypatch.setattr("serve_app.annotation.actions.providers", lambda: [("CPUExecutionProvider", {})])
    load_actions(row(), there)
    monkeypatch.setattr("serve_app.annotation.actions.providers", lambda: [("CUDAExecutionProvider", {})])
    with pytest.raises(FileNotFoundError, match=r"half\.onnx"):
        load_actions(row(), there)
