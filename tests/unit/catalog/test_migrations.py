"""A catalog of an earlier version, with rows in it, opened by this one."""

from __future__ import annotations

import numpy as np
import pytest
from alembic import command
from catalog_samples import differences, log, vector
from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.exc import IntegrityError

from serve_app.catalog import Catalog, Moment, NewRendition, State, parse_filter
from serve_app.catalog.migrate import _config

WORDS = "5" * 64
FIRST = """
INSERT INTO assets (id, owner, kind, media_type, sha256, bytes, file, state, created_at, ordinal)
    VALUES ('film', 'anna', 'video', 'video/mp4', :file, 9, 'aa/film', 'processing', '2026-01-02 03:04:05', 1);
INSERT INTO assets (id, owner, kind, media_type, sha256, bytes, file, state, created_at, ordinal)
    VALUES ('dog', 'anna', 'image', 'image/png', :file, 9, 'aa/dog', 'ready', '2026-01-02 03:04:05', 2);
INSERT INTO stages (asset_id, stage, state) VALUES ('film', 'annotate', 'pending'), ('film', 'index', 'pending'),
    ('film', 'preview', 'pending'), ('film', 'adapt', 'pending'), ('dog', 'annotate', 'ready'), ('dog', 'index',
    'ready'), ('dog', 'preview', 'skipped'), ('dog', 'adapt', 'skipped');
INSERT INTO contents (asset_id, modality, owner, sha256, file, text, ordinal)
    VALUES ('film', 'text', 'anna', :words, NULL, 'A film', 1);
INSERT INTO contents (asset_id, modality, owner, sha256, file, text, ordinal)
    VALUES ('dog', 'image', 'anna', :file, 'aa/dog', NULL, 2);
INSERT INTO contents (asset_id, modality, owner, sha256, file, text, ordinal)
    VALUES ('dog', 'text', 'anna', :words, NULL, 'A film', 3);
INSERT INTO vectors (owner, modality, sha256, revision, shard_key, seq, data)
    VALUES ('anna', 'image', :file, 'clip@1', 7, 1, :data);
INSERT INTO jobs (id, kind, asset_id, payload, state, attempts, progress, created_at)
    VALUES ('j', 'process', 'film', '{}', 'queued', 0, 0, '2026-01-02 03:04:05');
INSERT INTO tags (asset_id, task, name, value, folded, prefix, confidence)
    VALUES ('dog', 'ocr', 'text', 'Émile''s café', 'émile''s café', 'émile''s café', 0.5);
UPDATE assets SET description = 'A film';
UPDATE counters SET value = 3 WHERE name = 'ordinal';
UPDATE counters SET value = 1 WHERE name = 'seq'
"""


@pytest.fixture(params=["0001", "0005"])
def earlier_version(request: pytest.FixtureRequest, empty_url: str) -> str:
    """The URL of a catalog of an earlier version, with a film, a described picture, a vector and a job of 0001."""
    engine = create_engine(empty_url)
    config = _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in FIRST.split(";\n"):
            values = {"file": "f" * 64, "words": WORDS, "data": vector(1).tobytes()}
            used = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(text(statement), used)
        command.upgrade(config, request.param)
    engine.dispose()
    return empty_url


def test_the_rows_of_an_earlier_version_are_kept_and_used(earlier_version: str) -> None:
    catalog = Catalog.open(earlier_version)
    film, dog = (catalog.contents.of_asset(id) for id in ("film", "dog"))
    assert [(row.modality, row.part, row.sha256, row.text, row.file, row.ordinal) for row in film + dog] == [
        ("text", 0, WORDS, "A film", None, 1),
        ("image", 0, "f" * 64, None, "aa/dog", 2),
        ("text", 0, WORDS, "A film", None, 3),
    ]
    assert {(row.start_s, row.end_s) for row in film + dog} == {(None, None)}
    (change,) = log(catalog)
    np.testing.assert_array_equal(change.vector, vector(1))
    assert catalog.vectors.latest_ids([change.vid]) == {change.vid: "dog"}
    job = catalog.jobs.claim("w", 10)
    assert job is not None
    assert (job.id, job.detail) == ("j", None)
    assert catalog.jobs.renew(job, 10, 0.5, {"stage": "annotate", "frames": 12}).detail is not None
    moments = catalog.contents.put_moments("film", [Moment(0, 1, 0, 25), Moment(1, 2, 25, 50)])
    assert [moment.ordinal for moment in moments] == [4, 5]
    thumbnail = NewRendition("thumbnail.png", "image/png", 7, "1" * 64, "bb/thumbnail", 512, 512)
    assert catalog.renditions.put("film", [thumbnail]) == []
    views = catalog.contents.put_views("dog", ["0,0", "0,90"])
    assert [(view.modality, view.part, view.ordinal) for view in views] == [("shape3d", 0, 6), ("shape3d", 1, 7)]
    assert [id for id, _ in catalog.words.search("CAFE", None, 9)] == ["dog"]
    assert [id for id, _ in catalog.words.search("film", None, 9)] == ["film", "dog"]
    assert catalog.words.assets_with(parse_filter('text:"LE\'S CAF"').terms[0]).tolist() == [2]
    assert list(change.assets.values()) == [set()]
    assert catalog.vectors.state() == State(1, {})
    assert catalog.assets.delete("film") == ["aa/film", "bb/thumbnail"]
    assert catalog.contents.of_asset("film") == []
    catalog.close()


def test_a_migrated_catalog_has_the_tables_of_a_new_one(earlier_version: str) -> None:
    Catalog.open(earlier_version).close()
    engine = create_engine(earlier_version)
    with engine.connect() as connection:
        assert differences(connection) == []
    key = inspect(engine).get_pk_constraint("contents")["constrained_columns"]
    assert key == ["asset_id", "modality", "part"]
    assert [check["name"] for check in inspect(engine).get_check_constraints("contents")] == [
        "ck_contents_file_or_text"
    ]
    for wrong in (
        "VALUES ('dog', 'image', 0, 'anna', 'x', 'f', NULL, 9)",  # a part that is there
        "VALUES ('dog', 'image', 1, 'anna', 'x', 'f', 't', 9)",  # a file and a text
        "VALUES ('cat', 'image', 0, 'anna', 'x', 'f', NULL, 9)",  # of no asset
        "VALUES ('dog', 'image', NULL, 'anna', 'x', 'f', NULL, 9)",
    ):
        assert refused(engine, f"INSERT INTO contents {COLUMNS} {wrong}"), wrong
    row = "'image/png', 7, 'x', 'f', '2026-01-02 03:04:05')"
    for wrong in (f"('cat', 'a.png', {row}", f"('dog', NULL, {row}", f"('dog', 'a.png', {row}, ('dog', 'a.png', {row}"):
        assert refused(engine, f"INSERT INTO renditions {RENDITION} VALUES {wrong}"), wrong
    engine.dispose()


COLUMNS = "(asset_id, modality, part, owner, sha256, file, text, ordinal)"
RENDITION = "(asset_id, name, media_type, bytes, sha256, file, created_at)"


def refused(engine: Engine, statement: str) -> bool:
    try:
        with engine.begin() as connection:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA foreign_keys=ON")
            connection.execute(text(statement))
    except IntegrityError:
        return True
    return False
