"""Rows of assets held to the end of a transaction, in one order for all who hold some."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, select

from serve_app.catalog.checks import validate_id
from serve_app.catalog.schema import assets
from serve_app.catalog.vector_rows import IDS_A_QUERY, chunks
from serve_app.errors import Problem


def lock_assets(connection: Connection, asset_ids: Iterable[str]) -> set[str]:
    """Hold the rows of those of the assets that are there to the end of the transaction; gives their ids.

    In one order, so that two who hold some in common wait for each other and not crosswise.
    """
    found: set[str] = set()
    for some in chunks(sorted(filter(_possible, set(asset_ids))), IDS_A_QUERY):
        query = select(assets.c.id).where(assets.c.id.in_(some)).order_by(assets.c.id).with_for_update()
        found.update(connection.execute(query).scalars())
    return found


def _possible(asset_id: str) -> bool:
    try:
        validate_id(asset_id)
    except Problem:
        return False
    return True
