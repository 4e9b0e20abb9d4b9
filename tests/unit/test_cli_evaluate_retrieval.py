"""``mediaverse evaluate retrieval`` as a user meets it, with the networks that ship."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from serve_app.cli_evaluate import app
from serve_app.evaluation import retrieval
from serve_app.retrieval.thresholds import FILE

CAPTIONS = {
    "sunrise": ["an orange picture", "all of it is orange"],
    "meadow": ["a green picture", "nothing but green"],
    "night": ["a black picture", "it is quite dark"],
    "snow": ["a white picture", "very bright, all white"],
}
COLOURS = {"sunrise": "orange", "meadow": "green", "night": "black", "snow": "white"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "captioned"
    folder.mkdir()
    for name, captions in CAPTIONS.items():
        Image.new("RGB", (64, 48), COLOURS[name]).save(folder / f"{name}.jpg")
        (folder / f"{name}.txt").write_text("\n".join(captions), encoding="utf-8")
    return folder


def run(home: Path, *words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["retrieval", *words, "--home", str(home)], env={"COLUMNS": "80"})
    return done.exit_code, done.stdout, done.stderr


def test_a_folder_is_measured_in_every_direction(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.jpg").write_bytes(b"no picture")
    code, stdout, _ = run(tmp_path, str(folder), "--json", "--out", str(tmp_path / "out"))
    assert code == 0
    document = json.loads(stdout)
    assert (document["pictures"], document["captions"]) == (5, 8)
    assert list(document["skipped"]) == ["broken.jpg"]
    clip, sentences = document["revisions"].values()
    assert list(document["revisions"]) == ["clip-embedded@2", "minilm-l6-v2@1"]
    assert (list(clip), list(sentences)) == (["text-image", "image-text", "text-text", "image-image"], ["text-text"])
    assert clip["text-image"]["recall"]["recall@1"] >= 0.75
    assert sentences["text-text"]["answerable"] == 8
    assert clip["image-image"]["recall"] is None
    assert clip["image-image"]["dissimilar"]["pairs"] == 12
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {
        "retrieval.json",
        "clip-embedded-2-text-image-filtered.png",
        "minilm-l6-v2-1-text-text-similarities.png",
    } < names
    assert "clip-embedded-2-image-image-filtered.png" not in names
    assert json.loads((tmp_path / "out" / "retrieval.json").read_text(encoding="utf-8")) == document
    with Image.open(tmp_path / "out" / "clip-embedded-2-text-image-filtered.png") as plot:
        assert len(plot.convert("RGB").getcolors(1 << 20) or []) > 5


def test_several_pictures_of_one_thing_are_pairs(folder: Path, tmp_path: Path) -> None:
    for name, colour in COLOURS.items():
        Image.new("RGB", (48, 64), colour).save(folder / f"{name}.2.png")
    code, stdout, _ = run(tmp_path, str(folder), "--json", "--model", "clip-embedded")
    assert code == 0
    images = json.loads(stdout)["revisions"]["clip-embedded@2"]["image-image"]
    assert images["recall"]["recall@1"] == 1
    assert images["similar"]["pairs"] == 8


def test_tables_say_what_is_unknown(folder: Path, tmp_path: Path) -> None:
    code, stdout, _ = run(tmp_path, str(folder), "--model", "clip-embedded")
    assert code == 0
    (line,) = [line for line in stdout.splitlines() if line.startswith("image-image") and " similar" not in line][:1]
    assert line.split()[:4] == ["image-image", "0", "3", "unknown"]
    assert "4 pictures, 8 captions" in stdout


def test_thresholds_are_kept_where_there_is_enough_to_tell(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tmp_path, str(folder), "--calibrate")[0] == 0
    assert not any(json.loads((tmp_path / FILE).read_text(encoding="utf-8")).values()), "8 captions are too few"
    monkeypatch.setattr(retrieval, "FEWEST", 4)
    code, stdout, _ = run(tmp_path, str(folder), "--calibrate")
    assert code == 0
    assert FILE in stdout
    kept = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    assert set(kept["clip-embedded@2"]) == {"text-image", "image-text", "text-text"}
    assert set(kept["minilm-l6-v2@1"]) == {"text-text"}


def test_without_files_the_generated_world_is_measured(tmp_path: Path) -> None:
    code, stdout, _ = run(tmp_path, "--pairs", "20", "--json", "--model", "clip-embedded")
    assert code == 0
    pair = json.loads(stdout)["revisions"]["clip-embedded@2"]["text-image"]
    assert (pair["answerable"], pair["targets"]) == (40, 20)
    assert pair["recall"]["recall@10"] > 0.8


def test_what_is_wrong_is_said_with_a_remedy(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    code, _, stderr = run(tmp_path, str(tmp_path / "broken.json"))
    assert code == 1
    assert "broken.json: Expecting property name" in stderr
    assert "Give a COCO captions file" in stderr
    code, stdout, _ = run(tmp_path, str(folder), "--model", "mtcnn", "--json")
    assert code == 1
    assert "mtcnn is no encoder" in json.loads(stdout)["error"]["detail"]
    code, stdout, _ = run(tmp_path, str(folder), "--model", "clip-vit-b-32-openai", "--json")
    assert code == 1
    assert json.loads(stdout)["error"]["remedy"] == "mediaverse models pull clip-vit-b-32-openai"
    (tmp_path / FILE).write_text("{", encoding="utf-8")
    code, stdout, _ = run(tmp_path, str(folder), "--model", "clip-embedded", "--calibrate", "--json")
    assert code == 1
    assert FILE in json.loads(stdout)["error"]["detail"]
