"""``mediaverse adapt``, in the folder that the test runs in."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import m3u8
import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from serve_app import cli_adapt
from tests.made_videos import noise, write_sound, write_video

app = typer.Typer()
app.command("adapt")(cli_adapt.adapt)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.output


def said(*words: str) -> dict[str, Any]:
    status, text = run(*words, "--json")
    assert status == 0, text
    answer: dict[str, Any] = json.loads(text)
    return answer


def test_a_video_becomes_a_folder_of_streams(here: Path) -> None:
    write_video(here / "clip.mp4", noise(50, (426, 240)), rate=25)
    answer = said("clip.mp4")
    assert (answer["preset"], answer["out"], answer["duration_s"]) == ("web", "clip-web", 2.0)
    (stream,) = answer["video"]
    assert (stream["name"], stream["width"], stream["height"], stream["fps"]) == ("h264-240", 426, 240, 25)
    assert stream["bytes"] == (here / "clip-web" / "h264-240.mp4").stat().st_size
    assert m3u8.load(answer["hls"]).playlists[0].stream_info.codecs == stream["codecs"]
    assert Path(answer["dash"]).is_file()
    status, text = run("clip.mp4")
    assert status == 1
    assert "is there already" in text
    status, text = run("clip.mp4", "--out", "again")
    assert status == 0
    assert "426 x 240" in text
    assert "again/master.m3u8" in text


def test_a_sound(here: Path) -> None:
    write_sound(here / "sound.m4a")
    answer = said("sound.m4a", "--out", "sound")
    assert answer["video"] == []
    assert [each["codecs"] for each in answer["audio"]] == ["mp4a.40.2"]


def test_a_picture(here: Path) -> None:
    Image.fromarray(np.full((600, 800, 3), 99, np.uint8)).save(here / "picture.png")
    answer = said("picture.png")
    assert (answer["out"], answer["width"], answer["height"]) == ("picture-small.jpeg", 320, 240)
    with Image.open(io.BytesIO((here / "picture-small.jpeg").read_bytes())) as made:
        assert made.size == (320, 240)
    assert run("picture.png")[0] == 1
    assert said("picture.png", "--preset", "compressed", "--out", "c.jpg")["width"] == 800


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("none.mp4",), "not_found"),
        (("words.txt",), "unsupported_media"),
        (("clip.mp4", "--preset", "x"), "bad_request"),
    ],
)
def test_what_cannot_be_done_is_told(here: Path, words: tuple[str, ...], code: str) -> None:
    (here / "words.txt").write_text("some words")
    write_video(here / "clip.mp4", noise(5, (320, 240)))
    status, text = run(*words, "--json")
    assert status == 1
    assert json.loads(text)["error"]["code"] == code
    assert [path.name for path in here.iterdir() if path.is_dir()] == []
