"""``mediaverse doctor``: is every content in the index, or is it said why not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from serve_app import diagnosis
from serve_app.catalog import Catalog
from serve_app.cli_common import DEFAULT_URL, AsJson, Url, connect, err, fail, out, say_json, show_columns
from serve_app.config import AppArgs
from serve_app.errors import Problem


def doctor(
    repair: Annotated[bool, typer.Option("--repair", help="queue what mends it")] = False,
    home: Annotated[
        Path | None, typer.Option(help="look into this home's catalog itself, where no service runs", file_okay=False)
    ] = None,
    catalog: Annotated[str | None, typer.Option(help="likewise, by the catalog's URL")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Say what is missing in the index, in words, and the remedy. The exit code is 1 where something is unexplained."""
    try:
        if home is not None or catalog is not None:
            found = _look(AppArgs(home=str(home) if home else None, catalog=catalog).catalog_url, repair)
        else:
            with connect(url, as_json) as client:
                found = client.doctor(repair)
    except Problem as problem:
        fail(problem, as_json)
    say_json(found) if as_json else _show(found, repair)
    raise typer.Exit(0 if found["healthy"] else 1)


def _look(url: str, repair: bool) -> dict[str, Any]:
    try:
        opened = Catalog.open(url)
    except ValueError as error:
        raise Problem("bad_request", str(error)) from error
    try:
        targets = diagnosis.targets(opened)
        found = diagnosis.diagnose(opened, targets)
        if repair:
            diagnosis.repair(opened, targets)
        return found.model_dump(mode="json", exclude_none=True)
    finally:
        opened.close()


def _show(found: dict[str, Any], repair: bool) -> None:
    names = ("modality", "revision", "keys", "vectors", "explained_failures", "processing", "unexplained")
    heads = tuple(name.replace("_", " ") for name in names)
    show_columns(heads, *(tuple(str(line[name]) for name in names) for line in found["findings"]))
    for fault in found["faults"]:
        err.print(fault, style="yellow", markup=False)
    if repair and not found["healthy"]:
        out.print("queued what mends it; look again when mediaverse jobs list --state running is empty")
    elif found["healthy"]:
        out.print("all is well: every content has its vectors, or says why not")
    elif "remedy" in found:
        out.print(found["remedy"], markup=False)
