"""Moments of a video: the pieces that search finds for themselves, kept as numbered contents of their asset."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from serve_app.catalog import vectors
from serve_app.catalog.engine import next_numbers
from serve_app.catalog.rows import Content, Moment
from serve_app.catalog.schema import contents

MODALITY = "video"
_FACTS = ("part", "sha256", "file", "start_s", "end_s")


def check(moments: Sequence[Moment]) -> None:
    """ValueError for times that cannot be, for a piece without a frame, and for the same frames twice."""
    for moment in moments:
        times = math.isfinite(moment.start_s) and math.isfinite(moment.end_s) and moment.start_s <= moment.end_s
        if not times or not 0 <= moment.start_frame < moment.end_frame:
            raise ValueError(f"{moment} is no piece of a video")
    if len({(moment.start_frame, moment.end_frame) for moment in moments}) < len(moments):
        raise ValueError("two moments have the same frames")


def replace(connection: Connection, asset: Row[Any], moments: Sequence[Moment]) -> list[Content]:
    """Put ``moments`` in place of those of ``asset``, inside an ordered write; what is the same already stays as it is.

    The vectors of moments that nobody has any more become tombstones.
    """
    wanted = [_facts(asset, part, moment) for part, moment in enumerate(moments)]
    present = _load(connection, asset.id)
    if [{name: getattr(content, name) for name in _FACTS} for content in present] == wanted:
        return present
    connection.execute(delete(contents).where(_of(asset.id)))
    if wanted:
        whose = {"asset_id": asset.id, "modality": MODALITY, "owner": asset.owner}
        ordinals = next_numbers(connection, "ordinal", len(wanted))
        rows = [whose | facts | {"ordinal": ordinal} for facts, ordinal in zip(wanted, ordinals, strict=True)]
        connection.execute(insert(contents), rows)
    vectors.tombstone_unreferenced(connection, [vectors.Key(old.owner, old.modality, old.sha256) for old in present])
    return _load(connection, asset.id)


def _facts(asset: Row[Any], part: int, moment: Moment) -> dict[str, Any]:
    # The frames of the file and not its bytes: equal files of an owner share vectors where they are cut alike.
    digest = hashlib.sha256(f"{asset.sha256}:{moment.start_frame}-{moment.end_frame}".encode()).hexdigest()
    times = {"start_s": float(moment.start_s), "end_s": float(moment.end_s)}
    return {"part": part, "sha256": digest, "file": asset.file} | times


def _load(connection: Connection, asset_id: str) -> list[Content]:
    rows = connection.execute(select(contents).where(_of(asset_id)).order_by(contents.c.part))
    return [Content(**row._mapping) for row in rows]


def _of(asset_id: str) -> Any:
    return (contents.c.asset_id == asset_id) & (contents.c.modality == MODALITY)
