"""What is served, kept in the database so that every process agrees: a row of JSON a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, insert, select, update

from serve_app.catalog.checks import validate_id
from serve_app.catalog.engine import Database
from serve_app.catalog.rows import Served, TaskModels
from serve_app.catalog.schema import settings
from serve_app.errors import Problem


class Settings:
    """The settings of one catalog. Every method may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, task: str) -> TaskModels | None:
        """The models of a task; None where nothing was ever served."""
        with self._database.read() as connection:
            row = _load(connection, task)
        return _models(task, row) if row is not None else None

    def adopt(self, task: str, model: str, revision: str, dim: int) -> Served | None:
        """Tell, on start, what the configuration names; gives what is wanted in place of what is served, if anything.

        With nothing served yet, the configured model is. Where the configuration names another than at the last start
        it is wanted from now on, unless it is served anyway. One that was wanted before stays so otherwise.
        """
        configured = _checked(Served(task, model, revision, dim))

        def work(connection: Connection) -> Served | None:
            row = _load(connection, task)
            if row is None:
                _keep(connection, task, {"served": _told(configured), "configured": _told(configured)})
                return None
            if row["configured"] != _told(configured):
                wanted = None if row["served"] == _told(configured) else _told(configured)
                row = _keep(connection, task, row | {"configured": _told(configured), "wanted": wanted})
            return _models(task, row).wanted

        return self._database.write(work, ordered=True)

    def want(self, task: str, model: str, revision: str, dim: int) -> Served | None:
        """Ask for a model in place of the one that is served; None where that is the one already.

        Raises Problem("not_found") for a task of which nothing is served.
        """
        wanted = _checked(Served(task, model, revision, dim))

        def work(connection: Connection) -> Served | None:
            row = _present(connection, task)
            other = row["served"] != _told(wanted)
            _keep(connection, task, row | {"wanted": _told(wanted) if other else None})
            return wanted if other else None

        return self._database.write(work, ordered=True)

    def switch(self, task: str, to: Served) -> TaskModels:
        """Serve ``to`` from now on; what was served stays for ``rollback``. Raises "not_found" like ``want``."""
        _checked(to)

        def work(connection: Connection) -> TaskModels:
            row = _present(connection, task)
            if row["served"] != _told(to):
                row |= {"served": _told(to), "previous": row["served"]}
            if row.get("wanted") == _told(to):
                row["wanted"] = None
            return _models(task, _keep(connection, task, row))

        return self._database.write(work, ordered=True)

    def rollback(self, task: str) -> TaskModels:
        """Serve again what was served before the last switch; nothing is wanted then, and again takes this back.

        Raises Problem("conflict") where nothing was served before.
        """

        def work(connection: Connection) -> TaskModels:
            row = _present(connection, task)
            if row.get("previous") is None:
                raise Problem("conflict", f"no other model has served {task[:128]!r} before")
            row |= {"served": row["previous"], "previous": row["served"], "wanted": None}
            return _models(task, _keep(connection, task, row))

        return self._database.write(work, ordered=True)


def key_of_task(task: str) -> str:
    return f"served:{task}"


def served_of(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Served]:
    """What is served by task, from the rows by key."""
    tasks = {key.removeprefix(key_of_task("")): row for key, row in rows.items()}
    return {task: Served(task, **row["served"]) for task, row in tasks.items()}


def _checked(served: Served) -> Served:
    for name in ("task", "model", "revision"):
        validate_id(getattr(served, name), name)
    if served.dim < 1:
        raise ValueError(f"vectors have one dimension or more, not {served.dim}")
    return served


def _told(served: Served) -> dict[str, Any]:
    return {name: value for name, value in asdict(served).items() if name != "task"}


def _models(task: str, row: Mapping[str, Any]) -> TaskModels:
    found = {name: Served(task, **row[name]) for name in ("served", "previous", "wanted") if row.get(name)}
    return TaskModels(**found)


def _load(connection: Connection, task: str) -> dict[str, Any] | None:
    row: dict[str, Any] | None = connection.execute(
        select(settings.c.value).where(settings.c.key == key_of_task(task))
    ).scalar()
    return row


def _present(connection: Connection, task: str) -> dict[str, Any]:
    row = _load(connection, task)
    if row is None:
        raise Problem("not_found", f"nothing is served for {task[:128]!r}")
    return row


def _keep(connection: Connection, task: str, row: dict[str, Any]) -> dict[str, Any]:
    here = settings.c.key == key_of_task(task)
    if not connection.execute(update(settings).where(here).values(value=row)).rowcount:
        connection.execute(insert(settings).values(key=key_of_task(task), value=row))
    return row
