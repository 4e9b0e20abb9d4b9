"""Rows of assets, as several rooms of the catalog write them inside their own transactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, insert

from serve_app.catalog.checks import validate_id
from serve_app.catalog.engine import next_numbers
from serve_app.catalog.rows import STAGES, NewAsset, StageName, StageState
from serve_app.catalog.schema import assets, stages
from serve_app.catalog.stages import derive_state
from serve_app.errors import Problem


def insert_assets(
    connection: Connection,
    news: Sequence[NewAsset],
    now: datetime,
    done: Mapping[StageName, StageState] | None = None,
) -> range:
    """Insert assets, each with its ``id``, and their stages ("pending" but for ``done``), inside an ordered write.

    Gives their ordinals. Nobody adapts an asset unasked, so that stage is "skipped" from the start.
    """
    states: dict[StageName, StageState] = dict.fromkeys(STAGES, "pending")
    states |= {"adapt": "skipped", **(done or {})}
    more = {"state": derive_state(states), "created_at": now}
    ordinals = next_numbers(connection, "ordinal", len(news))
    rows = [
        vars(new) | more | {"description": new.description or None, "ordinal": ordinal}
        for new, ordinal in zip(news, ordinals, strict=True)
    ]
    connection.execute(insert(assets), rows)
    steps = [{"asset_id": new.id, "stage": stage, "state": state} for new in news for stage, state in states.items()]
    connection.execute(insert(stages), steps)
    return ordinals


def known_id(asset_id: str) -> str:
    """``asset_id`` if it can be one; what cannot be an id is Problem("not_found") and never reaches the database."""
    try:
        return validate_id(asset_id)
    except Problem as problem:
        raise missing(asset_id) from problem


def missing(asset_id: str) -> Problem:
    return Problem("not_found", f"there is no asset {asset_id[:128]!r}")


def taken(asset_id: str) -> Problem:
    return Problem("conflict", f"the id {asset_id[:128]!r} belongs to another asset")
