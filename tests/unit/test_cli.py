"""The command line against the real HTTP door with a small shelf of assets behind it."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import typer
import yaml
from PIL import Image
from typer.testing import CliRunner

from serve_app.cli import app
from serve_app.cli_examples import PHOTOGRAPHS
from serve_app.errors import Problem
from serve_app.models.embedded.held_out import WORLD
from serve_app.models.embedded.scenes import Mix, generate
from serve_app.wire import schemas
from serve_app.wire.ports import NewAsset, Services
from tests.unit.wire.door import Jobs, serving
from tests.unit.wire.test_http import Fake

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "serve_config.yaml"
SHA = {b"one": "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"}


class Shelf(Fake):
    """Keeps what is added, gives it back two a page, refuses what says ``bad``."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, schemas.Asset] = {}
        self.answer = schemas.SearchResult(partial=False, time=0.1)
        self.failing: set[str] = set()

    async def annotate(self, data: bytes, annotators: tuple[str, ...], explain: bool = False) -> schemas.Annotation:
        if data == b"bad":
            raise Problem("undecodable_media", "it is [bold]broken[/bold]", "send another")
        result: schemas.Annotation = await super().annotate(data, annotators, explain)
        label = schemas.Label(label="dog [x]", confidence=0.5)
        seen = schemas.TaskResult(status="ok", labels=[label])
        without = schemas.TaskResult(status="unavailable", remedy="needs " + "more " * 40 + "weights", error="x: y")
        return result.model_copy(update={"results": {"object_detection": seen, "captioning": without}})

    async def add(self, new: NewAsset) -> tuple[schemas.Asset, bool]:
        if new.upload.data == b"bad":
            raise Problem("unsupported_media", "no picture")
        assert new.id is not None
        asset = self.asset(new.id).model_copy(update={"sha256": SHA.get(new.upload.data, "1" * 64)})
        self.kept[new.id] = asset.model_copy(update={"state": "processing"})
        return self.kept[new.id], True

    async def add_many(self, news: Sequence[NewAsset]) -> list[tuple[schemas.Asset, bool] | Problem]:
        self.note("many", len(news))
        return [await self._outcome(new) for new in news]

    async def _outcome(self, new: NewAsset) -> tuple[schemas.Asset, bool] | Problem:
        try:
            return await self.add(new)
        except Problem as problem:
            return problem

    async def get(self, id: str) -> schemas.Asset:
        asset = self.kept[id]
        state, stages = "ready", asset.stages
        if id in self.failing:
            state, stages = "failed", {"index": schemas.Stage(state="failed", error="no weights; pull them")}
        self.kept[id] = asset.model_copy(update={"state": state, "stages": stages})
        return asset

    async def delete(self, id: str) -> None:
        del self.kept[id]

    async def page(self, **options: Any) -> schemas.AssetPage:
        start = int(options["cursor"] or 0)
        items = list(self.kept.values())[start : start + 2]
        return schemas.AssetPage(items=items, next_cursor=str(start + 2) if len(self.kept) > start + 2 else None)

    async def search_text(self, query: schemas.TextQuery) -> schemas.SearchResult:
        self.note("text", query)
        return self.answer

    async def search_image(self, data: bytes, query: schemas.TextQuery) -> schemas.SearchResult:
        self.note("image", data, query)
        return self.answer


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def url(shelf: Shelf) -> Iterator[str]:
    """The address of the real door over ``shelf``."""
    with serving(Services(*[shelf] * 6, Jobs())) as address:
        yield address


@pytest.fixture
def nowhere() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def run(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "pictures"
    (place / "sub" / ".hidden").mkdir(parents=True)
    for name in ("a.png", "sub/b \u00e9.png", "sub/c.txt", ".secret", "sub/.hidden/d.png"):
        (place / name).write_bytes(b"one")
    (place / "link.png").symlink_to(place / "a.png")
    return place


ADDED = ["anna/a.png", "anna/sub/b \u00e9.png", "anna/sub/c.txt"]


def test_annotate_shows_what_was_seen(url: str, shelf: Shelf, tmp_path: Path) -> None:
    file = tmp_path / "a [1].png"
    file.write_bytes(b"one")
    shown = run("annotate", file, "--annotators", "objects,faces", "--url", url).stdout
    assert str(file) in shown.replace("\n", "")
    assert "dog [x] 0.50" in shown
    assert shown.rstrip().endswith("more weights"), "a remedy that is cut off is none"
    assert shelf.asked[0][2] == ("objects", "faces")


def test_one_bad_file_does_not_stop_the_others(url: str, tmp_path: Path) -> None:
    for name in ("bad", "one"):
        (tmp_path / name).write_bytes(name.encode())
    files = [tmp_path / "missing", tmp_path / "bad", tmp_path / "one"]
    missing, bad, good = lines(run("annotate", *files, "--json", "--url", url, code=1).stdout)
    assert [answer["file"] for answer in (missing, bad, good)] == [str(file) for file in files]
    assert missing["error"]["code"] == "bad_request"
    assert bad["error"] == {
        "code": "undecodable_media", "detail": "it is [bold]broken[/bold]", "remedy": "send another",
    }  # fmt: skip
    assert set(good) == {"file", "asset", "results"}
    spoken = run("annotate", *files, "--url", url, code=1).stderr
    assert "it is [bold]broken[/bold]" in spoken
    assert "send another" in spoken


def test_search_asks_what_it_was_told(url: str, shelf: Shelf, tmp_path: Path) -> None:
    options = ["-k", "3", "--filter", "object:dog -meme", "--min-score", "0.25", "--user", "anna", "--url", url]
    run("search", "two dogs", *options)
    kind, query = shelf.asked[0]
    assert (kind, query.text, query.k, query.filter) == ("text", "two dogs", 3, "object:dog -meme")
    assert (query.min_score, query.username) == (0.25, "anna")
    run("search", "dogs", "--min-score", "auto", "--url", url)
    assert (shelf.asked[1][1].min_score, shelf.asked[1][1].k) == ("auto", 10)
    file = tmp_path / "dog.png"
    file.write_bytes(b"one")
    run("search", file, *options, "--url", url)
    kind, data, query = shelf.asked[2]
    assert (kind, data, query.k, query.min_score, query.username) == ("image", b"one", 3, 0.25, "anna")


@pytest.mark.parametrize("text", ["x" * 300, "word " * 2000, "a/" * 3000, "\U0001f600", "-k", "."])
def test_any_text_can_be_searched_for(url: str, shelf: Shelf, text: str) -> None:
    assert "nothing found" in run("search", "--url", url, "--", text).stdout
    assert shelf.asked[0][1].text == text


def test_what_was_found_is_printed_whole(url: str, shelf: Shelf) -> None:
    long = "anna/" + "x" * 150 + "[red].png"
    found = schemas.Ranking(contents=[long, "b :dog:"], scores=[0.91234, -0.5])
    shelf.answer = schemas.SearchResult(image=found, partial=False, truncated=True, time=0.1)
    result = run("search", "x", "--url", url)
    assert result.stdout.splitlines() == ["score   image", f"0.912   {long}", "-0.500  b :dog:"]
    assert "longer than the model reads" in result.stderr
    assert json.loads(run("search", "x", "--json", "--url", url).stdout)["image"]["contents"] == [long, "b :dog:"]


@pytest.mark.parametrize(
    "arguments", [["--min-score", "high"], ["-k", "many"], ["--nonsense"], ["two", "queries"]]
)  # fmt: skip
def test_wrong_usage_is_exit_code_two(arguments: list[str]) -> None:
    run("search", "x", *arguments, code=2)


def test_a_refused_search_is_exit_code_one(url: str) -> None:
    assert "k must be" in run("search", "x", "-k", "0", "--url", url, code=1).stderr
    body = json.loads(run("search", "x", "-k", "0", "--json", "--url", url, code=1).stdout)
    assert body["error"]["code"] == "bad_request"


def test_without_a_service_every_command_says_so(nowhere: str, folder: Path) -> None:
    for command in (["search", "x"], ["annotate", folder / "a.png"], ["index", folder, "--owner", "anna"]):
        spoken = run(*command, "--url", nowhere, code=1).stderr
        assert nowhere in spoken
        assert "make run" in spoken
        body = json.loads(run(*command, "--json", "--url", nowhere, code=1).stdout)
        assert body["error"]["code"] == "unavailable"


def test_an_address_that_is_none_is_refused(folder: Path) -> None:
    for command in (["search", "x"], ["annotate", folder / "a.png"], ["index", folder, "--owner", "anna"]):
        assert "is no address" in run(*command, "--url", "http://host:port", code=1).stderr


def test_the_address_may_come_from_the_environment(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIAVERSE_URL", url)
    assert "nothing found" in run("search", "x").stdout


def test_a_folder_is_indexed_once(url: str, shelf: Shelf, folder: Path) -> None:
    report = json.loads(run("index", folder, "--owner", "anna", "--json", "--url", url).stdout)
    assert (sorted(report["added"]), report["skipped"], report["failed"]) == (ADDED, [], [])
    assert {asset.state for asset in shelf.kept.values()} == {"ready"}, "it waited"
    assert "0 added, 3 already there, 0 failed" in run("index", folder, "--owner", "anna", "--url", url).stdout
    (folder / "a.png").write_bytes(b"changed")
    result = run("index", folder, "--owner", "anna", "--url", url, code=1)
    assert "0 added, 2 already there, 1 failed" in result.stdout
    assert "anna/a.png" in result.stderr
    assert "--replace" in result.stderr
    assert "1 added, 2 already" in run("index", folder, "--owner", "anna", "--replace", "--url", url).stdout
    assert shelf.kept["anna/a.png"].sha256 == "1" * 64


def test_no_wait_does_not_wait(url: str, shelf: Shelf, folder: Path) -> None:
    run("index", folder, "--owner", "anna", "--no-wait", "--url", url)
    assert {asset.state for asset in shelf.kept.values()} == {"processing"}


def test_what_cannot_be_indexed_is_named_and_the_rest_is_indexed(url: str, shelf: Shelf, folder: Path) -> None:
    (folder / "bad.png").write_bytes(b"bad")
    shelf.failing = {"anna/a.png"}
    report = json.loads(run("index", folder, "--owner", "anna", "--json", "--url", url, code=1).stdout)
    failed = {item["id"]: item["error"] for item in report["failed"]}
    assert sorted(report["added"]) == ADDED[1:]
    assert set(failed) == {"anna/a.png", "anna/bad.png"}
    assert "pull them" in failed["anna/a.png"]
    assert "unsupported_media" in failed["anna/bad.png"]


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_names_that_are_not_utf8_are_said_and_the_rest_is_indexed(
    url: str, shelf: Shelf, folder: Path, more: list[str]
) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    (folder / name).write_bytes(b"one")
    mediaverse = Path(sys.executable).parent / "mediaverse"
    command = [mediaverse, "index", folder, "--owner", "anna", "--url", url, *more]
    result = subprocess.run(command, capture_output=True, timeout=60)
    assert result.returncode == 1
    assert b"Traceback" not in result.stderr
    assert sorted(shelf.kept) == ADDED
    if more:
        assert [failed["id"] for failed in json.loads(result.stdout)["failed"]] == [f"anna/{name}"]
    else:
        assert b"half a character" in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["index", "nowhere", "--owner", "a"],
        [
            "index",
            ".",
        ],
        ["annotate"],
        ["fly"],
    ],
)
def test_what_is_missing_or_unknown_is_wrong_usage(command: list[str]) -> None:
    run(*command, code=2)


def test_check_knows_sound_from_faulty(tmp_path: Path) -> None:
    assert "is sound" in run("check", SHIPPED).stdout
    assert json.loads(run("check", SHIPPED, "--json").stdout) == {"ok": True, "faults": []}
    faulty = tmp_path / "mine.yaml"
    faulty.write_text(SHIPPED.read_text().replace("profile: embedded", "profil: embedded"))
    assert "mine.yaml: applications.0.args.profil: " in run("check", faulty, code=1).stderr.replace("\n", " ")
    body = json.loads(run("check", faulty, "--json", code=1).stdout)
    assert body["ok"] is False
    assert body["faults"][0].startswith("mine.yaml: applications.0.args.profil: ")
    assert "No such file" in run("check", tmp_path / "none.yaml", code=1).stderr


def test_examples_may_include_generated_scenes(tmp_path: Path) -> None:
    assert "2 scenes" in run("examples", tmp_path, "--scenes", 2).stdout
    named = sorted(path.stem for path in tmp_path.glob("0[01]-*.png"))
    scenes = [generate(WORLD, number, 320, Mix(photographs=0, pages=0, full=True)) for number in range(2)]
    for stem, scene in zip(named, scenes, strict=True):
        assert stem[3:].split("-")[:3] == scene.caption.replace(",", "").lower().split()[:3]
        with Image.open(tmp_path / f"{stem}.png") as image:
            assert np.array_equal(np.asarray(image), scene.pixels)


def test_examples_are_eight_photographs(tmp_path: Path) -> None:
    assert "8 photographs" in run("examples", tmp_path / "some" / "where").stdout
    files = sorted((tmp_path / "some" / "where").iterdir())
    assert [file.name for file in files] == sorted(PHOTOGRAPHS)
    for file in files:
        with Image.open(io.BytesIO(file.read_bytes())) as image:
            assert min(image.size) > 100
    run("examples", tmp_path / "some" / "where")
    (tmp_path / "file").touch()
    run("examples", tmp_path / "file", code=2)


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


@pytest.mark.parametrize(("path", "command"), list(commands(typer.main.get_command(app))), ids=lambda item: str(item))
def test_every_command_and_option_is_explained(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help
    for parameter in command.params:
        if parameter.name not in ("help", "install_completion", "show_completion"):
            assert getattr(parameter, "help", None), f"{' '.join(path)} {parameter.name}"
    assert (command.help or "").split()[0] in run(*path, "--help").stdout


def config(tmp_path: Path, **http: object) -> Path:
    whole = yaml.safe_load(SHIPPED.read_text())
    whole["http_options"] |= http
    place = tmp_path / "mine.yaml"
    place.write_text(yaml.safe_dump(whole))
    return place


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_serve_refuses_a_port_that_is_taken(tmp_path: Path, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with suppress(OSError), socket.create_server((host, 0), family=family) as listening:
        port = listening.getsockname()[1]
        started = time.monotonic()
        spoken = run("serve", config(tmp_path, host=host, port=port), code=1).stderr
        assert f"cannot listen on {host}:{port}: Address already in use" in spoken.replace("\n", " ")
        assert "http_options" in spoken
        assert time.monotonic() - started < 10, "nothing was started"
        return
    pytest.skip(f"no {host} here")


def test_serve_refuses_a_host_that_is_not_this_machine(tmp_path: Path) -> None:
    assert "cannot listen on" in run("serve", config(tmp_path, host="192.0.2.1"), code=1).stderr
    assert "cannot listen on" in run("serve", config(tmp_path, host="no.such.host.invalid"), code=1).stderr


def test_serve_refuses_a_configuration_with_faults(tmp_path: Path) -> None:
    spoken = run("serve", config(tmp_path, prot=1, port="x"), code=1).stderr
    assert "mine.yaml: http_options.prot: " in spoken
    assert "mine.yaml: http_options.port: " in spoken
    run("serve", tmp_path / "none.yaml", code=2)


def test_broken_thresholds_are_told_by_check_and_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIAVERSE_HOME", str(tmp_path / "home"))
    table = tmp_path / "home" / "thresholds.json"
    table.parent.mkdir()
    table.write_text('{"a@1": {"text-image": 3}}')
    fault = f"{table}: a@1: text-image: 3 is no cosine similarity"
    assert json.loads(run("check", config(tmp_path), "--json", code=1).stdout)["faults"] == [fault]
    assert fault in run("serve", config(tmp_path), code=1).stderr.replace("\n", "")


def test_serve_refuses_a_place_that_cannot_hold_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "home"
    monkeypatch.setenv("MEDIAVERSE_HOME", str(place))
    place.write_text("a file, not a folder")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert f"{place} cannot be used" in run("serve", config(tmp_path, port=port), code=1).stderr
    place.unlink()
    place.mkdir()
    (place / "catalog.db").write_bytes(b"not a database" * 100)
    assert "catalog" in run("serve", config(tmp_path, port=port), code=1).stderr
