"""Opening: migrations, several processes at once, and databases that must be refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from catalog_samples import differences, picture, start_worker
from sqlalchemy import create_engine, inspect, text

from serve_app.catalog import Catalog
from serve_app.catalog.schema import metadata
from serve_app.errors import Problem


def test_migrations_make_exactly_the_tables_that_the_code_uses(empty_url: str) -> None:
    Catalog.open(empty_url).close()
    engine = create_engine(empty_url)
    with engine.connect() as connection:
        assert differences(connection) == []
    engine.dispose()


def test_every_way_to_the_schema_gives_the_same_keys(empty_url: str) -> None:
    # Alembic's comparison looks neither at primary keys nor at checks.
    Catalog.open(empty_url).close()
    engine = create_engine(empty_url)
    found = inspect(engine)
    for table in metadata.sorted_tables:
        key = found.get_pk_constraint(table.name)["constrained_columns"]
        assert key == [column.name for column in table.primary_key], table.name
    assert [check["name"] for check in found.get_check_constraints("contents")] == ["ck_contents_file_or_text"]
    (parent,) = found.get_foreign_keys("contents")
    assert (parent["referred_table"], parent["options"]) == ("assets", {"ondelete": "CASCADE"})
    engine.dispose()


def test_four_processes_open_an_empty_database_at_once(empty_url: str) -> None:
    workers = [start_worker(empty_url, "open") for _ in range(4)]
    for worker in workers:
        worker.communicate(timeout=60)
    assert [worker.returncode for worker in workers] == [0, 0, 0, 0]
    catalog = Catalog.open(empty_url)
    assert catalog.assets.add(picture())[1]
    catalog.close()


def test_opening_again_keeps_what_is_there(empty_url: str) -> None:
    for expected in (True, False, False):
        catalog = Catalog.open(empty_url)
        assert catalog.assets.add(picture())[1] is expected
        catalog.close()


def test_a_newer_schema_is_refused_and_left_alone(empty_url: str) -> None:
    Catalog.open(empty_url).close()
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Problem, match="newer than this version") as caught:
        Catalog.open(empty_url)
    assert caught.value.code == "unavailable"
    assert caught.value.remedy is not None
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"
    engine.dispose()


def test_sqlite_waits_for_its_disk_and_keeps_foreign_keys(tmp_path: Path) -> None:
    catalog = Catalog.open(f"sqlite:///{tmp_path}/c.db")
    with catalog._database.read() as connection:
        kept = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in PRAGMAS]
    catalog.close()
    assert dict(zip(PRAGMAS, kept, strict=True)) == PRAGMAS


PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 15000, "page_size": 8192}


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/db", "postgresql://host/db"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="catalog"):
        Catalog.open(url)


def test_a_database_that_does_not_answer_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="unavailable"):
        Catalog.open(f"postgresql+psycopg://mediaverse@/none?host={tmp_path}")
    with pytest.raises(Problem, match="unavailable"):
        Catalog.open(f"sqlite:///{tmp_path}/no/such/folder/c.db")
