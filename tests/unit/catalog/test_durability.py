"""Several processes at once, and processes that are killed: nothing acknowledged is lost, nothing is seen twice."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator

from catalog_samples import BATCH, REVISION, log, rows_of, start_worker

from serve_app.catalog import Asset, Catalog


def test_a_reader_sees_every_seq_once_and_in_order(url: str) -> None:
    catalog = Catalog.open(url)
    writers = [start_worker(url, "write", name, "30", "2") for name in ("x", "y")]
    seen: list[int] = []
    running = True
    while running:
        running = any(writer.poll() is None for writer in writers)
        while found := rows_of(catalog.vectors.changes(REVISION, 0, 1, seen[-1] if seen else 0, 7)):
            seen += [change.seq for change in found]
    printed = {line for writer in writers for line in writer.communicate()[0].split()}
    assert [writer.returncode for writer in writers] == [0, 0]
    assert len(printed) == 120
    assert seen == list(range(1, 121))
    assert catalog.vectors.head() == 120
    catalog.close()


def test_what_a_killed_process_had_acknowledged_is_there(url: str) -> None:
    Catalog.open(url).close()
    writer = start_worker(url, "write", "k", "100000", "3")
    assert writer.stdout is not None
    printed = [writer.stdout.readline().strip() for _ in range(40)]
    writer.kill()
    # The last line may be cut in two by the kill; only whole lines were acknowledged to somebody.
    printed += [line.strip() for line in writer.communicate()[0].splitlines(keepends=True) if line.endswith("\n")]
    catalog = Catalog.open(url)
    found = {change.vid for change in log(catalog) if change.vector is not None}
    searchable = set(catalog.vectors.latest_ids(found).values())
    assert set(printed) <= searchable
    assert {catalog.assets.get(asset_id).state for asset_id in printed} == {"ready"}
    catalog.close()
    check_whole(url)


def test_batches_of_a_killed_process_are_there_whole_or_not_at_all(url: str) -> None:
    Catalog.open(url).close()
    writer = start_worker(url, "batches", "k", "100000", "2")
    assert writer.stdout is not None
    printed = [writer.stdout.readline().strip() for _ in range(12)]
    writer.kill()
    printed += [line.strip() for line in writer.communicate()[0].splitlines(keepends=True) if line.endswith("\n")]
    catalog = Catalog.open(url)
    numbers = {asset.ordinal: asset.id for asset in all_assets(catalog)}
    batches = Counter(id.rpartition("-")[0] for id in numbers.values())
    assert set(batches.values()) == {BATCH}
    assert set(printed) <= batches.keys()
    labels: dict[str, set[tuple[str, str, float]]] = {}
    for change in log(catalog):
        assert change.vector is not None
        labels |= {numbers[number]: found for number, found in change.assets.items()}
    for name in printed:  # what was acknowledged is in the log with its labels
        assert [labels[f"{name}-{n}"] for n in range(BATCH)] == [{("object", "dog", 1.0)}] * BATCH
    (line,) = catalog.doctor.report(REVISION, ["image"])
    assert (line.orphans, line.unexplained) == (0, 0)
    assert line.keys == line.vectors + line.processing
    catalog.close()
    check_whole(url)


def all_assets(catalog: Catalog) -> Iterator[Asset]:
    page = catalog.assets.page(limit=1000)
    yield from page.items
    while page.next_cursor is not None:
        page = catalog.assets.page(limit=1000, cursor=page.next_cursor)
        yield from page.items


def check_whole(url: str) -> None:
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
