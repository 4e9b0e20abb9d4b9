"""``mediaverse visual-part`` with a reader whose words are known."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from serve_app import cli_memes
from serve_app.annotation.labels import Label
from serve_app.annotation.ocr import Line, Prepared
from serve_app.errors import Problem

app = typer.Typer()
app.command("visual-part")(cli_memes.visual_part)


class Reader:
    """Sees a caption over the upper quarter and, unsure of it, one over the lower."""

    def prepare(self, data: bytes) -> Prepared:
        if data == b"bad":
            raise Problem("undecodable_media", "it is [bold]broken[/bold]")
        width, height = Image.open(io.BytesIO(data)).size
        return Prepared(np.zeros((3, 32, 32), np.float32), np.zeros((32, 32, 3), np.uint8), width, height)

    def run(self, batch: list[Prepared]) -> list[list[Line]]:
        return [[] for _ in batch]

    def finish(self, lines: list[Line], prepared: Prepared) -> list[Label]:
        width, height = prepared.width, prepared.height
        below = Label("unsure", 0.69, (0, 0.75 * height, width, height))
        return [Label("TOP [x]", 0.7, (0, 0, width, height / 4)), below]


@pytest.fixture
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Red above, where the caption is, and blue below."""
    monkeypatch.setattr(cli_memes, "_reader", Reader)
    pixels = np.zeros((200, 100, 3), np.uint8)
    pixels[:50] = (255, 0, 0)
    pixels[50:] = (0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "meme.png")
    return tmp_path / "meme.png"


def run(*words: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.output


def test_the_part_is_cut_out_without_the_words(picture: Path, tmp_path: Path) -> None:
    status, said = run(picture, "--json", "--out", tmp_path / "parts")
    answer = json.loads(said)
    assert status == 0
    assert answer["box"] == [0, 50, 100, 200]
    assert answer["share"] == 0.75
    assert [word["label"] for word in answer["text"]] == ["TOP [x]"]
    with Image.open(answer["part"]) as opened:
        part = np.asarray(opened)
    assert part.shape == (150, 100, 3)
    assert (part == (0, 0, 255)).all()


def test_people_read_a_line_a_file(picture: Path) -> None:
    assert run(picture) == (0, f"{picture}: TOP [x]; 75% without words: 0 50 100 200\n")


def test_one_bad_file_spoils_only_itself(picture: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"bad")
    status, said = run(tmp_path / "bad.png", tmp_path / "none.png", picture, "--json")
    codes = [json.loads(line).get("error", {}).get("code") for line in said.splitlines()]
    assert (status, codes) == (1, ["undecodable_media", "not_found", None])


def test_parts_do_not_overwrite_each_other(picture: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "meme.png"
    Image.new("RGB", (10, 20)).save(twin)
    status, said = run(picture, twin, "--out", tmp_path / "parts", "--json")
    assert status == 1
    assert json.loads(said.splitlines()[1])["error"]["code"] == "bad_request"
    with Image.open(tmp_path / "parts" / "meme.png") as first:
        assert first.size == (100, 150)


def test_nothing_is_left_beside_the_words(picture: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    everywhere = [Label("WORDS", 1.0, (0, 0, 100, 200))]
    monkeypatch.setattr(Reader, "finish", lambda *_: everywhere)
    status, said = run(picture, "--json", "--out", tmp_path / "parts")
    answer = json.loads(said)
    assert (status, answer["box"], answer["share"], answer["part"]) == (0, None, None, None)
    assert not (tmp_path / "parts").exists()
    assert "less than a tenth" in run(picture)[1]
