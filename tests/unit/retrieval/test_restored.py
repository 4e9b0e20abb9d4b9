"""A catalog that is put back to a backup goes on as another one, and no shard may start from what it has lost.

A real SQLite file, copied as the operator is told to; what should be found is counted from its rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from serve_app.catalog import Catalog, ChangePage, Filter, NewContent, Tag, parse_filter
from serve_app.catalog.vectors import Vectors
from serve_app.retrieval import holder as holders
from serve_app.retrieval.hits import Query
from serve_app.retrieval.holder import Holder, Slice
from serve_app.retrieval.snapshot import Snapshot

DIM = 8
REVISION = "clip@1"
QUERIES = np.random.default_rng(5).normal(size=(6, DIM)).astype(np.float32)


class Place:
    """A home with a catalog and its backup."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.file, self.copy = home / "catalog.db", home / "copy.db"
        self.slice = Slice(home=str(home), origin=f"sqlite:///{self.file}")

    def add(self, names: Sequence[str], seed: int) -> None:
        rows = np.random.default_rng(seed).normal(size=(len(names), DIM)).astype(np.float32)
        with closing(Catalog.open(f"sqlite:///{self.file}")) as catalog:
            for name, row in zip(names, rows / np.linalg.norm(rows, axis=1, keepdims=True), strict=True):
                digest = f"{name}{seed}".encode().hex().rjust(64, "0")
                new = NewContent(name, "anna", "image", "image/png", digest, 1, f"f/{name}{seed}")
                catalog.contents.add(new, row, REVISION)

    def tag(self, name: str, label: str) -> None:
        with closing(Catalog.open(f"sqlite:///{self.file}")) as catalog:
            catalog.annotations.put(name, "objects", {}, [Tag("object", label, 0.9)])

    def backup(self) -> None:
        with closing(sqlite3.connect(self.file)) as source, closing(sqlite3.connect(self.copy)) as target:
            source.backup(target)

    def restore(self) -> None:
        for path in self.home.glob("catalog.db*"):
            path.unlink()
        self.copy.rename(self.file)

    def snapshot(self) -> None:
        """A shard that starts, learns all and ends."""
        with closing(Catalog.open(f"sqlite:///{self.file}")) as catalog:
            holder = Holder(catalog.vectors, self.slice)
            holder.open(REVISION, DIM)
            holder.close()

    def answers(self, filter: Filter | None = None) -> tuple[list[list[int]], list[list[int]], int]:
        """What a shard that starts now finds, what there is to find, and where in the log it began to read."""
        begun: list[int] = []
        with closing(Catalog.open(f"sqlite:///{self.file}")) as catalog:
            changes = catalog.vectors.changes

            def watched(revision: str, shard: int, shards: int, after: int, limit: int) -> ChangePage:
                begun.append(after)
                return changes(revision, shard, shards, after, limit)

            catalog.vectors.changes = watched  # type: ignore[method-assign]
            holder = Holder(catalog.vectors, self.slice)
            holder.open(REVISION, DIM)
            asked = [Query(query, 1000, REVISION, ("image",), 0, filter=filter) for query in QUERIES]
            found = [hits["image"].vids.tolist() for hits in holder.search(asked)]
        return found, self.truth(filter), begun[0]

    def truth(self, filter: Filter | None) -> list[list[int]]:
        labelled = "AND vid IN (SELECT vid FROM contents c JOIN vectors v USING (owner, modality, sha256) JOIN tags t "
        labelled += "ON t.asset_id = c.asset_id WHERE t.value = ?)"
        with closing(sqlite3.connect(self.file)) as connection:
            more, values = (labelled, (filter.terms[0].value,)) if filter else ("", ())
            rows = connection.execute(f"SELECT vid, data FROM vectors WHERE data IS NOT NULL {more}", values).fetchall()
        vids = [vid for vid, _ in rows]
        matrix = np.array([np.frombuffer(data, "<f4") for _, data in rows], np.float64).reshape(len(rows), DIM)
        return [[vids[i] for i in np.argsort(-(matrix @ query), kind="stable")] for query in QUERIES.astype(np.float64)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(holders, "_SNAPSHOT_FROM", 1)
    made = Place(tmp_path)
    made.add([f"kept{i}" for i in range(20)], seed=0)
    return made


def head(place: Place) -> int:
    with closing(Catalog.open(f"sqlite:///{place.file}")) as catalog:
        return catalog.vectors.head()


def test_a_shard_starts_from_its_snapshot(place: Place) -> None:
    place.snapshot()
    place.add(["more"], seed=1)
    found, truth, begun = place.answers()
    assert found == truth
    assert begun == 20


@pytest.mark.parametrize("count", [3, 10, 25])
def test_other_contents_than_before_the_backup_was_put_back(place: Place, count: int) -> None:
    """Fewer, as many, and more than what was lost: the log ends before, at and beyond the snapshot."""
    place.backup()
    place.add([f"lost{i}" for i in range(10)], seed=1)
    place.snapshot()
    place.restore()
    place.add([f"new{i}" for i in range(count)], seed=2)
    found, truth, begun = place.answers()
    assert found == truth
    assert len(found[0]) == 20 + count
    assert begun == 0


def test_other_labels_than_before_the_backup_was_put_back(place: Place) -> None:
    """The same vectors under the same numbers, in the same places of the log."""
    place.backup()
    place.tag("kept3", "dog")
    place.snapshot()
    lost = head(place)
    place.restore()
    place.tag("kept3", "cat")
    assert head(place) == lost
    for label, count in (("dog", 0), ("cat", 1)):
        found, truth, _ = place.answers(parse_filter(f"object:{label}"))
        assert found == truth
        assert len(found[0]) == count


def test_a_backup_from_after_the_snapshot_knows_it(place: Place) -> None:
    place.snapshot()
    place.add(["known"], seed=1)
    place.backup()
    place.add(["lost0", "lost1"], seed=2)
    place.restore()
    place.add(["new0", "new1"], seed=3)
    found, truth, begun = place.answers()
    assert found == truth
    assert begun == 20, "nothing that it holds was lost"


def test_a_backup_from_between_two_snapshots_knows_the_second_one_not(place: Place) -> None:
    place.snapshot()
    place.backup()
    place.add(["lost0", "lost1"], seed=1)
    place.snapshot()
    place.restore()
    place.add(["new0", "new1"], seed=2)
    found, truth, begun = place.answers()
    assert found == truth
    assert begun == 0


def test_marks_do_not_grow_with_the_snapshots(place: Place) -> None:
    for number in range(5):
        place.add([f"more{number}"], seed=number)
        place.snapshot()
    with closing(sqlite3.connect(place.file)) as connection:
        assert connection.execute("SELECT count(*) FROM settings WHERE key LIKE 'mark:%'").fetchone() == (1,)


@pytest.mark.parametrize("step", ["mark", "_sweep", "unmark"])
def test_a_crash_while_a_snapshot_is_written_makes_no_answer_wrong(
    place: Place, step: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place.snapshot()
    place.add(["more"], seed=1)

    def crash(*_: object) -> None:
        raise SystemError("killed")

    owner = Snapshot if step == "_sweep" else Vectors
    with monkeypatch.context() as patched:
        patched.setattr(owner, step, crash)
        place.snapshot()
    assert "no snapshot was written at the end: killed" in caplog.text
    place.add(["last"], seed=2)
    found, truth, begun = place.answers()
    assert found == truth
    assert begun == (20 if step == "mark" else 21), "of the old snapshot or the new one, whichever is whole"
