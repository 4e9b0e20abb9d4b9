"""Marks: proof that what somebody has read of the catalog is part of its past.

Who keeps a copy of vectors leaves a random name in the catalog. Where the catalog is put back to a backup from before,
the name is gone with all that was written since, whatever numbers the log comes to again.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, exists, insert, select

from serve_app.catalog.schema import settings

KEPT = timedelta(days=90)
"""Marks whose owner has gone without taking them away are dropped then; a copy that old is read anew."""
_PREFIX = "mark:"


def leave(connection: Connection, name: str, now: datetime) -> None:
    """Leave a mark, and drop those that are old."""
    left = select(settings.c.key, settings.c.value).where(settings.c.key.startswith(_PREFIX))
    old = [key for key, value in connection.execute(left) if datetime.fromisoformat(value["left_at"]) < now - KEPT]
    connection.execute(delete(settings).where(settings.c.key.in_(old)))
    connection.execute(insert(settings).values(key=_PREFIX + name, value={"left_at": now.isoformat()}))


def take(connection: Connection, name: str) -> None:
    """Take a mark away; one that is not there is no error."""
    connection.execute(delete(settings).where(settings.c.key == _PREFIX + name))


def stands(connection: Connection, name: str) -> bool:
    """Whether a mark is there."""
    return bool(connection.execute(select(exists().where(settings.c.key == _PREFIX + name))).scalar_one())
