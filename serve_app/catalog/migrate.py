"""Bringing a database to the schema of this version, whoever else opens it at the same time."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select

from serve_app.catalog.engine import Database
from serve_app.errors import Problem

MIGRATIONS = Path(__file__).parent / "migrations"
POSTGRES_LOCK = 0x6D656469  # any constant that only this catalog uses


def migrate(database: Database) -> None:
    """Create or upgrade the tables.

    A schema that this version does not know (a newer one made it) raises Problem("unavailable") and stays untouched.
    """
    config = _config()
    script = ScriptDirectory.from_config(config)
    with database.read() as connection:
        if _known_revision(connection, script, database.place) == script.get_current_head():
            return

    def work(connection: Connection) -> None:
        if not database.sqlite:  # there BEGIN IMMEDIATE is the lock
            connection.execute(select(func.pg_advisory_xact_lock(POSTGRES_LOCK)))
        if _known_revision(connection, script, database.place) != script.get_current_head():
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    database.write(work)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _known_revision(connection: Connection, script: ScriptDirectory, place: str) -> str | None:
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in {known.revision for known in script.walk_revisions()}:
        raise Problem(
            "unavailable",
            f"the catalog at {place} has schema {current}, newer than this version knows",
            remedy="upgrade mediaverse-serve, or open another catalog",
        )
    return current
