"""The stored answers about faces, with their tags, as they are written anew when people change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Select, select, update

from serve_app.catalog.annotations import replace_tags, tag_rows
from serve_app.catalog.checks import fold
from serve_app.catalog.filters import PREFIX
from serve_app.catalog.people_tree import UNKNOWN, Tree
from serve_app.catalog.rows import Tag
from serve_app.catalog.schema import answers, asset_faces, assets, tags

TASK = "face_recognition"
TAG = "person"


def tagged(name: str) -> Select[tuple[str]]:
    """The ids of the assets whose answers say the name."""
    t, folded = tags.c, fold(name)
    here = (t.name == TAG) & (t.task == TASK) & (t.prefix == folded[:PREFIX]) & (t.folded == folded)
    return select(t.asset_id).where(here).distinct()


def retell(connection: Connection, asset_id: str) -> None:
    """Write the present names of an asset's stale faces into its answer and its tags."""
    if connection.execute(select(assets.c.id).where(assets.c.id == asset_id).with_for_update()).first() is None:
        return
    tree = Tree(connection)
    here = asset_faces.c.asset_id == asset_id
    rows = connection.execute(select(asset_faces).where(here, asset_faces.c.stale)).all()
    told: dict[Any, tuple[str | None, float | None]] = {}
    for row in rows:
        name = None if row.person_id is None else tree.root(row.person_id).name
        which = here & (asset_faces.c.number == row.number)
        connection.execute(update(asset_faces).where(which).values(name=name, stale=False))
        told[_place(row.timestamp_s, row.box)] = name, row.name_confidence if name else row.confidence

    def rename(label: dict[str, Any]) -> None:
        if (place := _place(label.get("timestamp_s"), label.get("box"))) in told:
            _rename(label, *told[place])

    _rewrite(connection, asset_id, rename)


def forget(connection: Connection, asset_id: str, name: str) -> None:
    """Make the name unknown in an asset's answer and its tags."""

    def rename(label: dict[str, Any]) -> None:
        if fold(label["label"]) == fold(name):
            _rename(label, None, None)

    if connection.execute(select(assets.c.id).where(assets.c.id == asset_id).with_for_update()).first() is not None:
        _rewrite(connection, asset_id, rename)


def _rewrite(connection: Connection, asset_id: str, rename: Callable[[dict[str, Any]], None]) -> None:
    """Apply ``rename`` to each label of an asset's answer, and make its tags anew."""
    wanted = (answers.c.asset_id == asset_id) & (answers.c.task == TASK)
    answer = connection.execute(select(answers.c.result).where(wanted)).scalar()
    if answer is None:
        return replace_tags(connection, {(asset_id, TASK): []})
    for label in answer.get("labels", []):
        rename(label)
    connection.execute(update(answers).where(wanted).values(result=answer))
    found = [Tag(TAG, each["label"], each["confidence"], answer.get("model")) for each in answer.get("labels", [])]
    replace_tags(connection, {(asset_id, TASK): tag_rows(asset_id, TASK, found)})


def _rename(label: dict[str, Any], name: str | None, confidence: float | None) -> None:
    label["label"] = name or UNKNOWN
    if confidence is not None:
        label["confidence"] = confidence


def _place(timestamp_s: float | None, box: Sequence[float] | None) -> tuple[float | None, tuple[float, ...]]:
    """What tells a face of an asset from every other: rounded, since numbers pass through several hands."""
    return None if timestamp_s is None else round(timestamp_s, 3), tuple(round(side, 1) for side in box or ())
