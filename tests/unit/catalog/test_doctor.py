"""Whether a catalog is whole: what is missing, what explains it, what is left over, and what of it can be repaired."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from catalog_samples import REVISION, log, picture, posted, sha, vector
from sqlalchemy import text

from serve_app.catalog import Catalog, Files, NewRendition
from serve_app.catalog.doctor import YOUNG_S, Line, Repaired, StoredFiles


def image(catalog: Catalog) -> Line:
    (line,) = catalog.doctor.report(REVISION, ["image"])
    return line


def run(catalog: Catalog, statement: str) -> None:
    catalog._database.write(lambda connection: connection.execute(text(statement)) and None)


@pytest.fixture
def mixed(catalog: Catalog) -> Catalog:
    """Two with a vector of three contents, one in the queue, one failed, one that nothing explains."""
    for id, data in (("a", "1"), ("twin", "1"), ("b", "2")):
        catalog.contents.add(posted(id, data=data), vector(1), REVISION)
    for id in ("waits", "failed", "strange"):
        catalog.assets.add(picture(id, data=id))
    for job in catalog.jobs.claim_many("w", 10, 3):
        if job.asset_id == "waits":
            catalog.jobs.release(job)
        else:
            catalog.jobs.finish(job, "no such pixels")
    catalog.assets.set_stage("strange", "annotate", "ready")
    catalog.assets.set_stage("strange", "index", "ready")
    return catalog


def test_every_content_has_a_vector_or_a_reason(mixed: Catalog) -> None:
    assert image(mixed) == Line(
        "image", REVISION, contents=6, keys=5, vectors=2, processing=1, explained_failures=1, unexplained=1,
        unexplained_ids=("strange",), orphans=0,
    )  # fmt: skip
    lines = mixed.doctor.report(REVISION)
    assert [line.modality for line in lines] == ["text", "image", "video", "shape3d"]
    assert lines[0] == Line("text", REVISION, 0, 0, 0, 0, 0, 0, (), 0)
    assert mixed.doctor.report("other@1", ["image"])[0].unexplained == 3


def test_a_content_is_explained_by_any_of_its_assets(mixed: Catalog) -> None:
    mixed.assets.add(picture("again", data="strange"))
    assert (image(mixed).processing, image(mixed).unexplained) == (2, 0)


def test_what_nothing_explains_is_queued_and_what_nobody_needs_is_emptied(mixed: Catalog) -> None:
    run(mixed, "DELETE FROM contents WHERE asset_id = 'b'")
    assert (image(mixed).orphans, image(mixed).vectors) == (1, 1)
    head = mixed.vectors.head()
    assert mixed.doctor.repair(REVISION) == Repaired(queued=1, emptied=1)
    assert (image(mixed).orphans, image(mixed).unexplained, image(mixed).processing) == (0, 0, 2)
    assert [(change.seq, change.vector) for change in log(mixed, after=head)] == [(head + 1, None)]
    (job,) = (job for job in mixed.jobs.page(state="queued").items if job.asset_id == "strange")
    assert job.kind == "index"
    assert mixed.doctor.repair(REVISION) == Repaired(0, 0)


def test_only_so_many_are_named(catalog: Catalog) -> None:
    catalog.contents.add_many([(posted(f"a{n:03}", data=str(n)), vector(n)) for n in range(120)], "old@1")
    line = image(catalog)
    assert (line.unexplained, len(line.unexplained_ids), line.unexplained_ids[0]) == (120, 100, "a000")


def test_assets_should_have_their_contents(catalog: Catalog) -> None:
    catalog.assets.add(picture("fine", data="1", description="said"))
    catalog.assets.add(picture("film", data="2", kind="video"))  # not looked at yet
    catalog.assets.add(picture("sound", data="3", kind="audio"))
    assert catalog.doctor.without_contents() == []
    run(catalog, "DELETE FROM contents WHERE asset_id = 'fine' AND modality = 'text'")
    catalog.assets.set_stage("film", "index", "ready")
    catalog.assets.add(picture("bare", data="4"))
    run(catalog, "DELETE FROM contents WHERE asset_id = 'bare'")
    assert catalog.doctor.without_contents() == ["fine", "film", "bare"]


@pytest.mark.parametrize("seed", range(4))
def test_any_rows_and_any_files_are_compared_as_sets_are(catalog: Catalog, tmp_path: Path, seed: int) -> None:
    """Names of all writings, whose order differs by locale, below folders whose names begin alike."""
    dice = random.Random(seed)
    folders = ["ab", "ab-", "ab.c", "abc", "a", "B", "é", "ß", "\U0001f600", "_", "Zz"]
    names = {"/".join([*dice.choices(folders, k=dice.randrange(3)), f"{dice.choice(folders)}.x"]) for _ in range(60)}
    there = {name for name in names if dice.random() < 0.7}
    named = {name for name in names if dice.random() < 0.7}
    for name in there:
        place = tmp_path / "files" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    for number, name in enumerate(sorted(named)):
        catalog.assets.add(picture(f"p{number}", data=name, file=name))
    files = Files(str(tmp_path / "files"))
    assert list(files.stored()) == sorted(there)
    found = catalog.doctor.files(files, 0)
    assert (found.missing, found.missing_files) == (len(named - there), sorted(named - there))
    assert (found.unnamed, found.unnamed_files) == (len(there - named), sorted(there - named))


def test_only_so_many_files_are_named_and_all_are_counted(catalog: Catalog, tmp_path: Path) -> None:
    files = Files(str(tmp_path / "files"))
    for number in range(120):
        files.put(b"left")
        catalog.assets.add(picture(f"a{number}", data=str(number)))
    found = catalog.doctor.files(files, 0)
    assert (found.missing, found.unnamed) == (120, 120)
    assert len(found.missing_files) == len(found.missing_assets) == len(found.unnamed_files) == 100


def test_what_is_deleted_while_the_doctor_looks_is_not_missing(catalog: Catalog, tmp_path: Path) -> None:
    files = Files(str(tmp_path / "files"))
    paths = [files.put(b"picture") for _ in range(3)]
    for number, path in enumerate(paths):
        catalog.assets.add(picture(f"a{number}", data=str(number), file=path))
    stored = files.stored

    def deleting() -> Iterator[str]:
        yield from ()
        files.delete(catalog.assets.delete("a1"))
        files.delete([paths[2]])
        yield from stored()

    files.stored = deleting  # type: ignore[method-assign]
    assert catalog.doctor.files(files, 0) == StoredFiles(1, [paths[2]], ["a2"])


def test_files_and_rows_fit_together(catalog: Catalog, tmp_path: Path) -> None:
    files = Files(str(tmp_path / "files"))
    kept, small, left = (files.put(data) for data in (b"1", b"2", b"3"))
    files.put(b"4", transient=True)
    catalog.assets.add(picture("a", file=kept))
    catalog.renditions.put("a", [NewRendition("small.png", "image/png", 1, sha("2"), small, 1, 1)])
    assert catalog.doctor.files(files) == StoredFiles(), "its row may still come"
    assert catalog.doctor.files(files, 0) == StoredFiles(unnamed=1, unnamed_files=[left])
    files.delete([kept, small])
    missing = StoredFiles(2, sorted([kept, small]), ["a"], 1, [left])
    assert catalog.doctor.files(files, 0) == missing
    moved = tmp_path / "files" / left
    os.utime(moved, (0, moved.stat().st_mtime - YOUNG_S - 60))
    assert catalog.doctor.files(files) == missing
