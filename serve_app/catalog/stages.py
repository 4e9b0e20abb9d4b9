"""How far an asset has come: its stages, and the one state that follows from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, select, update

from serve_app.catalog.locks import lock_assets
from serve_app.catalog.rows import AssetState, StageName, StageState
from serve_app.catalog.schema import assets, stages
from serve_app.catalog.vector_rows import IDS_A_QUERY, chunks

DECIDING: tuple[StageName, ...] = ("annotate", "index")


def derive_state(states: Mapping[StageName, StageState]) -> AssetState:
    """Ready when ``annotate`` and ``index`` are ready or skipped, failed when one of them failed.

    A preview that failed or a rendition that is still made takes nothing from an asset that can be found.
    """
    deciding = {states[stage] for stage in DECIDING}
    if "failed" in deciding:
        return "failed"
    return "ready" if deciding <= {"ready", "skipped"} else "processing"


def write_stages(
    connection: Connection, asset_id: str, changes: Mapping[StageName, StageState], error: str | None = None
) -> bool:
    """Set stages and the asset's state; ``error`` goes to all of them. False when there is no such asset."""
    return asset_id in write_stages_of_many(connection, {asset_id: changes}, error)


def write_stages_of_many(
    connection: Connection, changes: Mapping[str, Mapping[StageName, StageState]], error: str | None = None
) -> set[str]:
    """Like ``write_stages`` for each, in as many statements as for one; gives the ids of those that there are."""
    # The lock on an asset makes two stages that end at once derive its state one after the other.
    there = lock_assets(connection, changes)
    alike: dict[tuple[StageName, StageState], list[str]] = defaultdict(list)
    for asset_id in there:
        for step in changes[asset_id].items():
            alike[step].append(asset_id)
    for (stage, state), ids in alike.items():
        for some in chunks(ids, IDS_A_QUERY):
            here = stages.c.asset_id.in_(some) & (stages.c.stage == stage)
            connection.execute(update(stages).where(here).values(state=state, error=error))
    derived: dict[AssetState, list[str]] = defaultdict(list)
    for asset_id, states in _states_of_many(connection, there).items():
        derived[derive_state(states)].append(asset_id)
    for asset_state, ids in derived.items():
        for some in chunks(ids, IDS_A_QUERY):
            connection.execute(update(assets).where(assets.c.id.in_(some)).values(state=asset_state))
    return there


def read_states(connection: Connection, asset_id: str) -> dict[StageName, StageState]:
    return _states_of_many(connection, [asset_id])[asset_id]


def _states_of_many(connection: Connection, asset_ids: Iterable[str]) -> dict[str, dict[StageName, StageState]]:
    states: dict[str, dict[StageName, StageState]] = {asset_id: {} for asset_id in asset_ids}
    for some in chunks(list(states), IDS_A_QUERY):
        for row in connection.execute(select(stages).where(stages.c.asset_id.in_(some))):
            states[row.asset_id][row.stage] = row.state
    return states


def fail_unfinished(connection: Connection, asset_id: str, error: str | None) -> None:
    """Fail the stages that a dead job leaves behind, so that no asset stays "processing" for ever."""
    states = read_states(connection, asset_id)
    unfinished: dict[StageName, StageState] = {
        stage: "failed" for stage, state in states.items() if state in ("pending", "running") and stage != "adapt"
    }
    write_stages(connection, asset_id, unfinished, error)
