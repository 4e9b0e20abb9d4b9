"""The command line with videos: the real door, with videos and a shelf behind it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from serve_app import cli_index
from serve_app.cli import app
from serve_app.cli_common import clock
from serve_app.errors import Problem
from serve_app.wire import schemas
from tests.unit.wire.door import ANSWER, Jobs, Videos, at, job, services, serving
from tests.unit.wire.test_http import Fake

MP4 = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + b"\0" * 100
WEBM = b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1f\x42\x86\x81\x01\x42\x82\x84webm" + b"\0" * 100
AVI = b"RIFF\x64\0\0\0AVI LIST" + b"\0" * 100
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100


def run(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def film(folder: Path, content: bytes = MP4, name: str = "a [1].film") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


SHOWN = """\
{file} video/mp4 64x36 01:15.3
scene            frames
00:00.0-00:04.2  0-104
00:04.2-01:15.3  105-1880
annotator                 answer
object_detection          dog [x] 0.93 at 00:00.0, 00:03.2, 01:00.0 and 2 more times
                          cat 0.50 at 00:07.0
video_action_recognition  pan left 0.80 at 00:00.0-00:04.2
cross_modal_embedding     a vector for each of 1 scenes
disturbing_content        nothing (score 0.25)
"""


def test_what_was_seen_in_a_video_is_shown_with_its_times(tmp_path: Path) -> None:
    videos, file = Videos(at(0), at(50), ANSWER), film(tmp_path)
    with serving(services(video=videos)) as url:
        shown = run("annotate", file, "--annotators", "objects,faces", "--seed", "7", "--url", url)
    assert shown.stdout == SHOWN.format(file=file)
    assert shown.stderr == "the file is damaged: 1881 of 1900 frames could be read, 3 errors\n", "and no progress bar"
    ((upload, annotators, seed),) = videos.asked
    assert (upload.size, annotators, seed, videos.read[0]) == (len(MP4), ("objects", "faces"), 7, MP4)


def test_json_is_the_answer(tmp_path: Path) -> None:
    file = film(tmp_path)
    with serving(services(video=Videos(at(0), ANSWER))) as url:
        answer = json.loads(run("annotate", file, "--json", "--url", url).stdout)
    assert answer == {"file": str(file)} | json.loads(ANSWER.model_dump_json(exclude_none=True))


@pytest.mark.parametrize(("content", "is_video"), [(MP4, True), (WEBM, True), (AVI, True), (PNG, False), (b"?", False)])
def test_the_content_tells_a_video_from_a_picture(tmp_path: Path, content: bytes, is_video: bool) -> None:
    videos, pictures = Videos(ANSWER), Fake()
    with serving(services(video=videos, image=pictures)) as url:
        run("annotate", film(tmp_path, content, "name.png"), "--url", url)
    assert (len(videos.asked), len(pictures.asked)) == ((1, 0) if is_video else (0, 1))


def test_a_video_that_breaks_off_does_not_stop_the_others(tmp_path: Path) -> None:
    broken = Problem("unprocessable", "it is [bold]too long[/bold]", "cut it")
    files = film(tmp_path), film(tmp_path, PNG, "b.png"), tmp_path / "none.mp4"
    with serving(services(video=Videos(at(0), broken), image=Fake())) as url:
        first, second, third = map(
            json.loads, run("annotate", *files, "--json", "--url", url, code=1).stdout.splitlines()
        )
        assert (
            "it is [bold]too long[/bold] (unprocessable)\ncut it"
            in run("annotate", *files, "--url", url, code=1).stderr
        )
    assert first["error"] == {"code": "unprocessable", "detail": broken.detail, "remedy": "cut it"}
    assert second["asset"]["media_type"] == "image/png"
    assert third["error"]["code"] == "bad_request"


def read(terminal: int) -> bytes:
    """What a program wrote to a terminal; nothing once it has ended."""
    try:
        return os.read(terminal, 10_000)
    except OSError:
        return b""


def test_a_terminal_gets_a_progress_bar(tmp_path: Path) -> None:
    file = film(tmp_path)
    ours, theirs = pty.openpty()
    with serving(services(video=Videos(at(0), 0.3, at(40, scenes=1), 0.5, ANSWER))) as url:
        command = [str(Path(sys.executable).parent / "mediaverse"), "annotate", str(file), "--json", "--url", url]
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
            os.close(theirs)
            drawn = b"".join(iter(lambda: read(ours), b"")).decode()
            said, _ = process.communicate(timeout=60)
    os.close(ours)
    assert json.loads(said)["scenes"]
    assert file.name in drawn
    assert "40 of 100 frames" in drawn


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "00:00.0"), (3.2, "00:03.2"), (3.25, "00:03.2"), (59.94, "00:59.9"), (59.96, "01:00.0"), (600, "10:00.0"),
        (3599.96, "1:00:00.0"), (86399.9, "23:59:59.9"), (360000, "100:00:00.0"), (-0.5, "-00:00.5"),
        (-0.01, "00:00.0"),
    ],
)  # fmt: skip
def test_times_are_shown_as_a_clock_does(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


class Shelf(Fake):
    """Finds moments, and keeps assets that are processed for as many looks as it is told."""

    looks = 0

    async def search_text(self, query: schemas.TextQuery) -> schemas.SearchResult:
        moments = [schemas.Moment(start_s=4.2, end_s=75.26), schemas.Moment(start_s=0, end_s=3)]
        found = schemas.VideoRanking(contents=["anna/a [1].mp4", "b"], scores=[0.91234, -0.5], moments=moments)
        text = schemas.Ranking(contents=["c"], scores=[0.5])
        return schemas.SearchResult(text=text, video=found, partial=False, time=0.1)

    async def page(self, **options: Any) -> schemas.AssetPage:
        return schemas.AssetPage(items=[])

    async def get(self, id: str) -> schemas.Asset:
        self.looks -= 1
        return self.asset(id).model_copy(update={"state": "ready" if self.looks < 0 else "processing"})


def test_moments_of_videos_are_found() -> None:
    with serving(services(retrieval=Shelf())) as url:
        shown = run("search", "a dog", "--url", url).stdout
    assert shown.splitlines() == [
        "score  text",
        "0.500  c",
        "score   moment           video",
        "0.912   00:04.2-01:15.3  anna/a [1].mp4",
        "-0.500  00:00.0-00:03.0  b",
    ]


class Moving(Jobs):
    """A running job, which goes on with every look."""

    moves = True

    async def page(self, **options: Any) -> schemas.JobPage:
        self.asked.append(options)
        return schemas.JobPage(items=[job(progress=len(self.asked) / 100 if self.moves else 0.5)])


@pytest.mark.parametrize("moves", [True, False])
def test_a_long_video_is_waited_for_while_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: bool
) -> None:
    monkeypatch.setattr(cli_index, "_WAIT_S", 1.0)
    monkeypatch.setattr(cli_index, "_PAUSES_S", (0.2, 0.2))
    shelf, jobs = Shelf(), Moving()
    shelf.looks, jobs.moves = 9, moves
    film(tmp_path, name="a.mp4")
    with serving(services(assets=shelf, jobs=jobs)) as url:
        said = run("index", tmp_path, "--owner", "anna", "--json", "--url", url, code=0 if moves else 1).stdout
    report = json.loads(said)
    assert [item["error"] for item in report["failed"]] == (
        [] if moves else ["still being processed; look again later"]
    )
    assert jobs.asked[0]["state"] == "running"
