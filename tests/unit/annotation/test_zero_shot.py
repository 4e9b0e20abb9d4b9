"""Labels by words alone, on vectors whose angles are known."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve_app.annotation.zero_shot import ZeroShot, prompts_of, texts
from serve_app.errors import Problem
from serve_app.models.manifest import Model, Prompts, load_manifest
from serve_app.models.store import Store

ROW: dict[str, Any] = {
    "encoder": "clip-embedded@2", "labels": ["east", "north"], "templates": ["{}"], "temperature": 0.5,
    "threshold": 0.0,
}  # fmt: skip
EAST, NORTH = np.array([1, 0], np.float32), np.array([0, 1], np.float32)


def spec(**changes: Any) -> Prompts:
    return Prompts.model_validate({**ROW, **changes})


def head(*vectors: np.ndarray[Any, Any], **changes: Any) -> ZeroShot:
    row = spec(**changes)
    assert isinstance(row.labels, list)
    return ZeroShot.of(row, row.labels, np.stack(vectors))


def at(degrees: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))], np.float32)


def test_every_template_holds_every_label_label_by_label() -> None:
    row = spec(templates=["a {}.", "{} and {}"])
    assert texts(row, ["cat", "dog"]) == ["a cat.", "cat and cat", "a dog.", "dog and dog"]


def test_probabilities_are_a_softmax_of_cosines_over_the_temperature() -> None:
    made = head(EAST, NORTH)
    vectors = [at(0), at(90), at(60)]
    rows = made.run([made.prepare_vector(vector) for vector in vectors])
    for row, degrees in zip(rows, (0, 90, 60), strict=True):
        east, north = math.exp(math.cos(math.radians(degrees)) / 0.5), math.exp(math.sin(math.radians(degrees)) / 0.5)
        assert row == pytest.approx([east / (east + north), north / (east + north)], abs=1e-6)


def test_a_cold_temperature_does_not_overflow() -> None:
    (row,) = head(EAST, NORTH, temperature=1e-4).run([at(0)])
    assert row.tolist() == [1, 0]


def test_sentences_of_a_label_are_averaged_on_the_sphere() -> None:
    """0 and 60 degrees meet at 30; 90 and 120 at 105; each mean is made a unit vector again."""
    made = head(at(0), at(60), at(90), at(120), templates=["{}", "a {}"], temperature=1.0)
    (row,) = made.run([at(30)])
    weights = [math.exp(1), math.exp(math.cos(math.radians(75)))]
    assert row == pytest.approx([weight / sum(weights) for weight in weights], abs=1e-6)


def test_labels_come_best_first_above_the_threshold_and_at_most_top() -> None:
    labels = ["a", "b", "c", "d"]
    vectors = [at(90), at(0), at(20), at(180)]
    made = head(*vectors, labels=labels, threshold=0.05, temperature=0.2)
    assert [label.label for label in made.finish(made.run([at(0)])[0])] == ["b", "c"]
    assert all(label.box is None and 0 <= label.confidence <= 1 for label in made.finish(made.run([at(0)])[0]))
    only = head(*vectors, labels=labels, threshold=0.05, temperature=0.2, top=1)
    assert [label.label for label in only.finish(only.run([at(0)])[0])] == ["b"]
    strict = head(*vectors, labels=labels, threshold=0.9, temperature=0.2)
    assert strict.finish(strict.run([at(0)])[0]) == []


def test_the_score_of_a_concern_is_that_of_its_positive_labels() -> None:
    made = head(at(0), at(90), at(180), labels=["gore", "meadow", "fight"], positive=["gore", "fight"], temperature=1.0)
    weights = [math.exp(1), 1.0, math.exp(-1)]
    assert made.score(made.run([at(0)])[0]) == pytest.approx((weights[0] + weights[2]) / sum(weights), abs=1e-6)


def test_a_batch_gives_each_vector_its_own_row_and_a_broken_one_harms_nobody() -> None:
    made = head(EAST, NORTH)
    rows = made.run([at(0), np.array([np.nan, 0], np.float32), at(90)])
    assert np.argmax(rows[0]) == 0
    assert np.argmax(rows[2]) == 1
    for answer in (made.finish, made.score):
        with pytest.raises(Problem, match="not a number"):
            answer(rows[1])


def test_what_is_no_vector_of_the_encoder_is_refused() -> None:
    with pytest.raises(Problem, match=r"reads vectors of clip-embedded@2, \[2\], not \[3\]") as refused:
        head(EAST, NORTH).prepare_vector(np.zeros(3, np.float32))
    assert refused.value.code == "unavailable"
    with pytest.raises(Problem, match="not a picture") as refused:
        head(EAST, NORTH).prepare(b"")
    assert refused.value.code == "unavailable"


def test_too_few_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="2 texts have 1 vectors"):
        ZeroShot.of(spec(), ["east", "north"], EAST[None])
    with pytest.raises(ValueError, match="finite"):
        ZeroShot(spec(), ["east", "north"], np.array([[1, 0], [np.nan, 0]], np.float32))


def test_the_shipped_prompts_can_be_read() -> None:
    rows = [model for model in load_manifest().models.values() if model.prompts]
    assert {model.task for model in rows} == {"action_recognition", "disturbing_content", "nsfw"}
    for model in rows:
        row, labels = prompts_of(model, Store(Path("nowhere")).locate(model))
        sentences = texts(row, labels)
        assert len(set(sentences)) == len(labels) * len(row.templates)
        assert all("{" not in sentence for sentence in sentences)


def test_the_actions_are_those_of_kinetics_400() -> None:
    """The digest is of the names as torchvision lists them, one a line."""
    model = load_manifest().models["kinetics-prompts"]
    _, labels = prompts_of(model, Store(Path("nowhere")).locate(model))
    assert len(labels) == 400
    assert (labels[0], labels[399]) == ("abseiling", "zumba")
    names = "".join(f"{label}\n" for label in labels).encode()
    assert hashlib.sha256(names).hexdigest() == "e9f2806fe9109b851a80a74841244f6f8c9d10917fa0229cd82bab67f2f8e28f"


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "names no label"), ("a\n\n", None), ("a\na\n", "or one twice"), ("b\n", "positive: no label a")],
)
def test_a_file_of_labels_names_each_once(tmp_path: Path, text: str, message: str | None) -> None:
    (tmp_path / "labels.txt").write_text(text)
    row = {
        "name": "own", "task": "nsfw", "revision": "1", "licence": "none", "source": "here",
        "files": {"labels": {"package": "configs:labels/own.txt"}},
        "prompts": {**ROW, "labels": {"file": "labels"}, "positive": ["a"]},
    }  # fmt: skip
    model = Model.model_validate(row)
    if message is None:
        assert prompts_of(model, {"labels": tmp_path / "labels.txt"})[1] == ["a"]
        return
    with pytest.raises(ValueError, match=message):
        prompts_of(model, {"labels": tmp_path / "labels.txt"})
