"""Renditions: files made of an asset's own, such as thumbnails, each under its name, or in a folder under its name
there; they go when the asset goes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, delete, insert, or_, select

from serve_app.catalog.asset_rows import known_id, missing
from serve_app.catalog.engine import Clock, Database
from serve_app.catalog.rows import NewRendition, Rendition
from serve_app.catalog.schema import assets, renditions
from serve_app.errors import Problem

ORIGINAL = "original"
"""Under this name an asset's own file is found, so no rendition has it."""
_MAX_NAME = 100
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_NAME = re.compile(rf"({_PART}/)?{_PART}")


class Renditions:
    """The renditions of one catalog. Every method may be called from any thread."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def put(
        self, asset_id: str, new: Sequence[NewRendition], *, sha256: str | None = None, folder: str | None = None
    ) -> list[str]:
        """Keep ``new``, each in place of the one of its name, in one transaction; others of the asset stay, but for
        those in ``folder``, all of which ``new`` replaces.

        Gives the files to remove now that nothing refers to them. ``sha256`` is that of the file of which they were
        made: Problem("conflict") where the asset has another by now. Raises Problem("not_found") when the asset is
        gone, ValueError for a name that cannot be, or twice the same. The caller deletes the files that were refused.
        """
        known_id(asset_id)
        _check(new)

        def work(connection: Connection) -> list[str]:
            query = select(assets.c.file, assets.c.sha256).where(assets.c.id == asset_id).with_for_update()
            asset = connection.execute(query).first()
            if asset is None:
                raise missing(asset_id)
            if sha256 not in (None, asset.sha256):
                raise Problem("conflict", f"the file of {asset_id[:128]!r} is another by now")
            which: list[ColumnElement[bool]] = [renditions.c.name.in_([one.name for one in new])]
            if folder is not None:
                which.append(renditions.c.name.startswith(f"{folder}/", autoescape=True))
            here = (renditions.c.asset_id == asset_id) & or_(*which)
            replaced = set(connection.execute(delete(renditions).where(here).returning(renditions.c.file)).scalars())
            if new:
                more = {"asset_id": asset_id, "created_at": self._clock()}
                connection.execute(insert(renditions), [vars(one) | more for one in new])
            kept = select(renditions.c.file).where(renditions.c.asset_id == asset_id)
            return sorted(replaced - {asset.file, *connection.execute(kept).scalars()})

        return self._database.write(work)

    def of_asset(self, asset_id: str) -> list[Rendition]:
        """The renditions of an asset by name; nothing where there is no such asset."""
        with self._database.read() as connection:
            found = [Rendition(**row._mapping) for row in connection.execute(_rows(asset_id))]
        return sorted(found, key=lambda one: one.name)  # databases sort by their locale, not all the same

    def get(self, asset_id: str, name: str) -> Rendition:
        """The rendition of this name, or Problem("not_found"), also where there is no such asset."""
        known_id(asset_id)
        row = None
        if _is_name(name):
            with self._database.read() as connection:
                row = connection.execute(_rows(asset_id).where(renditions.c.name == name)).first()
        if row is None:
            raise Problem("not_found", f"asset {asset_id[:128]!r} has no file {name[:128]!r}")
        return Rendition(**row._mapping)


def remove_of_asset(connection: Connection, asset_id: str) -> list[str]:
    """Forget the renditions of an asset, inside a write; gives their files."""
    gone = delete(renditions).where(renditions.c.asset_id == asset_id).returning(renditions.c.file)
    return list(connection.execute(gone).scalars())


def _check(new: Sequence[NewRendition]) -> None:
    names = [one.name for one in new]
    for name in names:
        if name == ORIGINAL or not _is_name(name):
            raise ValueError(f"{name!r} is no name of a rendition")
    if len(set(names)) < len(names):
        raise ValueError("two renditions have the same name")


def _is_name(name: str) -> bool:
    return len(name) <= _MAX_NAME and _NAME.fullmatch(name) is not None


def _rows(asset_id: str) -> Select[Any]:
    columns = [column for column in renditions.c if column.name != "asset_id"]
    return select(*columns).where(renditions.c.asset_id == asset_id)
