"""How far an asset has come: its stages, and the one state that follows from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from sqlalchemy import Connection, select, update

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
    # The lock on the asset makes two stages that end at once derive its state one after the other.
    if connection.execute(select(assets.c.id).where(assets.c.id == asset_id).with_for_update()).first() is None:
        return False
    for stage, state in changes.items():
        here = (stages.c.asset_id == asset_id) & (stages.c.stage == stage)
        connection.execute(update(stages).where(here).values(state=state, error=error))
    derived = derive_state(read_states(connection, asset_id))
    connection.execute(update(assets).where(assets.c.id == asset_id).values(state=derived))
    return True


def write_stages_of_many(connection: Connection, changes: Mapping[str, Mapping[StageName, StageState]]) -> None:
    """Like ``write_stages`` for each, without errors, in few statements; the caller has locked the assets."""
    alike: dict[tuple[StageName, StageState], list[str]] = defaultdict(list)
    for asset_id, change in changes.items():
        for step in change.items():
            alike[step].append(asset_id)
    for (stage, state), ids in alike.items():
        for some in chunks(ids, IDS_A_QUERY):
            here = stages.c.asset_id.in_(some) & (stages.c.stage == stage)
            connection.execute(update(stages).where(here).values(state=state, error=None))
    derived: dict[AssetState, list[str]] = defaultdict(list)
    for some in chunks(list(changes), IDS_A_QUERY):
        states: dict[str, dict[StageName, StageState]] = defaultdict(dict)
        for row in connection.execute(select(stages).where(stages.c.asset_id.in_(some))):
            states[row.asset_id][row.stage] = row.state
        for asset_id in some:
            derived[derive_state(states[asset_id])].append(asset_id)
    for asset_state, ids in derived.items():
        for some in chunks(ids, IDS_A_QUERY):
            connection.execute(update(assets).where(assets.c.id.in_(some)).values(state=asset_state))


def read_states(connection: Connection, asset_id: str) -> dict[StageName, StageState]:
    rows = connection.execute(select(stages.c.stage, stages.c.state).where(stages.c.asset_id == asset_id))
    return {row.stage: row.state for row in rows}


def fail_unfinished(connection: Connection, asset_id: str, error: str | None) -> None:
    """Fail the stages that a dead job leaves behind, so that no asset stays "processing" for ever."""
    states = read_states(connection, asset_id)
    unfinished: dict[StageName, StageState] = {
        stage: "failed" for stage, state in states.items() if state in ("pending", "running") and stage != "adapt"
    }
    write_stages(connection, asset_id, unfinished, error)
