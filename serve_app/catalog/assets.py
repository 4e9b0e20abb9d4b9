"""Assets: added once, processed in stages, deleted with all that hangs on them."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, insert, select

from serve_app.catalog import contents, jobs, renditions
from serve_app.catalog.asset_rows import insert_assets, known_id, missing, taken
from serve_app.catalog.checks import clean_error, validate_asset_id, validate_id, validate_limit, validate_text
from serve_app.catalog.cursors import decode_cursor, encode_cursor
from serve_app.catalog.engine import Clock, Database
from serve_app.catalog.filters import Filter
from serve_app.catalog.rows import KINDS, STAGES, Asset, NewAsset, Page, Stage, StageName, StageState
from serve_app.catalog.schema import assets, idempotency, stages
from serve_app.catalog.stages import write_stages
from serve_app.errors import Problem


class Assets:
    """The assets of one catalog. Every method may be called from any thread."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def add(
        self, new: NewAsset, *, idempotency_key: str | None = None, job_kind: str = "process"
    ) -> tuple[Asset, bool]:
        """Add an asset with its stages, contents and a queued job in one transaction.

        Gives the asset, and False where it was there before: the same id, owner and bytes, or the same idempotency
        key and request. Then ``new.file`` is not referred to, and the caller may delete it.
        Raises Problem("conflict") when the id has another owner or other bytes, or the key was used for another
        request; Problem("bad_request") for an id, owner or text that cannot be kept.
        """
        _check(new)
        if idempotency_key is not None:
            validate_id(idempotency_key, "idempotency key")
        asset_id = uuid.uuid4().hex if new.id is None else new.id

        def work(connection: Connection) -> tuple[Asset, bool]:
            replayed = _replayed(connection, new, idempotency_key)
            if replayed is not None:
                return _load(connection, replayed), False
            created = self._add(connection, new, asset_id, job_kind)
            if idempotency_key is not None:
                row = {"owner": new.owner, "key": idempotency_key, "fingerprint": _fingerprint(new)}
                connection.execute(insert(idempotency).values(**row, asset_id=asset_id, created_at=self._clock()))
            return _load(connection, asset_id), created

        return self._database.write(work, ordered=True)

    def _add(self, connection: Connection, new: NewAsset, asset_id: str, job_kind: str) -> bool:
        present = connection.execute(select(assets.c.owner, assets.c.sha256).where(assets.c.id == asset_id)).first()
        if present is not None:
            if present.owner != new.owner or present.sha256 != new.sha256:
                raise taken(asset_id)
            return False
        insert_assets(connection, [replace(new, id=asset_id)], self._clock())
        contents.insert_of_asset(connection, new, asset_id)
        jobs.enqueue(connection, job_kind, asset_id, {}, self._clock())
        return True

    def get(self, asset_id: str) -> Asset:
        """The asset, or Problem("not_found")."""
        known_id(asset_id)
        with self._database.read() as connection:
            return _load(connection, asset_id)

    def page(
        self,
        *,
        owner: str | None = None,
        kind: str | None = None,
        sha256: str | None = None,
        filter: Filter | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Asset]:
        """Assets that fit all that is given, newest first; Problem("bad_request") for a bad limit, kind or cursor."""
        query = _page_query(owner, kind, sha256).limit(validate_limit(limit) + 1)
        if cursor is not None:
            query = query.where(assets.c.ordinal < decode_cursor("assets", cursor))
        with self._database.read() as connection:
            if filter is not None:
                query = query.where(filter.first_page(connection))
            rows = connection.execute(query).all()
            items = _with_stages(connection, rows[:limit])
        more = encode_cursor("assets", items[-1].ordinal) if len(rows) > limit else None
        return Page(tuple(items), more)

    def delete(self, asset_id: str) -> list[str]:
        """Delete the asset, its contents, renditions, tags and annotations, and cancel its jobs.

        Vectors that nobody shares become tombstones. Gives the files to remove now that nothing refers to them.
        Raises Problem("not_found").
        """
        known_id(asset_id)

        def work(connection: Connection) -> list[str]:
            # Jobs before assets: whoever holds a job's row and wants its asset's goes in the same order.
            jobs.cancel_of_asset(connection, asset_id, self._clock())
            file = connection.execute(select(assets.c.file).where(assets.c.id == asset_id).with_for_update()).scalar()
            if file is None:
                raise missing(asset_id)
            files = {file, *contents.remove_of_asset(connection, asset_id)}
            files.update(renditions.remove_of_asset(connection, asset_id))
            connection.execute(delete(assets).where(assets.c.id == asset_id))
            return sorted(files)

        return self._database.write(work, ordered=True)

    def set_stage(self, asset_id: str, stage: StageName, state: StageState, error: str | None = None) -> Asset:
        """Record how far a stage has come, and derive the asset's state (:func:`~stages.derive_state`).

        Raises Problem("not_found") when the asset is gone.
        """
        known_id(asset_id)
        message = clean_error(error)

        def work(connection: Connection) -> Asset:
            write_stages(connection, asset_id, {stage: state}, message)
            return _load(connection, asset_id)

        return self._database.write(work)


def _check(new: NewAsset) -> None:
    validate_id(new.owner, "owner")
    if new.id is not None:
        validate_asset_id(new.id)
    if new.description is not None:
        validate_text(new.description, "description")
    if new.kind not in KINDS:
        raise ValueError(f"unknown kind {new.kind!r}")


def _fingerprint(new: NewAsset) -> str:
    request = [new.id, new.kind, new.media_type, new.sha256, new.description or None]
    return hashlib.sha256(json.dumps(request).encode()).hexdigest()


def _replayed(connection: Connection, new: NewAsset, key: str | None) -> str | None:
    """The id that the same request got before under this key, None for a new key."""
    if key is None:
        return None
    here = (idempotency.c.owner == new.owner) & (idempotency.c.key == key)
    row = connection.execute(select(idempotency.c.fingerprint, idempotency.c.asset_id).where(here)).first()
    if row is None:
        return None
    if row.fingerprint != _fingerprint(new):
        raise Problem("conflict", "this idempotency key was used for another request")
    return str(row.asset_id)


def _load(connection: Connection, asset_id: str) -> Asset:
    row = connection.execute(select(assets).where(assets.c.id == asset_id)).first()
    if row is None:
        raise missing(asset_id)
    return _with_stages(connection, [row])[0]


def _with_stages(connection: Connection, rows: Sequence[Row[Any]]) -> list[Asset]:
    found: dict[str, dict[StageName, Stage]] = defaultdict(dict)
    query = select(stages).where(stages.c.asset_id.in_([row.id for row in rows]))
    for row in connection.execute(query):
        found[row.asset_id][row.stage] = Stage(row.state, row.error)
    return [Asset(**row._mapping, stages={stage: found[row.id][stage] for stage in STAGES}) for row in rows]


def _page_query(owner: str | None, kind: str | None, sha256: str | None) -> Select[Any]:
    query = select(assets).order_by(assets.c.ordinal.desc())
    if kind is not None and kind not in KINDS:
        raise Problem("bad_request", f"kind is one of {', '.join(KINDS)}")
    if owner is not None:
        query = query.where(assets.c.owner == validate_id(owner, "owner"))
    if kind is not None:
        query = query.where(assets.c.kind == kind)
    if sha256 is not None:
        query = query.where(assets.c.sha256 == validate_text(sha256, "sha256"))
    return query
