"""Vectors: the truth behind the indexes, and the stream of changes from which shards build theirs.

A vector belongs to an (owner, modality, content hash, model revision), so the same content posted again by the same
owner shares one. Its ``seq`` is new whenever it comes or goes, or stands for other assets, or these have other labels;
within one transaction's lock, so who has read up to ``seq`` s never finds a smaller one later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, exists, func, or_, select

from serve_app.catalog import marks
from serve_app.catalog.changes import read_page
from serve_app.catalog.engine import Database, utc_now
from serve_app.catalog.filters import Filter
from serve_app.catalog.rows import ChangePage, Content, FoundPart, Modality, State
from serve_app.catalog.schema import assets, contents, counters, settings, vectors
from serve_app.catalog.settings import key_of_task, served_of
from serve_app.catalog.vector_rows import (
    IDS_A_QUERY,
    Key,
    any_stored,
    chunks,
    live,
    of_row,
    pack,
    referred_keys,
    same_key,
    store,
    store_new,
)

STATE = (
    select(counters.c.value, settings.c.key, settings.c.value.label("models"))
    .select_from(counters.outerjoin(settings, settings.c.key.startswith(key_of_task(""))))
    .where(counters.c.name == "seq")
)
"""Made once: to make a query takes longer than to answer it."""


class Vectors:
    """The vectors of one catalog. Every method may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(
        self, owner: str, modality: Modality, sha256: str, revision: str, vector: NDArray[np.float32]
    ) -> int | None:
        """Store the vector (float32 [D]) of a content and give its ``seq``; the present one where it is there already.

        None, and nothing stored, when no content refers to it any more: a delete that came between wins.
        """
        return self.put_many([(Key(owner, modality, sha256), vector)], revision)[0]

    def put_many(self, items: Sequence[tuple[Key, NDArray[np.float32]]], revision: str) -> list[int | None]:
        """Like ``put`` for each, in one transaction."""
        packed = [(key, pack(vector)) for key, vector in items]

        def work(connection: Connection) -> list[int | None]:
            referred = referred_keys(connection, {key for key, _ in packed})
            wanted = {key: data for key, data in packed if key in referred}
            if any_stored(connection, list(wanted), revision):
                seqs = [store(connection, key, revision, data) for key, data in wanted.items()]
            else:
                seqs = list(store_new(connection, list(wanted.items()), revision))
            given = dict(zip(wanted, seqs, strict=True))
            return [given.get(key) for key, _ in packed]

        return self._database.write(work, ordered=True)

    def has(self, owner: str, modality: Modality, sha256: str, revision: str) -> bool:
        query = select(vectors.c.vid).where(of_row(Key(owner, modality, sha256), revision), vectors.c.data.is_not(None))
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def head(self) -> int:
        """The last ``seq`` given: a reader whose ``changes`` are read to their end after this has seen all up to it."""
        with self._database.read() as connection:
            return int(connection.execute(select(counters.c.value).where(counters.c.name == "seq")).scalar_one())

    def state(self) -> State:
        """The head and what is served, in one query: a search begins with it."""
        with self._database.read() as connection:
            rows = connection.execute(STATE).all()
        models = {row.key: row.models for row in rows if row.key is not None}
        return State(int(rows[0].value), served_of(models))

    def mark(self, name: str) -> None:
        """Leave a mark by which ``is_marked`` tells later whether this is still the catalog that it is now."""
        self._database.write(lambda connection: marks.leave(connection, name, utc_now()))

    def unmark(self, name: str) -> None:
        self._database.write(lambda connection: marks.take(connection, name))

    def is_marked(self, name: str) -> bool:
        """Whether all that was in the log when the mark was left is still part of it; not so where the catalog was put
        back to a backup from before."""
        with self._database.read() as connection:
            return marks.stands(connection, name)

    def changes(self, revision: str, shard: int, shards: int, after: int, limit: int) -> ChangePage:
        """At most ``limit`` changes of this revision and shard with ``seq`` above ``after``, in the order of ``seq``.

        A vector that changed twice shows once, at its last change. Three queries or little more, whatever ``limit``.
        """
        if not 0 <= shard < shards:
            raise ValueError(f"shard {shard} of {shards}")
        with self._database.snapshot() as connection:
            return read_page(connection, revision, shard, shards, after, limit)

    def latest_ids(self, vids: Iterable[int], filter: Filter | None = None) -> dict[int, str]:
        """For each vector the id of its latest asset (of those that fit ``filter``); vectors without one are left out.

        One query for each 10,000 vectors.
        """
        return dict(self._rows(_latest_ids(filter), vids))

    def latest_parts(self, vids: Iterable[int], filter: Filter | None = None) -> dict[int, FoundPart]:
        """For each vector of a part where it is: in the latest asset (of those that fit ``filter``) that has it.

        Vectors without one are left out. The latest asset is the one added last, whichever was annotated first.
        """
        return {vid: FoundPart(*rest) for vid, *rest in self._rows(_latest_parts(filter), vids)}

    def _rows(self, query: Select[Any], vids: Iterable[int]) -> Iterator[tuple[Any, ...]]:
        wanted = [int(vid) for vid in vids]
        with self._database.read() as connection:
            for chunk in chunks(wanted, IDS_A_QUERY):
                yield from (tuple(row) for row in connection.execute(query, {"vids": chunk}))

    def of_owner(
        self, owner: str, modality: Modality, revision: str, limit: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The owner's vectors, the latest posted first: ids int64 [N] and float32 [N, D] (both empty without any)."""
        with self._database.snapshot() as connection:
            vids = list(connection.execute(_latest_of_owner(owner, modality, revision).limit(limit)).scalars())
            rows = _gather(connection, vids)
        matrix = np.frombuffer(b"".join(rows[vid] for vid in vids), "<f4")
        return np.array(vids, np.int64), matrix.reshape(len(vids), -1) if vids else matrix.reshape(0, 0)

    def gather(self, vids: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of ``vids`` in their order, float32 [N, D]; of one that is gone by now a row of NaN.

        [N, 0] where none is left.
        """
        wanted = [int(vid) for vid in vids]
        with self._database.read() as connection:
            found = _gather(connection, wanted)
        width = max(map(len, found.values()), default=0)
        gone = np.full(width // 4, np.nan, "<f4").tobytes()
        rows = np.frombuffer(b"".join(found.get(vid, gone) for vid in wanted), "<f4")
        return rows.reshape(len(wanted), width // 4)

    def of_assets(
        self, asset_ids: Iterable[str], revisions: Mapping[str, str]
    ) -> dict[tuple[str, str], list[int]]:  # fmt: skip
        """The live vectors of assets by asset and modality, in the order of parts; ``revisions`` are by modality."""
        c, v = contents.c, vectors.c
        wanted = or_(*(and_(c.modality == name, live(revision)) for name, revision in revisions.items()))
        query = select(c.asset_id, c.modality, v.vid).join(vectors, same_key()).where(wanted).order_by(c.part)
        found: dict[tuple[str, str], list[int]] = {}
        with self._database.read() as connection:
            for some in chunks(sorted(set(asset_ids)), IDS_A_QUERY):
                for asset_id, modality, vid in connection.execute(query.where(c.asset_id.in_(some))):
                    found.setdefault((asset_id, modality), []).append(vid)
        return found

    def seqs(self, vids: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """When each of ``vids`` changed last, int64 [N] in their order; 0 for a number that no vector has."""
        found: dict[int, int] = {}
        wanted = [int(vid) for vid in vids]
        with self._database.read() as connection:
            for some in chunks(wanted, IDS_A_QUERY):
                query = select(vectors.c.vid, vectors.c.seq).where(vectors.c.vid.in_(some))
                found.update((vid, seq) for vid, seq in connection.execute(query))
        return np.array([found.get(vid, 0) for vid in wanted], np.int64)

    def count(self, revision: str, modality: Modality, excluding_owner: str | None = None) -> int:
        query = select(func.count()).select_from(vectors).where(live(revision), vectors.c.modality == modality)
        if excluding_owner is not None:
            query = query.where(vectors.c.owner != excluding_owner)
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def missing(
        self, revision: str, limit: int, after: int = 0, modalities: Sequence[Modality] | None = None
    ) -> list[Content]:
        """Contents (of ``modalities``) without a vector of ``revision``, oldest first, one a vector to be made.

        Go on with ``after`` = the last one's ``ordinal``, so that contents that cannot be embedded are passed over.
        """
        query = select(contents).where(contents.c.ordinal > after, *_without(revision, modalities), ~_newer_twin())
        with self._database.read() as connection:
            return [
                Content(**row._mapping) for row in connection.execute(query.order_by(contents.c.ordinal).limit(limit))
            ]

    def missing_count(self, revision: str, modalities: Sequence[Modality] | None = None) -> int:
        """How many vectors of ``revision`` are to be made."""
        c = contents.c
        keys = select(c.owner, c.modality, c.sha256).where(*_without(revision, modalities)).distinct().subquery()
        with self._database.read() as connection:
            return int(connection.execute(select(func.count()).select_from(keys)).scalar_one())

    def missing_of_asset(self, asset_id: str, revision: str) -> list[Content]:
        """The contents of an asset that have no vector of ``revision``, in their order."""
        return self.missing_of_assets([asset_id], revision)

    def missing_of_assets(self, asset_ids: Iterable[str], revision: str) -> list[Content]:
        """The contents of assets that have no vector of ``revision``, in their order."""
        without = ~exists().where(same_key(), live(revision))
        query = select(contents).where(without).order_by(contents.c.ordinal)
        found: list[Content] = []
        with self._database.read() as connection:
            for some in chunks(sorted(set(asset_ids)), IDS_A_QUERY):
                rows = connection.execute(query.where(contents.c.asset_id.in_(some)))
                found += [Content(**row._mapping) for row in rows]
        return found


@lru_cache(maxsize=256)
def _latest_ids(filter: Filter | None) -> Select[Any]:
    """Of ``vids`` each with its latest asset that fits; kept, since searches ask the same again and again."""
    ranked = select(vectors.c.vid, contents.c.asset_id, _place(contents.c.ordinal)).join(contents, same_key())
    if filter is not None:
        ranked = ranked.join(assets, assets.c.id == contents.c.asset_id).where(filter.condition())
    return _first(ranked)


@lru_cache(maxsize=256)
def _latest_parts(filter: Filter | None) -> Select[Any]:
    columns = (vectors.c.vid, contents.c.asset_id, contents.c.part, contents.c.start_s, contents.c.end_s)
    ranked = select(*columns, _place(assets.c.ordinal)).join(contents, same_key())
    ranked = ranked.join(assets, assets.c.id == contents.c.asset_id)
    return _first(ranked if filter is None else ranked.where(filter.condition()))


def _first(ranked: Select[Any]) -> Select[Any]:
    """The rows of ``ranked`` whose last column, the place, is 1, without that column."""
    some = ranked.where(vectors.c.vid.in_(bindparam("vids", expanding=True))).subquery()
    return select(*(column for column in some.c if column.name != "place")).where(some.c.place == 1)


def _latest_of_owner(owner: str, modality: Modality, revision: str) -> Select[Any]:
    """The owner's live vectors by their latest contents, newest first, along the index of an owner's contents.

    Asked one by one, not joined: without statistics Postgres would rather compare each content with each.
    """
    c, v, twin = contents.c, vectors.c, contents.alias("twin")
    whose = and_(c.owner == owner, c.modality == modality)
    here = and_(v.owner == owner, v.modality == modality, v.revision == revision, v.sha256 == c.sha256)
    vid = select(v.vid).where(here, v.data.is_not(None)).scalar_subquery()
    same = and_(twin.c.owner == owner, twin.c.modality == modality, twin.c.sha256 == c.sha256)
    latest = select(func.max(twin.c.ordinal)).where(same).scalar_subquery()
    return select(vid).where(whose, c.ordinal == latest, vid.is_not(None)).order_by(c.ordinal.desc())


def _gather(connection: Connection, vids: Sequence[int]) -> dict[int, bytes]:
    """Those of the vectors that are live."""
    found: dict[int, bytes] = {}
    for some in chunks(vids, IDS_A_QUERY):
        query = select(vectors.c.vid, vectors.c.data).where(vectors.c.vid.in_(some), vectors.c.data.is_not(None))
        found.update((vid, data) for vid, data in connection.execute(query))
    return found


def _newer_twin() -> ColumnElement[bool]:
    """That another content of the same key was posted later than this one."""
    c, twin = contents.c, contents.alias("twin")
    same = (twin.c.owner == c.owner, twin.c.modality == c.modality, twin.c.sha256 == c.sha256)
    return exists().where(*same, twin.c.ordinal > c.ordinal)


def _without(revision: str, modalities: Sequence[Modality] | None) -> list[ColumnElement[bool]]:
    some = [] if modalities is None else [contents.c.modality.in_(modalities)]
    return [*some, ~exists().where(same_key(), live(revision))]


def _place(ordinal: ColumnElement[int]) -> ColumnElement[int]:
    """Each row's place among those of its vector, the highest ``ordinal`` first."""
    return func.row_number().over(partition_by=vectors.c.vid, order_by=ordinal.desc()).label("place")
