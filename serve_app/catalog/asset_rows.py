"""Rows of assets, as several rooms of the catalog write them inside their own transactions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import Connection, insert

from serve_app.catalog.checks import validate_id
from serve_app.catalog.engine import next_number
from serve_app.catalog.rows import STAGES, NewAsset, StageName, StageState
from serve_app.catalog.schema import assets, stages
from serve_app.catalog.stages import derive_state
from serve_app.errors import Problem


def insert_asset(
    connection: Connection,
    new: NewAsset,
    asset_id: str,
    now: datetime,
    done: Mapping[StageName, StageState] | None = None,
) -> None:
    """Insert the asset and its stages ("pending" but for ``done``), inside an ordered write."""
    states: dict[StageName, StageState] = {stage: (done or {}).get(stage, "pending") for stage in STAGES}
    row = asdict(new) | {"id": asset_id, "description": new.description or None}
    ordinal = next_number(connection, "ordinal")
    connection.execute(insert(assets).values(**row, ordinal=ordinal, state=derive_state(states), created_at=now))
    rows = [{"asset_id": asset_id, "stage": stage, "state": state} for stage, state in states.items()]
    connection.execute(insert(stages), rows)


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
