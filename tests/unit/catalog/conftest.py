"""Every test of the catalog runs on SQLite and on a Postgres that the tests start themselves."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_app.catalog import Catalog
from serve_app.catalog.schema import counters, metadata
from tests.postgres import Server

sys.path.insert(0, str(Path(__file__).parent))  # for catalog_samples

from catalog_samples import Clock


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without any table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/catalog.db"
    server: Server = request.getfixturevalue("postgres")
    # A new schema is as empty as a new database, and much sooner there.
    server.run("postgres", "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return server.url("postgres")


@pytest.fixture(scope="session")
def postgres_catalog(postgres: Server) -> str:
    postgres.run("postgres", "CREATE DATABASE catalog")
    Catalog.open(postgres.url("catalog")).close()
    return "catalog"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a catalog with nothing in it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/catalog.db"
    server: Server = request.getfixturevalue("postgres")
    database: str = request.getfixturevalue("postgres_catalog")
    emptied = [f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables) if table is not counters]
    server.run(database, *emptied, "UPDATE counters SET value = 0")
    return server.url(database)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def catalog(url: str, clock: Clock) -> Iterator[Catalog]:
    opened = Catalog.open(url, clock)
    yield opened
    opened.close()
