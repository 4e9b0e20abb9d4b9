"""What recommendation keeps: what people picked, what they are shown first, and what their posts say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from serve_app.catalog.asset_rows import missing
from serve_app.catalog.checks import validate_id
from serve_app.catalog.engine import Database
from serve_app.catalog.rows import Modality
from serve_app.catalog.schema import assets, contents, interests, profiles, starters
from serve_app.errors import Problem

MAX_INTERESTS = 1000


class Interests:
    """The assets that people picked. Every method may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, owner: str, asset_ids: Sequence[str]) -> None:
        """Keep what an owner picked in place of what was picked before; an id twice counts once.

        Raises Problem("not_found") for an id that nobody has, "bad_request" for an owner that cannot be or more than a
        thousand; then all stays as it was.
        """
        validate_id(owner, "owner")
        wanted = [validate_id(asset_id) for asset_id in dict.fromkeys(asset_ids)]
        if len(wanted) > MAX_INTERESTS:
            raise Problem("bad_request", f"{len(wanted)} interests, the limit is {MAX_INTERESTS}")

        def work(connection: Connection) -> None:
            known = _present(connection, wanted)
            for asset_id in wanted:
                if asset_id not in known:
                    raise missing(asset_id)
            connection.execute(delete(interests).where(interests.c.owner == owner))
            _insert(connection, interests, {"owner": owner}, wanted)

        self._database.write(work, ordered=True)

    def get(self, owner: str) -> list[str]:
        """What an owner picked, in its order, less what was deleted since."""
        query = select(interests.c.asset_id).where(interests.c.owner == validate_id(owner, "owner"))
        with self._database.read() as connection:
            return list(connection.execute(query.order_by(interests.c.position)).scalars())


class Starters:
    """Assets that stand for the whole catalog, for people of whom nothing is known."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, modality: Modality, revision: str, asset_ids: Sequence[str]) -> None:
        """Keep the starters in place of those that were; assets that are gone already are left out."""
        wanted = list(dict.fromkeys(asset_ids))

        def work(connection: Connection) -> None:
            known = _present(connection, wanted)
            here = (starters.c.modality == modality) & (starters.c.revision == revision)
            connection.execute(delete(starters).where(here))
            common = {"modality": modality, "revision": revision}
            _insert(connection, starters, common, [asset_id for asset_id in wanted if asset_id in known])

        self._database.write(work, ordered=True)

    def get(self, modality: Modality, revision: str) -> list[str]:
        """The starters in their order, less what was deleted since."""
        here = (starters.c.modality == modality) & (starters.c.revision == revision)
        with self._database.read() as connection:
            return list(
                connection.execute(select(starters.c.asset_id).where(here).order_by(starters.c.position)).scalars()
            )


@dataclass(frozen=True)
class KeptProfile:
    """What was made of an owner's posts, of all that had happened up to ``seq``."""

    document: Mapping[str, Any]
    seq: int


class Profiles:
    """What the posts of each owner say. A profile goes with the owner's last content."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, owner: str, modality: Modality, revision: str, document: Mapping[str, Any], seq: int) -> bool:
        """Keep ``document`` (plain JSON without NaN) in place of any that was made at ``seq`` or before.

        False, and nothing kept, for an owner without contents, and where a later one is there.
        """

        def work(connection: Connection) -> bool:
            if not _has_contents(connection, owner):
                return False
            here = _of(owner, modality, revision)
            present = connection.execute(select(profiles.c.seq).where(here)).scalar()
            values = {"document": dict(document), "seq": seq}
            if present is None:
                key = {"owner": owner, "modality": modality, "revision": revision}
                connection.execute(insert(profiles).values(key | values))
            elif present <= seq:
                connection.execute(update(profiles).where(here).values(values))
            return present is None or present <= seq

        return self._database.write(work, ordered=True)

    def get(self, owner: str, modality: Modality, revision: str) -> KeptProfile | None:
        """The profile that was kept last, however old; None without one."""
        with self._database.read() as connection:
            row = connection.execute(select(profiles).where(_of(owner, modality, revision))).first()
        return None if row is None else KeptProfile(row.document, row.seq)


def forget_without_contents(connection: Connection, owner: str) -> None:
    """Drop the profiles of an owner whose last content is gone, inside an ordered write."""
    if not _has_contents(connection, owner):
        connection.execute(delete(profiles).where(profiles.c.owner == owner))


def _has_contents(connection: Connection, owner: str) -> bool:
    posted = select(contents.c.asset_id).where(contents.c.owner == owner).limit(1)
    return connection.execute(posted).first() is not None


def _of(owner: str, modality: str, revision: str) -> Any:
    return (profiles.c.owner == owner) & (profiles.c.modality == modality) & (profiles.c.revision == revision)


def _present(connection: Connection, asset_ids: Sequence[str]) -> set[str]:
    return set(connection.execute(select(assets.c.id).where(assets.c.id.in_(asset_ids))).scalars())


def _insert(connection: Connection, table: Any, common: Mapping[str, Any], asset_ids: Sequence[str]) -> None:
    rows = [{**common, "asset_id": asset_id, "position": place} for place, asset_id in enumerate(asset_ids)]
    if rows:
        connection.execute(insert(table), rows)
