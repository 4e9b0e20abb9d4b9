"""Parts of an asset that search finds for themselves: moments of a video, views of a mesh; its numbered contents."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, delete, insert, select

from serve_app.catalog.engine import next_numbers
from serve_app.catalog.rows import Content, Moment
from serve_app.catalog.schema import contents
from serve_app.catalog.vector_rows import Key, release, touch

Parted = Literal["video", "shape3d"]
PARTED: tuple[Parted, ...] = ("video", "shape3d")
"""The modalities of which an asset has a content a part."""
_FACTS = ("part", "sha256", "file", "start_s", "end_s")


@dataclass(frozen=True)
class Part:
    """What of its file a part is, in words that no other part of it has; of a video, from when to when in seconds."""

    key: str
    start_s: float | None = None
    end_s: float | None = None


def of_moments(moments: Sequence[Moment]) -> list[Part]:
    """ValueError for times that cannot be, for a piece without a frame, and for the same frames twice."""
    for moment in moments:
        times = math.isfinite(moment.start_s) and math.isfinite(moment.end_s) and moment.start_s <= moment.end_s
        if not times or not 0 <= moment.start_frame < moment.end_frame:
            raise ValueError(f"{moment} is no piece of a video")
    if len({(moment.start_frame, moment.end_frame) for moment in moments}) < len(moments):
        raise ValueError("two moments have the same frames")
    return [
        Part(f"{moment.start_frame}-{moment.end_frame}", float(moment.start_s), float(moment.end_s))
        for moment in moments
    ]


def of_views(keys: Sequence[str]) -> list[Part]:
    """ValueError for a view without a key, and for two with the same."""
    if not all(keys):
        raise ValueError("a view has no key")
    if len(set(keys)) < len(keys):
        raise ValueError("two views have the same key")
    return [Part(f"view-{key}") for key in keys]


def replace(connection: Connection, asset: Row[Any], modality: Parted, parts: Sequence[Part]) -> list[Content]:
    """Put ``parts`` in place of those of ``asset``, inside an ordered write; what is the same already stays as it is.

    The vectors of parts that nobody has any more become tombstones; those of parts that others have too are touched.
    """
    wanted = [_facts(asset, number, part) for number, part in enumerate(parts)]
    present = _load(connection, asset.id, modality)
    if [{name: getattr(content, name) for name in _FACTS} for content in present] == wanted:
        return present
    connection.execute(delete(contents).where(_of(asset.id, modality)))
    if wanted:
        whose = {"asset_id": asset.id, "modality": modality, "owner": asset.owner}
        ordinals = next_numbers(connection, "ordinal", len(wanted))
        rows = [whose | facts | {"ordinal": ordinal} for facts, ordinal in zip(wanted, ordinals, strict=True)]
        connection.execute(insert(contents), rows)
    replaced = _load(connection, asset.id, modality)
    before, now = ({Key(one.owner, one.modality, one.sha256) for one in some} for some in (present, replaced))
    release(connection, before - now)
    touch(connection, now - before)
    return replaced


def _facts(asset: Row[Any], number: int, part: Part) -> dict[str, Any]:
    # What of the file and not the part's own bytes: equal files of an owner share vectors where they are cut alike.
    digest = hashlib.sha256(f"{asset.sha256}:{part.key}".encode()).hexdigest()
    return {"part": number, "sha256": digest, "file": asset.file, "start_s": part.start_s, "end_s": part.end_s}


def _load(connection: Connection, asset_id: str, modality: Parted) -> list[Content]:
    rows = connection.execute(select(contents).where(_of(asset_id, modality)).order_by(contents.c.part))
    return [Content(**row._mapping) for row in rows]


def _of(asset_id: str, modality: Parted) -> Any:
    return (contents.c.asset_id == asset_id) & (contents.c.modality == modality)
