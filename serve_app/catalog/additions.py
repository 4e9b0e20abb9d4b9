"""Assets added many at once, each with an outcome of its own, inside one ordered write."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, insert, select, tuple_

from serve_app.catalog import contents, job_rows
from serve_app.catalog.asset_rows import insert_assets, taken
from serve_app.catalog.checks import validate_asset_id, validate_id, validate_text
from serve_app.catalog.rows import KINDS, NewAsset
from serve_app.catalog.schema import assets, idempotency
from serve_app.catalog.vector_rows import IDS_A_QUERY, KEYS_A_QUERY, chunks
from serve_app.catalog.word_rows import insert_described
from serve_app.errors import Problem


@dataclass(frozen=True)
class Addition:
    """One asset of many to add, the key under which its client asks again, and the kind of the job it needs."""

    new: NewAsset
    idempotency_key: str | None = None
    job_kind: str = "process"


Outcome = tuple[str, bool] | Problem
"""The id, and whether the asset is new; or why it could not be added."""


def check(addition: Addition) -> None:
    """Raises Problem("bad_request") for what cannot be kept, ValueError for a kind that is none."""
    new = addition.new
    validate_id(new.owner, "owner")
    if new.id is not None:
        validate_asset_id(new.id)
    if new.description is not None:
        validate_text(new.description, "description")
    if addition.idempotency_key is not None:
        validate_id(addition.idempotency_key, "idempotency key")
    if new.kind not in KINDS:
        raise ValueError(f"unknown kind {new.kind!r}")


def add_all(connection: Connection, additions: Sequence[Addition], now: datetime) -> list[Outcome]:
    """Add checked assets with their stages, contents, words and jobs; an outcome each, in their order."""
    batch = _Batch(connection, additions)
    outcomes = [batch.outcome(addition) for addition in additions]
    created = [new for new, _ in batch.created]
    if created:
        ordinals = insert_assets(connection, created, now)
        insert_described(
            connection,
            [(ordinal, str(new.id), new.description) for new, ordinal in zip(created, ordinals, strict=True)],
        )
        contents.insert_of_assets(connection, created)
        job_rows.enqueue_many(connection, [(kind, new.id) for new, kind in batch.created], now)
    if batch.keys:
        connection.execute(insert(idempotency), [row | {"created_at": now} for row in batch.keys])
    return outcomes


class _Batch:
    """What is there already, and what comes: assets to create and idempotency keys to keep."""

    def __init__(self, connection: Connection, additions: Sequence[Addition]) -> None:
        self.created: list[tuple[NewAsset, str]] = []
        self.keys: list[dict[str, str]] = []
        self._assets: dict[str, tuple[str, str]] = {}
        self._replays: dict[tuple[str, str], tuple[str, str]] = {}
        named = {addition.new.id for addition in additions} - {None}
        for some in chunks(sorted(map(str, named)), IDS_A_QUERY):
            query = select(assets.c.id, assets.c.owner, assets.c.sha256).where(assets.c.id.in_(some))
            self._assets |= {row.id: (row.owner, row.sha256) for row in connection.execute(query)}
        asked = {(one.new.owner, one.idempotency_key) for one in additions if one.idempotency_key is not None}
        i = idempotency.c
        for keys in chunks(sorted(asked), KEYS_A_QUERY):
            rows = connection.execute(select(idempotency).where(tuple_(i.owner, i.key).in_(keys)))
            self._replays |= {(row.owner, row.key): (row.fingerprint, row.asset_id) for row in rows}

    def outcome(self, addition: Addition) -> Outcome:
        new, key = addition.new, (addition.new.owner, addition.idempotency_key)
        if (replayed := self._replays.get(key)) is not None:  # type: ignore[arg-type]
            if replayed[0] != _fingerprint(new):
                return Problem("conflict", "this idempotency key was used for another request")
            return replayed[1], False
        asset_id = uuid.uuid4().hex if new.id is None else new.id
        present = self._assets.get(asset_id)
        if present not in (None, (new.owner, new.sha256)):
            return taken(asset_id)
        if present is None:
            self._assets[asset_id] = new.owner, new.sha256
            self.created.append((replace(new, id=asset_id), addition.job_kind))
        if addition.idempotency_key is not None:
            row = {"owner": new.owner, "key": addition.idempotency_key, "fingerprint": _fingerprint(new)}
            self.keys.append(row | {"asset_id": asset_id})
            self._replays[new.owner, addition.idempotency_key] = row["fingerprint"], asset_id
        return asset_id, present is None


def _fingerprint(new: NewAsset) -> str:
    request = [new.id, new.kind, new.media_type, new.sha256, new.description or None]
    return hashlib.sha256(json.dumps(request).encode()).hexdigest()
