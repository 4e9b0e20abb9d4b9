"""``mediaverse doctor``: is every content in the index, or is it said why not, and is every file where it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from serve_app import diagnosis
from serve_app.catalog import Catalog, Files
from serve_app.cli_common import DEFAULT_URL, AsJson, Url, connect, err, fail, out, say_json, show_columns
from serve_app.config import AppArgs
from serve_app.errors import Problem

FEW = 5
"""Files that are named in words; ``--json`` names more."""


def doctor(
    repair: Annotated[bool, typer.Option("--repair", help="queue what mends it")] = False,
    home: Annotated[
        Path | None, typer.Option(help="look into this home's catalog itself, where no service runs", file_okay=False)
    ] = None,
    catalog: Annotated[str | None, typer.Option(help="likewise, by the catalog's URL")] = None,
    files: Annotated[bool, typer.Option(help="compare the rows with the stored files too")] = True,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Say what is missing in the index, in words, and the remedy. The exit code is 1 where something is unexplained."""
    try:
        if home is not None or catalog is not None:
            args = AppArgs(home=str(home) if home else None, catalog=catalog)
            # Which files belong to a catalog that is named alone, nobody knows.
            found = _look(args.catalog_url, args.files_url if files and home is not None else None, repair)
        else:
            with connect(url, as_json) as client:
                found = client.doctor(repair, files)
    except Problem as problem:
        fail(problem, as_json)
    say_json(found) if as_json else _show(found, repair)
    raise typer.Exit(0 if found["healthy"] else 1)


def _look(url: str, files: str | None, repair: bool) -> dict[str, Any]:
    try:
        opened = Catalog.open(url)
    except ValueError as error:
        raise Problem("bad_request", str(error)) from error
    try:
        targets = diagnosis.targets(opened)
        found = diagnosis.diagnose(opened, targets, None if files is None or repair else Files(files))
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
    stored = found.get("files")
    if stored and stored["unnamed"]:
        some = ", ".join(stored["unnamed_files"][:FEW]) + (", ..." if stored["unnamed"] > FEW else "")
        out.print(f"stored files that no row names and that may be deleted: {stored['unnamed']}: {some}", markup=False)
    if repair and not found["healthy"]:
        out.print("queued what mends it; look again when mediaverse jobs list --state running is empty")
    elif found["healthy"]:
        out.print("all is well: every content has its vectors, or says why not")
    elif "remedy" in found:
        out.print(found["remedy"], markup=False)
