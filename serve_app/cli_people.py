"""``mediaverse people``: whom the service recognises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from serve_app.cli_common import DEFAULT_URL, AsJson, Url, clock, connect, fail, out, say_json, show_columns
from serve_app.client import Client
from serve_app.errors import Problem

app = typer.Typer(help="People: learn them from pictures, list, rename, merge, split, forget.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="a person's name")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]


@app.command()
def add(
    name: Name,
    files: Annotated[list[Path], typer.Argument(help="pictures with one face each")],
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Learn a person, or more of one: at least one picture, better five."""
    _show(_ask(url, as_json, lambda client: client.add_person(name, files)), as_json)


@app.command("list")
def list_people(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show everybody, newest first."""
    people = _ask(url, as_json, lambda client: list(client.people()))
    if as_json:
        say_json({"items": people})
    elif people:
        rows = ((str(each["faces"]), _date(each), each["name"] + _also(each)) for each in people)
        show_columns(("faces", "since", "name"), *rows)
    else:
        out.print("nobody is known; learn somebody with: mediaverse people add NAME FILE...")


@app.command()
def show(name: Name, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show one person, and the numbers of the kept faces."""
    _show(_ask(url, as_json, lambda client: client.person(name)), as_json)


@app.command()
def rename(
    name: Name,
    new: Annotated[str, typer.Argument(metavar="NEW", help="the new name")],
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Call a person otherwise, in assets too."""
    _show(_ask(url, as_json, lambda client: client.rename_person(name, new)), as_json)


Other = Annotated[str, typer.Argument(metavar="OTHER", help="another name of the same person")]


@app.command()
def merge(name: Name, other: Other, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Two names are one person: OTHER becomes part of NAME. To take it back: unmerge."""
    _show(_ask(url, as_json, lambda client: client.merge_people(name, other)), as_json)


@app.command()
def unmerge(name: Name, other: Other, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Take OTHER out of NAME again, as it was."""
    _show(_ask(url, as_json, lambda client: client.unmerge_people(name, other)), as_json)


@app.command()
def split(
    name: Name,
    faces: Annotated[list[int], typer.Argument(metavar="FACE...", help="numbers of faces, as show tells them")],
    into: Annotated[str, typer.Option(help="whose they are")],
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Some faces are somebody else's. The same the other way takes it back."""
    _show(_ask(url, as_json, lambda client: client.split_person(name, faces, into)), as_json)


@app.command()
def delete(name: Name, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Forget a person's faces; what assets were found to show stays said of them (see erase)."""
    _ask(url, as_json, lambda client: client.delete_person(name))
    say_json({"deleted": name}) if as_json else out.print(f"{name} is forgotten", markup=False)


@app.command()
def erase(name: Name, yes: Yes = False, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Forget a person everywhere: the faces, the vectors, and the name in what is said of assets."""
    if not yes:
        typer.confirm(f"Erase {name} everywhere? This cannot be taken back", abort=True, err=True)
    _ask(url, as_json, lambda client: client.delete_person(name, erase=True))
    say_json({"erased": name}) if as_json else out.print(f"{name} is erased", markup=False)


@app.command()
def export(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="the zip that is written; never over another file")],
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Write all that is kept of a person: names, faces, vectors, and where they were recognised."""
    packed: bytes = _ask(url, as_json, lambda client: client.export_person(name))
    try:
        with file.open("xb") as target:
            target.write(packed)
    except OSError as error:
        fail(Problem("bad_request", f"cannot write {file}: {error.strerror}"), as_json)
    said = {"file": str(file), "bytes": len(packed)}
    say_json(said) if as_json else out.print(f"{file}: {len(packed)} bytes", markup=False)


@app.command()
def search(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a picture; its largest face counts")],
    owner: Annotated[str, typer.Option(help="whose assets are searched")],
    k: Annotated[int, typer.Option("-k", min=1, help="at most this many")] = 10,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Find the assets that show the face in a picture."""
    answer = _ask(url, as_json, lambda client: client.search_faces(file, owner, k))
    if as_json:
        say_json(answer)
    elif answer["items"]:
        rows = (
            (f"{hit['distance']:.3f}", "yes" if hit["same"] else "no", hit["label"], _at(hit), hit["asset_id"])
            for hit in answer["items"]
        )
        show_columns(("distance", "same", "who", "at", "asset"), *rows)
    else:
        out.print("no faces to compare with")


def _ask(url: str, as_json: bool, question: Callable[[Client], Any]) -> Any:
    try:
        with connect(url, as_json) as client:
            return question(client)
    except Problem as problem:
        fail(problem, as_json)


def _show(person: dict[str, Any], as_json: bool) -> None:
    if as_json:
        return say_json(person)
    out.print(f"{person['name']}{_also(person)}", style="bold", markup=False)
    rows = ((str(face["id"]), str(face["added_at"])[:10], face["added_as"]) for face in person["faces"])
    show_columns(("face", "since", "added as"), *rows)


def _also(person: dict[str, Any]) -> str:
    merged = person.get("merged")
    return f" (also {', '.join(merged)})" if merged else ""


def _date(person: dict[str, Any]) -> str:
    return str(person["created_at"])[:10]


def _at(hit: dict[str, Any]) -> str:
    at = hit.get("timestamp_s")
    return "" if at is None else clock(at)
