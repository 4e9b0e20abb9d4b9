"""A page of the vector log in columns: vectors, the assets each stands for, and the labels of these."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Double,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    extract,
    func,
    select,
    type_coerce,
)

from serve_app.catalog.filters import SENTENCES
from serve_app.catalog.rows import ChangePage
from serve_app.catalog.schema import assets, contents, tags, vectors
from serve_app.catalog.vector_rows import same_key

ROWS_AT_ONCE = 500


def read_page(connection: Connection, revision: str, shard: int, shards: int, after: int, limit: int) -> ChangePage:
    """The page of :meth:`~serve_app.catalog.vectors.Vectors.changes`; ``connection`` sees one state all along."""
    v = vectors.c
    here = and_(v.revision == revision, v.seq > after)
    if shards > 1:
        here = and_(here, v.shard_key % shards == shard)
    query = select(v.seq, v.vid, v.owner, v.modality, v.data).where(here).order_by(v.seq).limit(limit)
    seqs, vids, owners, modalities, data = _columns(connection, query)
    last_seq = seqs[-1] if seqs else after
    entry_seqs, ordinals, ids, kinds, created = _columns(connection, _entries(connection, here, last_seq))
    numbered = np.array(seqs, np.int64)
    tag_entries, names, values, confidences = _labels(connection, ids)
    return ChangePage(
        last_seq=last_seq,
        complete=len(seqs) < limit,
        vids=np.array(vids, np.int64),
        owners=owners,
        modalities=modalities,
        vectors=data,
        seqs=numbered,
        entry_rows=np.searchsorted(numbered, np.array(entry_seqs, np.int64)).astype(np.int32),
        assets=np.array(ordinals, np.int64),
        kinds=kinds,
        created=_seconds(created),
        tag_entries=tag_entries,
        tag_names=names,
        tag_values=values,
        confidences=confidences,
    )


def _columns(connection: Connection, query: Select[Any]) -> list[list[Any]]:
    """The answer by columns, as the driver gives it: rows of SQLAlchemy would take as long again to make.

    A few rows at a time, for a hundred thousand at once would set the garbage collector to look through them over and
    over.
    """
    columns: list[list[Any]] = [[] for _ in query.selected_columns]
    with closing(connection.execute(query)) as result:
        assert result.cursor is not None
        while rows := result.cursor.fetchmany(ROWS_AT_ONCE):
            for column, more in zip(columns, zip(*rows, strict=True), strict=True):
                column.extend(more)
    return columns


def _entries(connection: Connection, here: ColumnElement[bool], last_seq: int) -> Select[Any]:
    a, v = assets.c, vectors.c
    # As it is stored, for a million times are read sooner at once than one by one: see _seconds.
    sqlite = connection.dialect.name == "sqlite"
    created = type_coerce(a.created_at, Text) if sqlite else cast(extract("epoch", a.created_at), Double)
    joined = vectors.join(contents, same_key()).join(assets, a.id == contents.c.asset_id)
    query = select(v.seq, a.ordinal, a.id, a.kind, created).select_from(joined)
    return query.where(here, v.seq <= last_seq, v.data.is_not(None)).order_by(v.seq, a.ordinal)


def _seconds(created: Sequence[Any]) -> NDArray[np.float64]:
    if created and isinstance(created[0], str):
        return np.array(created, "datetime64[us]").astype(np.int64) / 1e6
    return np.array(created, np.float64)


def _labels(
    connection: Connection, ids: Sequence[str]
) -> tuple[NDArray[np.int32], list[str], list[str], NDArray[np.float32]]:
    """The labels of the assets of all entries, entry by entry: which entry, name, value, confidence."""
    t = tags.c
    places = {asset_id: place for place, asset_id in enumerate(dict.fromkeys(ids))}
    query = select(t.asset_id, t.name, t.folded, t.confidence).where(t.name.not_in(SENTENCES))
    found = _columns(connection, query.where(_among(connection, t.asset_id, list(places))))
    whose = np.array([places[asset_id] for asset_id in found[0]], np.int64)
    order = np.argsort(whose, kind="stable")
    counts = np.bincount(whose, minlength=len(places))
    starts = np.cumsum(counts) - counts
    # An asset has as many entries as vectors, and its labels come again with each.
    entries = np.array([places[asset_id] for asset_id in ids], np.int64)
    each = counts[entries]
    tag_entries = np.repeat(np.arange(len(ids), dtype=np.int32), each)
    within = np.arange(len(tag_entries)) - np.repeat(np.cumsum(each) - each, each)
    take = order[np.repeat(starts[entries], each) + within]
    names, values = (np.array(column, object)[take].tolist() for column in found[1:3])
    return tag_entries, names, values, np.array(found[3], np.float32)[take]


def _among(connection: Connection, asset_id: ColumnElement[str], ids: list[str]) -> ColumnElement[bool]:
    """That the asset is one of ``ids``, which are one parameter: thousands would take long to write down."""
    if connection.dialect.name == "sqlite":
        return asset_id.in_(select(func.json_each(json.dumps(ids)).table_valued("value").c.value))
    return asset_id == func.any(bindparam("ids", ids, type_=ARRAY(Text)))
