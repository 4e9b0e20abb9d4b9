"""Whether the files that are stored and those that rows name fit together, in one pass over both, side by side.

Names alone are read, both in the same order, so that millions take no more memory than a folder of the store.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Column, Connection, collate, select, union_all

from serve_app.catalog.checks import clean
from serve_app.catalog.engine import Database
from serve_app.catalog.files import Files
from serve_app.catalog.schema import assets, contents, renditions
from serve_app.catalog.vector_rows import IDS_A_QUERY, chunks

SHOWN = 100
"""Of what is wrong, so many names are told."""
_ROWS = 1000

_Named = tuple[str, str]
"""A file and an asset whose row names it."""


@dataclass
class StoredFiles:
    """Rows and files that do not fit together, at most 100 names of each."""

    missing: int = 0
    """Files that rows name and that are not stored."""
    missing_files: list[str] = field(default_factory=list)
    missing_assets: list[str] = field(default_factory=list)
    """Whose they are."""
    unnamed: int = 0
    """Files that are stored and that no row names: what a crash or an older backup of the catalog left behind."""
    unnamed_files: list[str] = field(default_factory=list)


def compare(database: Database, files: Files, before: datetime) -> StoredFiles:
    """Compare all rows with all files; one that no row names counts if it was written ``before``.

    A younger one may still get its row. What is deleted meanwhile does not count.
    """
    found = StoredFiles()
    with database.snapshot() as connection:
        missing: list[_Named] = []
        for path, whose in _apart(_named(connection), files.stored()):
            if whose:
                missing += [(path, asset_id) for asset_id in whose]
            elif (written := files.modified(path)) is not None and written < before:
                found.unnamed += 1
                _show(found.unnamed_files, path)
            if len(missing) >= _ROWS:
                _note(database, found, missing)
                missing = []
        _note(database, found, missing)
    return found


def _apart(rows: Iterable[_Named], stored: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """What one side alone has: a file with the assets whose rows name it, or one that is stored with none."""
    both = heapq.merge(rows, ((path, "") for path in stored), key=itemgetter(0))
    for path, group in groupby(both, key=itemgetter(0)):
        whose = sorted({asset_id for _, asset_id in group})
        # An asset's id is never empty.
        if whose[0] or len(whose) == 1:
            yield path, whose if whose[0] else []


def _named(connection: Connection) -> Iterator[_Named]:
    """The files that rows name, in the order of their code points."""
    every = union_all(*(select(file.label("file"), id.label("id")) for file, id in _columns())).subquery()
    order = every.c.file if connection.dialect.name == "sqlite" else collate(every.c.file, "C")
    query = select(every.c.file, every.c.id).where(every.c.file.is_not(None)).order_by(order)
    for row in connection.execute(query, execution_options={"yield_per": _ROWS}):
        yield row.file, row.id


def _note(database: Database, found: StoredFiles, missing: Sequence[_Named]) -> None:
    """Count what is missing, but for what rows no longer name: their assets were deleted or changed meanwhile."""
    there: set[_Named] = set()
    with database.read() as connection:
        for some in chunks(sorted({asset_id for _, asset_id in missing}), IDS_A_QUERY):
            for file, id in _columns():
                there.update((row[0], row[1]) for row in connection.execute(select(file, id).where(id.in_(some))))
    left = [each for each in missing if each in there]
    for path, asset_id in left:
        _show(found.missing_files, path)
        _show(found.missing_assets, asset_id)
    found.missing += len({path for path, _ in left})


def _columns() -> list[tuple[Column[Any], Column[Any]]]:
    """Where files are named, each with where it is said whose they are."""
    of_assets = (assets.c.file, assets.c.id)
    return [of_assets, *((table.c.file, table.c.asset_id) for table in (contents, renditions))]


def _show(names: list[str], name: str) -> None:
    if len(names) < SHOWN and clean(name) not in names:
        names.append(clean(name))
