"""``mediaverse models`` as an operator and a script meet it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner
from weights_server import BODY, SHA, MakeManifest, Weights

from serve_app.cli_models import Size, app
from serve_app.models.embedded.recipes import SIZES

ROOT = Path(__file__).parents[3]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def call(home: Path, *words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"MEDIAVERSE_HOME": str(home)})


def test_list_names_every_model_with_licence_and_state(home: Path) -> None:
    listed = json.loads(call(home, "list", "--json").stdout)
    rows = {row["model"]: row for row in listed["models"]}
    assert rows["fastestdet@97df0a85"]["state"] == "missing"
    assert rows["fastestdet@97df0a85"]["remedy"] == "mediaverse models pull fastestdet"
    assert rows["fastestdet@97df0a85"]["licence"] == "BSD-3-Clause"
    assert rows["fastestdet@97df0a85"]["profiles"] == ["light"]
    assert rows["mtcnn@2"]["state"] == "present"
    assert listed["tasks"]["captioning"]["remedy"]
    assert "fastestdet@97df0a85" in call(home, "list").stdout


def test_without_a_terminal_licences_must_be_accepted_in_words(home: Path, write_manifest: MakeManifest) -> None:
    answer = call(home, "pull", "small", "--manifest", str(write_manifest()))
    assert answer.exit_code == 2
    assert "net@r1: MIT" in answer.stdout
    assert "for research" in answer.stdout
    assert "--yes" in answer.stderr
    assert not (home / "models" / "net@r1").exists()


def test_pull_verify_damage_and_pull_again(home: Path, write_manifest: MakeManifest, weights: Weights) -> None:
    table = ("--manifest", str(write_manifest()))
    assert call(home, "pull", "small", "--yes", *table).exit_code == 0
    assert len(weights.seen) == 1
    assert call(home, "pull", "small", *table).exit_code == 0, "what is here asks neither a licence nor the network"
    assert len(weights.seen) == 1
    checked = call(home, "verify", "--json", *table)
    assert checked.exit_code == 0
    [file] = json.loads(checked.stdout)["files"]
    assert (file["state"], file["sha256"]) == ("ok", SHA)
    Path(file["path"]).write_bytes(b"x" + BODY[1:])
    damaged = call(home, "verify", "small", "--json", *table)
    assert damaged.exit_code == 1
    [file] = json.loads(damaged.stdout)["files"]
    assert (file["state"], file["remedy"]) == ("corrupt", "mediaverse models pull net")
    assert "corrupt  net@r1 weights -> mediaverse models pull net" in call(home, "verify", *table).stdout
    assert call(home, "pull", "net", *table).exit_code == 0
    assert call(home, "verify", "net@r1", *table).exit_code == 0


def test_verify_of_a_named_profile_reports_what_is_missing(home: Path, write_manifest: MakeManifest) -> None:
    table = ("--manifest", str(write_manifest()))
    assert call(home, "verify", *table).exit_code == 0, "nothing is here, and nothing was asked for"
    answer = call(home, "verify", "small", *table)
    assert answer.exit_code == 1
    assert "missing" in answer.stdout


def test_a_recorded_hash_is_said(home: Path, write_manifest: MakeManifest) -> None:
    table = str(write_manifest(sha256=None, bytes=None))
    answer = call(home, "pull", "net", "--yes", "--manifest", table)
    assert f"recorded as sha256 {SHA}" in answer.stdout


def test_from_a_folder(home: Path, write_manifest: MakeManifest, weights: Weights, tmp_path: Path) -> None:
    (tmp_path / "usb").mkdir()
    words = ("pull", "net", "--yes", "--from", str(tmp_path / "usb"), "--manifest", str(write_manifest()))
    failed = call(home, *words)
    assert failed.exit_code == 1
    assert "usb has no net.onnx" in failed.stderr
    (tmp_path / "usb" / "net.onnx").write_bytes(BODY)
    assert call(home, *words).exit_code == 0
    assert weights.seen == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("pull", "huge", "--yes"), "no profile or model 'huge'; profiles: embedded"),
        (("verify", "huge"), "no profile or model 'huge'"),
        (("list", "--manifest", "/nowhere/models.yaml"), "/nowhere/models.yaml"),
        (("evaluate", "fastestdet"), "no embedded model 'fastestdet'; there are clip-embedded, shapes-embedded"),
        (("train-embedded", "fastestdet"), "no embedded model 'fastestdet'; there are clip-embedded, shapes-embedded"),
    ],
)
def test_a_wrong_word_is_a_clear_error(home: Path, words: tuple[str, ...], message: str) -> None:
    answer = call(home, *words)
    assert answer.exit_code == 2
    assert message in answer.stderr


@pytest.mark.parametrize(("reply", "code", "state"), [("y", 0, "present"), ("n", 1, "missing")])
def test_in_a_terminal_the_licence_is_asked(
    home: Path, write_manifest: MakeManifest, reply: str, code: int, state: str
) -> None:
    words = ["pull", "small", "--home", str(home), "--manifest", str(write_manifest())]
    program = "from serve_app.cli_models import app; app()"
    ours, theirs = os.openpty()
    try:
        os.write(ours, f"{reply}\n".encode())
        done = subprocess.run(
            [sys.executable, "-c", program, *words], cwd=ROOT, stdin=theirs, capture_output=True, text=True, timeout=60
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == code, done.stderr
    assert "Pull these weights under these licences?" in done.stdout
    assert (home / "models" / "net@r1" / "net.onnx").exists() == (state == "present")


def test_training_is_told_what_was_asked(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[Any, ...]] = []

    def train(name: str, out: Path, evaluate: Any, *, progress: Callable[[Any], None], **asked: Any) -> Any:
        progress(SimpleNamespace(phase="scenes", step=0, steps=2, loss=None, eta_s=None))
        progress(SimpleNamespace(phase="training", step=1, steps=2, loss=0.5, eta_s=3.0))
        told.append((name, out, evaluate.__module__, asked))
        return SimpleNamespace(files={"shapes.onnx": (12, SHA)})

    monkeypatch.setitem(sys.modules, "serve_app.models.embedded.train", SimpleNamespace(train=train))
    out = str(tmp_path / "weights")
    answer = call(home, "train-embedded", "shapes-embedded", "--seed", "7", "--minutes", "0.5", "--out", out)
    assert answer.exit_code == 0, answer.output
    place = tmp_path / "weights"
    asked = {"size": "embedded", "seed": 7, "minutes": 0.5, "resume": True, "cards": place}
    assert told == [("shapes-embedded", place, "serve_app.evaluation.embedded", asked)]
    assert f"sha256 {SHA}, bytes 12" in answer.stdout


def test_a_larger_model_does_not_go_into_the_package(home: Path) -> None:
    answer = call(home, "train-embedded", "shapes-embedded", "--size", "large")
    assert answer.exit_code == 2
    assert "--out" in answer.stderr


def test_every_size_has_its_recipes() -> None:
    assert {size.value for size in Size} == SIZES.keys()


def test_an_evaluation_says_what_it_found(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[Any, ...]] = []

    def evaluated(name: str, folder: Path, *, photographs: list[Any], tell: Callable[..., None], **asked: int) -> Any:
        tell("encoding", 1, 2)
        told.append((name, folder, len(photographs), asked))
        return {"recall@10": 0.12345}

    monkeypatch.setattr("serve_app.evaluation.embedded.evaluate", evaluated)
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    (tmp_path / "notes.txt").write_text("no picture")
    words = ("evaluate", "clip-embedded", "--weights", str(home), "--photographs", str(tmp_path), "--pairs", "20")
    answer = call(home, *words, "--json")
    assert json.loads(answer.stdout) == {
        "figures": {"clip-embedded": {"recall@10": 0.12345}},
        "photographs": 1,
        "skipped": ["notes.txt"],
        "weights": str(home),
    }
    assert "skipped 1, no pictures that can be read: notes.txt" in answer.stderr
    assert told == [("clip-embedded", home, 1, {"pairs": 20, "scenes": 300})]
    assert "0.123" in call(home, *words).stdout


def test_an_evaluation_of_missing_weights_is_a_clear_error(home: Path, tmp_path: Path) -> None:
    answer = call(home, "evaluate", "clip-embedded", "--weights", str(tmp_path))
    assert answer.exit_code == 1
    assert "clip_image.onnx" in answer.stderr
    (tmp_path / "empty").mkdir()
    answer = call(home, "evaluate", "--photographs", str(tmp_path / "empty"))
    assert answer.exit_code == 2
    assert "no picture in" in answer.stderr


def test_labels_that_ship_are_no_model_that_lacks_its_weights(tmp_path: Path) -> None:
    done = call(tmp_path, "verify", "--json")
    assert done.exit_code == 0, done.output
    assert "resnet152" not in done.output
