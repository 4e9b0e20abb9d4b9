"""The connection to SQLite or Postgres: how a read and a write are made, and what is tried again.

A write is a function of a connection, because it may have to run again. An *ordered* write is one that changes what
the indexes know: such writes go one after the other on both databases, so that the order of ``seq`` is the order of
commits. SQLite has one writer anyway (BEGIN IMMEDIATE); on Postgres the counter's row is the lock.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, select, update
from sqlalchemy.exc import DatabaseError, DataError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from serve_app.catalog.schema import counters
from serve_app.errors import Problem

T = TypeVar("T")
Clock = Callable[[], datetime]

BUSY_MS = 15_000
PAUSES_S = (0.02, 0.1, 0.5)
POSTGRES_RETRY = {"40001", "40P01"}  # serialization failure, deadlock
SQLITE_RETRY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def utc_now() -> datetime:
    return datetime.now(UTC)


class Database:
    """One database, for any number of threads. Raises ValueError for a URL that is neither SQLite nor Postgres."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self.sqlite = self.engine.dialect.name == "sqlite"
        self.place = self.engine.url.render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading; what it sees is one committed state on SQLite, one a statement on Postgres."""
        with _as_problems(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection for reading one committed state by several statements, on Postgres too."""
        isolation = {} if self.sqlite else {"isolation_level": "REPEATABLE READ"}
        with _as_problems(), self.engine.connect().execution_options(**isolation) as connection:
            yield connection

    def write(self, work: Callable[[Connection], T], *, ordered: bool = False) -> T:
        """Run ``work`` in one transaction and give its answer once that is on disk.

        It is run again after a deadlock or a busy database, at most three times; then Problem("overloaded").
        """
        with _as_problems():
            for pause in PAUSES_S:
                try:
                    return self._transact(work, ordered)
                except OperationalError as error:
                    if not _worth_retrying(error):
                        raise
                    time.sleep(pause)
            return self._transact(work, ordered)

    def _transact(self, work: Callable[[Connection], T], ordered: bool) -> T:
        with self.engine.connect().execution_options(immediate=True) as connection, connection.begin():
            if ordered:
                connection.execute(select(counters.c.value).where(counters.c.name == "seq").with_for_update())
            return work(connection)

    def scrub(self, work: Callable[[Connection], T]) -> T:
        """An ordered write after which what it deletes can no longer be read from SQLite's files.

        Postgres overwrites it by its next vacuum. Where readers keep the log from being cut, a later write does that.
        """
        if not self.sqlite:
            return self.write(work, ordered=True)

        def scrubbed(connection: Connection) -> T:
            connection.exec_driver_sql("PRAGMA secure_delete=ON")
            return work(connection)

        done = self.write(scrubbed, ordered=True)
        with _as_problems(), closing(self.engine.raw_connection()) as connection:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return done

    def close(self) -> None:
        self.engine.dispose()


def next_number(connection: Connection, counter: str) -> int:
    """The next number of ``counter`` ("seq" or "ordinal"), inside an ordered write."""
    return next_numbers(connection, counter, 1)[0]


def next_numbers(connection: Connection, counter: str, count: int) -> range:
    """The next ``count`` numbers of ``counter``, inside an ordered write."""
    step = update(counters).where(counters.c.name == counter).values(value=counters.c.value + count)
    last = int(connection.execute(step.returning(counters.c.value)).scalar_one())
    return range(last - count + 1, last + 1)


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    options: dict[str, Any] = {
        # NaN is not JSON: SQLite would keep it and Postgres refuse it.
        "json_serializer": partial(json.dumps, allow_nan=False),
        "pool_size": 8,
        "max_overflow": 56,
    }
    if parsed.get_backend_name() == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise ValueError("the catalog needs a file: sqlite:///path/to/catalog.db")
        engine = create_engine(parsed, connect_args={"timeout": BUSY_MS / 1000}, **options)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if parsed.drivername == "postgresql+psycopg":
        engine = create_engine(parsed, pool_pre_ping=True, isolation_level="READ COMMITTED", **options)
        event.listen(engine, "connect", _prepare_postgres)
        return engine
    raise ValueError(f"the catalog lives in sqlite:///... or postgresql+psycopg://..., not in {parsed.drivername}://")


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver must not begin on its own: see _begin_sqlite
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=FULL")
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        _switch_to_wal(connection)


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    # Two vectors of 512 floats and their keys fill a page; the size can be chosen only before the first table.
    connection.execute("PRAGMA page_size=8192")
    deadline = time.monotonic() + BUSY_MS / 1000
    while True:  # SQLite does not wait by itself here when several processes open a new file
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _prepare_postgres(connection: Any, _record: object) -> None:
    # To compile a query takes longer than any query here takes to run.
    connection.autocommit = True
    connection.execute("SET jit = off")
    connection.autocommit = False


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _worth_retrying(error: OperationalError) -> bool:
    cause = error.orig
    if isinstance(cause, sqlite3.OperationalError):
        return cause.sqlite_errorcode & 0xFF in SQLITE_RETRY
    return getattr(cause, "sqlstate", None) in POSTGRES_RETRY


@contextmanager
def _as_problems() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise Problem("overloaded", "the catalog has no free connection") from error
    except OperationalError as error:
        if _worth_retrying(error):
            raise Problem("overloaded", "the catalog's database is busy") from error
        raise Problem("unavailable", f"the catalog's database does not answer: {error.orig}") from error
    except DatabaseError as error:
        if isinstance(error, IntegrityError | ProgrammingError | DataError):
            raise
        raise Problem("unavailable", f"the catalog's database cannot be used: {error.orig}") from error
