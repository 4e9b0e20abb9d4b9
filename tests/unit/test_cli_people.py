"""``mediaverse people`` against the real door with a small fake behind it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from serve_app.cli_people import app
from tests.unit.wire.door import services, serving
from tests.unit.wire.people_port import NAME, People


class Shelf(People):
    """All people on one page."""

    async def page(self, *, limit: int, cursor: str | None) -> Any:
        return (await super().page(limit=limit, cursor=cursor)).model_copy(update={"next_cursor": None})


def run(people: People, *arguments: object, code: int = 0, typed: str = "") -> Any:
    with serving(services(people=people)) as url:
        result = CliRunner().invoke(app, [*map(str, arguments), "--url", url], input=typed)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_a_person_is_learnt_from_pictures(tmp_path: Path) -> None:
    people, files = Shelf(), [tmp_path / "a.png", tmp_path / "b.png"]
    for file in files:
        file.write_bytes(file.name.encode())
    said = run(people, "add", NAME, *files).stdout.splitlines()
    assert said == [f"{NAME} (also B.)", "face  since       added as", f"7     2026-11-23  {NAME}"]
    assert people.asked == [("add", NAME, [("a.png", b"a.png"), ("b.png", b"b.png")])]
    assert "2 faces are found" in run(people, "add", "twins", files[0], code=1).stderr
    assert (
        json.loads(run(people, "add", "twins", files[0], "--json", code=1).stdout)["error"]["code"] == "unprocessable"
    )
    assert "cannot read" in run(people, "add", NAME, tmp_path / "none.png", code=1).stderr


def test_everybody_is_listed() -> None:
    assert run(Shelf(), "list").stdout.splitlines() == ["faces  since       name", f"2      2026-11-23  {NAME}"]
    assert json.loads(run(Shelf(), "list", "--json").stdout)["items"][0]["faces"] == 2


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (("show", NAME), ("get", NAME)),
        (("rename", NAME, "anna"), ("rename", NAME, "anna")),
        (("merge", NAME, "ben"), ("merge", NAME, "ben")),
        (("unmerge", NAME, "ben"), ("unmerge", NAME, "ben")),
        (("split", NAME, 7, 8, "--into", "ben"), ("split", NAME, [7, 8], "ben")),
        (("delete", NAME), ("delete", NAME, False)),
        (("erase", NAME, "--yes"), ("delete", NAME, True)),
    ],
)
def test_a_command_asks_for_what_it_says(arguments: tuple[object, ...], asked: tuple[Any, ...]) -> None:
    people = Shelf()
    run(people, *arguments)
    assert people.asked == [asked]
    assert json.loads(run(people, *arguments, "--json").stdout)


def test_erasing_is_asked_for_twice() -> None:
    people = Shelf()
    run(people, "erase", NAME, typed="n\n", code=1)
    assert people.asked == []
    run(people, "erase", NAME, typed="y\n")
    assert people.asked == [("delete", NAME, True)]


def test_an_export_is_written_but_over_nothing(tmp_path: Path) -> None:
    file = tmp_path / "anna.zip"
    run(Shelf(), "export", NAME, file)
    assert file.read_bytes() == b"PK zip"
    assert "cannot write" in run(Shelf(), "export", NAME, file, code=1).stderr


def test_a_face_is_searched_for(tmp_path: Path) -> None:
    file, people = tmp_path / "a.png", Shelf()
    file.write_bytes(b"face")
    assert run(people, "search", file, "--owner", "anna", "-k", 3).stdout.splitlines() == [
        "distance  same  who   at  asset",
        "0.500     yes   anna      a",
    ]
    assert people.asked == [("search", b"face", "anna", 3)]
