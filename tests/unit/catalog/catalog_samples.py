"""Assets, contents and vectors for the tests, and worker processes."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from numpy.typing import NDArray
from sqlalchemy import Connection

from serve_app.catalog import Catalog, ChangePage, NewAsset, NewContent, NewFace, Person
from serve_app.catalog.schema import metadata

REVISION = "clip@1"
FACE_MODEL = "faces@1"
BATCH = 5
Labels = set[tuple[str, str, float]]
ROOT = Path(__file__).resolve().parents[3]


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def picture(asset_id: str | None = "a", owner: str = "anna", data: str = "bytes", **more: Any) -> NewAsset:
    values: dict[str, Any] = {"kind": "image", "media_type": "image/jpeg", "bytes": len(data), "file": f"f/{data}.jpg"}
    return NewAsset(owner=owner, id=asset_id, sha256=sha(data), **(values | more))


def posted(asset_id: str, owner: str = "anna", data: str = "bytes", modality: Any = "image") -> NewContent:
    return NewContent(asset_id, owner, modality, "image/jpeg", sha(data), len(data), f"f/{asset_id}-{data}")


def vector(seed: int, width: int = 8) -> NDArray[np.float32]:
    row = np.random.default_rng(seed).normal(size=width).astype(np.float32)
    return row / np.linalg.norm(row)


def face(seed: int) -> NewFace:
    points = tuple((float(x), 9.5) for x in range(5))
    return NewFace(b"jpeg", sha(f"picture {seed}"), (1.0, 2.0, 30.25, 40.0), points, 0.75, vector(seed))


def add_person(catalog: Catalog, name: str, *seeds: int) -> Person:
    return catalog.people.add(name, [face(seed) for seed in seeds], FACE_MODEL)[0]


def steps_of(catalog: Catalog, asked: Callable[[], object]) -> int:
    """How many tens of steps of SQLite's machine it takes."""
    with closing(catalog.vectors._database.engine.raw_connection()) as connection:
        sqlite, taken = connection.driver_connection, []
        assert isinstance(sqlite, sqlite3.Connection)
        sqlite.set_progress_handler(lambda: taken.append(1), 10)
    asked()
    before = len(taken)
    asked()
    return len(taken) - before


@dataclass(frozen=True)
class Change:
    """A row of the log: ``vector`` is float32 [D] or None; the assets that it stands for by number, with labels."""

    seq: int
    vid: int
    owner: str
    modality: str
    vector: NDArray[np.float32] | None
    assets: dict[int, Labels] = field(default_factory=dict)


def rows_of(page: ChangePage) -> list[Change]:
    """A page of the log in rows."""
    found: list[Change] = []
    for place, data in enumerate(page.vectors):
        one = None if data is None else np.frombuffer(data, "<f4")
        whose = (page.owners[place], page.modalities[place])
        found.append(Change(int(page.seqs[place]), int(page.vids[place]), *whose, one))
    for row, asset in zip(page.entry_rows, page.assets, strict=True):
        found[row].assets[int(asset)] = set()
    for entry, *label, confidence in zip(
        page.tag_entries, page.tag_names, page.tag_values, page.confidences, strict=True
    ):
        found[page.entry_rows[entry]].assets[int(page.assets[entry])].add((*label, float(confidence)))
    return found


def log(catalog: Catalog, revision: str = REVISION, after: int = 0) -> list[Change]:
    return rows_of(catalog.vectors.changes(revision, 0, 1, after, 100_000))


def differences(connection: Connection) -> list[Any]:
    """In what the tables of a database are not those of the code, but for what each makes in its own way to find words.

    On SQLite these are virtual tables with tables of their own, on Postgres a column with an index.
    """

    def compared(_thing: object, name: str | None, kind: str, reflected: bool, _other: object) -> bool:
        own = {"table": ("words_index", "sentences_index"), "column": ("search",), "index": ("ix_words_search",)}
        return not (reflected and (name or "").startswith(own.get(kind, ())))

    options = {"include_object": compared}
    return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def start_worker(*arguments: str) -> subprocess.Popen[str]:
    """Another process with its own catalog: see ``catalog_worker.py``."""
    script = Path(__file__).with_name("catalog_worker.py")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, str(script), *arguments], stdout=subprocess.PIPE, text=True, env=environment
    )
