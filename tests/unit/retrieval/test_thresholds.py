"""The thresholds of D3.2, section 3.6, those that were calibrated here, and what may stand in ``min_score``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from serve_app.errors import Problem
from serve_app.models.manifest import load_manifest
from serve_app.retrieval.thresholds import FILE, for_revision, load_thresholds, resolve, save_thresholds

REPORT = "clip-vit-b-32-openai@1"


@pytest.mark.parametrize(
    ("query", "result", "least"),
    [("text", "image", 0.24), ("image", "text", 0.23), ("text", "text", 0.60), ("image", "image", None),
     ("text", "video", None), ("text", "shape3d", 0.24), ("image", "shape3d", None)],
)  # fmt: skip
def test_auto_takes_the_reports_figures(query: str, result: str, least: float | None) -> None:
    table = for_revision(REPORT)
    assert resolve("auto", query, result, table) == least
    assert resolve(None, query, result, table) is None
    assert resolve(0.5, query, result, table) == 0.5


def test_a_model_brings_its_own_figures() -> None:
    own = {("text", "image"): 0.1}
    assert resolve("auto", "text", "image", own) == 0.1
    assert resolve("auto", "text", "text", own) is None
    assert resolve("auto", "text", "image", {}) is None
    assert resolve(-1, "text", "image", own) == -1.0


@pytest.mark.parametrize("value", ["best", "", math.nan, math.inf, True, [0.5]])
def test_anything_else_is_a_bad_request(value: Any) -> None:
    with pytest.raises(Problem) as caught:
        resolve(value, "text", "image", {})
    assert caught.value.code == "bad_request"


def test_every_revision_that_ships_is_a_row_and_no_other_drops_anything(tmp_path: Path) -> None:
    keys = {model.key for model in load_manifest().models.values()}
    assert set(load_thresholds()) <= keys
    assert for_revision("clip-vit-b-32-openai@2", tmp_path) == {}


def test_what_was_calibrated_goes_first_pair_by_pair_and_stays(tmp_path: Path) -> None:
    home = tmp_path / "new"
    save_thresholds(home, {REPORT: {("text", "image"): 0.3}, "mine@1": {("text", "text"): 0.5}})
    save_thresholds(home, {REPORT: {("image", "text"): 0.1}})
    assert for_revision(REPORT, home) == {**for_revision(REPORT), ("text", "image"): 0.3, ("image", "text"): 0.1}
    assert for_revision("mine@1", home) == {("text", "text"): 0.5}
    assert for_revision(REPORT)["text", "image"] == 0.24
    assert [path.name for path in home.iterdir()] == [FILE]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_thresholds(tmp_path, {"mine@1": {("text", "text"): 0.5}})
    before = path.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(OSError, match="full"):
        save_thresholds(tmp_path, {"mine@1": {("text", "text"): 0.9}})
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\udcff", "thresholds.json: .*mend it, or remove it and calibrate again"),
        ("[" * 100_000, "thresholds.json: .*mend it, or remove it and calibrate again"),
        ("{", "thresholds.json: .*mend it, or remove it and calibrate again"),
        ("[]", "no table of revisions"),
        ('{"mine@1": 0.5}', "mine@1: no table of pairs"),
        ('{"mine@1": {"text": 0.5}}', "'text' is no pair such as text-image"),
        ('{"mine@1": {"text-sound": 0.5}}', "is no pair"),
        ('{"mine@1": {"text-image": 2}}', "text-image: 2 is no cosine similarity"),
        ('{"mine@1": {"text-image": NaN}}', "nan is no cosine similarity"),
        ('{"mine@1": {"text-image": true}}', "True is no cosine similarity"),
    ],
)
def test_a_file_that_is_no_such_table_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / FILE).write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ValueError, match=message):
        load_thresholds(tmp_path)
    with pytest.raises(ValueError, match=message):
        save_thresholds(tmp_path, {})
    assert (tmp_path / FILE).read_text(encoding="utf-8", errors="surrogateescape") == content


def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(ValueError, match=f"{FILE}: Is a directory"):
        load_thresholds(tmp_path)
    own = tmp_path / "thresholds.yaml"
    monkeypatch.setattr("serve_app.retrieval.thresholds.shipped", lambda: own)
    for content, message in (
        ("a: {", "thresholds.yaml: "), ("a@1: {}\na@1: {}", "'a@1' stands twice"), ("a@1: {text-smell: .5}", "no pair"),
    ):  # fmt: skip
        own.write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            load_thresholds()


def test_the_file_is_readable_by_people(tmp_path: Path) -> None:
    path = save_thresholds(tmp_path, {"mine@1": {("text", "image"): 0.36}})
    assert json.loads(path.read_text(encoding="utf-8")) == {"mine@1": {"text-image": 0.36}}
