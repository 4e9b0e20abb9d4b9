"""Profiles are kept in real catalogs, of both kinds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_app.catalog import Catalog
from tests.postgres import Server


@pytest.fixture(params=["sqlite", "postgres"])
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalog]:
    """A catalog with nothing in it."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/catalog.db"
    else:
        server: Server = request.getfixturevalue("postgres")
        server.run("postgres", "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
        url = server.url("postgres")
    opened = Catalog.open(url)
    yield opened
    opened.close()
