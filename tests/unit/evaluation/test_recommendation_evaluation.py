"""Measures of lists by hand, users whose interests are known, and the goal: more interests covered, as relevant."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from serve_app.cli_evaluate import app
from serve_app.errors import Problem
from serve_app.evaluation.readers import SCENARIOS, Scenario, captioned, generated, read_captioned
from serve_app.evaluation.recommendation import DIFFERENCE, Bench, Desk, Figures, Reader, measure, sweep

LABELS = ("dog", "car", "boat", "hat", "person")


def test_measures_by_hand() -> None:
    catalog = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
    serves = np.array([[True, True, False], [False, False, False]])
    reader = Reader(catalog[:1], np.array([[0.6, 0.8], [1, 0]], np.float32), serves)
    desk = Desk(Bench("by hand", catalog, [reader]), reader)
    found = desk.figures([0, 1, 2])
    distances = [math.sqrt(0.4), math.sqrt(2), math.sqrt(0.8)]
    assert found.ild == pytest.approx(sum(distances) / 3, abs=1e-6)
    assert (found.relevance, found.coverage) == (pytest.approx(2 / 3), 0.5)
    assert found.nearness == pytest.approx((0.96 + 1) / 2, abs=1e-6)
    assert desk.figures([2]) == Figures(0.0, 0.0, pytest.approx(0.4, abs=1e-6), 0.0)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_generated_users_are_what_they_say(scenario: Scenario) -> None:
    bench = generated(scenario, 2)
    assert np.allclose(np.linalg.norm(bench.catalog, axis=1), 1, atol=1e-5)
    for reader in bench.readers:
        assert len(reader.posts) + len(reader.held_out) == sum(scenario.sizes) + scenario.noise
        assert reader.serves.shape == (max(1, len(scenario.sizes)), len(bench.catalog))
        assert reader.serves.sum() == 40 * len(scenario.sizes)
        clusters = len(Desk(bench, reader).profile.clusters)
        assert abs(clusters - len(scenario.sizes)) <= 1, "what the service finds is what was put in"
        if scenario.sizes:
            # Contents of an interest are nearer to its posts than others are.
            near = (reader.held_out @ bench.catalog[reader.serves.any(axis=0)].T).max(axis=1)
            far = (reader.held_out @ bench.catalog[~reader.serves.any(axis=0)].T).max(axis=1)
            assert (near > far).mean() > 0.9
    assert np.array_equal(generated(scenario, 2).catalog, bench.catalog)
    assert not np.array_equal(generated(scenario, 2, seed=1).catalog, bench.catalog)


def test_all_clusters_covers_more_and_is_as_relevant() -> None:
    for name in ("five interests", "five, overlapping", "five, very unequal"):
        (scenario,) = (one for one in SCENARIOS if one.name == name)
        (more,) = (row for row in measure([generated(scenario, 8)], [(10, 0.2)]) if row.method == DIFFERENCE)
        coverage, relevance = more.figures["coverage"], more.figures["relevance"]
        assert coverage.mean - coverage.half > 0.2, name
        assert abs(relevance.mean) <= 0.05, name


def test_one_interest_leaves_nothing_to_cover() -> None:
    (more,) = (row for row in measure([generated(SCENARIOS[0], 4)], [(10, 0.2)]) if row.method == DIFFERENCE)
    assert more.figures["coverage"].mean == 0


def test_the_curves_of_the_report() -> None:
    rows = {(row.method, row.k, row.d): row.figures for row in measure([generated(SCENARIOS[1], 4)], sweep())}
    assert {(k, d) for _, k, d in rows} == {(5, 0.2), (10, 0.2), (20, 0.2), (50, 0.2)} | {(10, d / 5) for d in range(6)}
    # An outlier is unlike the rest, so a larger part for it makes a list less like the user's interests.
    assert rows["report", 10, 0.0]["relevance"].mean == 1.0
    assert rows["report", 10, 1.0]["relevance"].mean < 0.3


def coco(folder: Path) -> None:
    rows = []
    for number in range(50):
        labels = {LABELS[number % 4]: 1, "person": 2}
        captions = [f"{LABELS[number % 4]} {number} {n}" for n in range(5)]
        rows.append({"file": f"images/{number}.jpg", "objects": labels, "captions": captions})
    rows[0]["file"] = "../outside.jpg"
    (folder / "captions").mkdir(parents=True)
    (folder / "images").mkdir()
    (folder.parent / "outside.jpg").write_bytes(b"no part of the folder")
    for number in range(30):
        (folder / f"images/{number}.jpg").write_bytes(LABELS[number % 4].encode())
    (folder / "captions" / "coco_captions_and_labels.json").write_text(json.dumps(rows))


def embed(items: list[Any]) -> Any:
    """Near to an axis of its first word."""
    words = [(item.decode() if isinstance(item, bytes) else item).split()[0] for item in items]
    rows = np.eye(64)[[LABELS.index(word) for word in words]]
    rows = rows + np.random.default_rng(0).normal(size=rows.shape) * 0.05
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_captions_become_users_of_labels(tmp_path: Path) -> None:
    coco(tmp_path / "media")
    found = read_captioned(tmp_path / "media", embed, embed)
    assert (found.modalities == "text").sum() == 250
    assert (found.modalities == "image").sum() == 29, "what is not there or lies outside is left out"
    texts, pictures = captioned(found, 4)
    assert (len(pictures.catalog), len(texts.catalog) < 250) == (29, True)
    for bench in (texts, pictures):
        for row in measure([bench], [(10, 0.0)]):
            if row.method == "all-clusters":
                assert (row.figures["relevance"].mean, row.figures["coverage"].mean) == (1.0, 1.0)


@pytest.mark.parametrize("content", [None, "{", '{"a": 1}', '[{"captions": ["a"]}]', "[1]"])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: str | None) -> None:
    (tmp_path / "captions").mkdir()
    if content is not None:
        (tmp_path / "captions" / "coco_captions_and_labels.json").write_text(content)
    with pytest.raises(Problem):
        captioned(read_captioned(tmp_path, embed, embed), 2)


def test_the_command_says_what_came_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.evaluation.readers.SCENARIOS", SCENARIOS[2:3])
    asked = ["recommendation", "--users", "2", "--seeds", "1"]
    said = CliRunner().invoke(app, asked)
    assert said.exit_code == 0, said.output
    assert said.stdout.splitlines()[0].split() == ["method", "ILD", "relevance", "nearness", "coverage", "users"]
    assert "all-clusters less report" in said.stdout
    rows = json.loads(CliRunner().invoke(app, [*asked, "--json", "--out", str(tmp_path / "out")]).stdout)["rows"]
    assert {row["bench"] for row in rows} == {"five interests"}
    assert len(rows) == 4 * len(sweep())
    assert rows[0]["figures"]["ild"].keys() == {"mean", "half"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "recommendation.json", "recommendation.md",
        *(f"{name}-{axis}.png" for name in ("ild", "relevance", "nearness", "coverage") for axis in "kd"),
    }  # fmt: skip
