"""Vectors: the truth behind the indexes, and the stream of changes from which shards build theirs.

A vector belongs to an (owner, modality, content hash, model revision), so the same content posted again by the same
owner shares one. Its ``seq`` is new whenever it comes or goes; within one transaction's lock, so who has read up to
``seq`` s never finds a smaller one later.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, exists, func, insert, select, tuple_, update

from serve_app.catalog.engine import Database, next_number, next_numbers
from serve_app.catalog.filters import Filter
from serve_app.catalog.rows import Content, FoundPart, Modality, VectorChange
from serve_app.catalog.schema import assets, contents, counters, vectors

T = TypeVar("T")

IDS_A_QUERY = 10_000  # both databases bound the number of parameters
KEYS_A_QUERY = 3_000


@dataclass(frozen=True)
class Key:
    """What a vector stands for, whatever the model."""

    owner: str
    modality: Modality
    sha256: str


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
            referred = _referred(connection, [key for key, _ in packed])
            wanted = {key: data for key, data in packed if key in referred}
            if any_stored(connection, list(wanted), revision):
                seqs = [store(connection, key, revision, data) for key, data in wanted.items()]
            else:
                seqs = list(store_new(connection, list(wanted.items()), revision))
            given = dict(zip(wanted, seqs, strict=True))
            return [given.get(key) for key, _ in packed]

        return self._database.write(work, ordered=True)

    def has(self, owner: str, modality: Modality, sha256: str, revision: str) -> bool:
        query = select(vectors.c.vid).where(_row(Key(owner, modality, sha256), revision), vectors.c.data.is_not(None))
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def head(self) -> int:
        """The last ``seq`` given: a reader whose ``changes`` are read to their end after this has seen all up to it."""
        with self._database.read() as connection:
            return int(connection.execute(select(counters.c.value).where(counters.c.name == "seq")).scalar_one())

    def changes(self, revision: str, shard: int, shards: int, after: int, limit: int) -> list[VectorChange]:
        """At most ``limit`` changes of this revision and shard with ``seq`` above ``after``, in the order of ``seq``.

        A vector that changed twice shows once, at its last change. Fewer than ``limit`` means that the end is reached.
        """
        if not 0 <= shard < shards:
            raise ValueError(f"shard {shard} of {shards}")
        v = vectors.c
        query = select(v.seq, v.vid, v.owner, v.modality, v.data).where(v.revision == revision, v.seq > after)
        if shards > 1:
            query = query.where(v.shard_key % shards == shard)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(v.seq).limit(limit))
            return [
                VectorChange(seq, vid, owner, modality, None if data is None else unpack(data))
                for seq, vid, owner, modality, data in rows
            ]

    def latest_ids(self, vids: Iterable[int], filter: Filter | None = None) -> dict[int, str]:
        """For each vector the id of its latest asset (of those that fit ``filter``); vectors without one are left out.

        One query for each 10,000 vectors.
        """
        ranked = select(vectors.c.vid, contents.c.asset_id, _place(contents.c.ordinal)).join(contents, _same_key())
        if filter is not None:
            ranked = ranked.join(assets, assets.c.id == contents.c.asset_id).where(filter.condition())
        return dict(self._first(ranked, vids))

    def latest_parts(self, vids: Iterable[int], filter: Filter | None = None) -> dict[int, FoundPart]:
        """For each vector of a part where it is: in the latest asset (of those that fit ``filter``) that has it.

        Vectors without one are left out. The latest asset is the one added last, whichever was annotated first.
        """
        columns = (vectors.c.vid, contents.c.asset_id, contents.c.part, contents.c.start_s, contents.c.end_s)
        ranked = select(*columns, _place(assets.c.ordinal)).join(contents, _same_key())
        ranked = ranked.join(assets, assets.c.id == contents.c.asset_id)
        if filter is not None:
            ranked = ranked.where(filter.condition())
        return {vid: FoundPart(*rest) for vid, *rest in self._first(ranked, vids)}

    def _first(self, ranked: Select[Any], vids: Iterable[int]) -> Iterator[tuple[Any, ...]]:
        """The rows of ``ranked`` whose last column, the place, is 1, without that column."""
        wanted = [int(vid) for vid in vids]
        with self._database.read() as connection:
            for chunk in chunks(wanted, IDS_A_QUERY):
                some = ranked.where(vectors.c.vid.in_(chunk)).subquery()
                columns = [column for column in some.c if column.name != "place"]
                yield from (tuple(row) for row in connection.execute(select(*columns).where(some.c.place == 1)))

    def of_owner(
        self, owner: str, modality: Modality, revision: str, limit: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The owner's vectors, the latest posted first: ids int64 [N] and float32 [N, D] (both empty without any)."""
        query = (
            select(vectors.c.vid, vectors.c.data)
            .join(contents, _same_key())
            .where(vectors.c.owner == owner, vectors.c.modality == modality, _live(revision))
            .group_by(vectors.c.vid)
            .order_by(func.max(contents.c.ordinal).desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        vids = np.fromiter((row.vid for row in rows), np.int64, len(rows))
        matrix = np.frombuffer(b"".join(row.data for row in rows), "<f4")
        return vids, matrix.reshape(len(rows), -1) if rows else matrix.reshape(0, 0)

    def count(self, revision: str, modality: Modality, excluding_owner: str | None = None) -> int:
        query = select(func.count()).select_from(vectors).where(_live(revision), vectors.c.modality == modality)
        if excluding_owner is not None:
            query = query.where(vectors.c.owner != excluding_owner)
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def missing(self, revision: str, limit: int, after: int = 0) -> list[Content]:
        """Contents without a vector of ``revision``, oldest first, one a vector to be made.

        Go on with ``after`` = the last one's ``ordinal``, so that contents that cannot be embedded are passed over.
        """
        twin = contents.alias("twin")
        same = (twin.c.owner == contents.c.owner, twin.c.modality == contents.c.modality)
        newer = exists().where(*same, twin.c.sha256 == contents.c.sha256, twin.c.ordinal > contents.c.ordinal)
        query = (
            select(contents)
            .where(contents.c.ordinal > after, ~exists().where(_same_key(), _live(revision)), ~newer)
            .order_by(contents.c.ordinal)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [Content(**row._mapping) for row in connection.execute(query)]

    def missing_of_asset(self, asset_id: str, revision: str) -> list[Content]:
        """The contents of an asset that have no vector of ``revision``, in their order."""
        without = ~exists().where(_same_key(), _live(revision))
        query = select(contents).where(contents.c.asset_id == asset_id, without).order_by(contents.c.ordinal)
        with self._database.read() as connection:
            return [Content(**row._mapping) for row in connection.execute(query)]

    def matching(self, filter: Filter, modality: Modality, revision: str) -> NDArray[np.int64]:
        """The ids of all vectors with an asset that fits ``filter``: int64 [N], ascending."""
        query = (
            select(vectors.c.vid)
            .distinct()
            .join(contents, _same_key())
            .join(assets, assets.c.id == contents.c.asset_id)
            .where(vectors.c.modality == modality, _live(revision), filter.condition())
            .order_by(vectors.c.vid)
        )
        with self._database.read() as connection:
            return np.fromiter(connection.execute(query).scalars(), np.int64)


def pack(vector: NDArray[np.float32]) -> bytes:
    """A vector as it is stored, float32 little-endian. ValueError unless it is finite and of one dimension."""
    row = np.asarray(vector, dtype="<f4")
    if row.ndim != 1 or not row.size or not np.isfinite(row).all():
        raise ValueError(f"a vector is finite float32 [D], this one has shape {row.shape}")
    return row.tobytes()


def unpack(data: bytes) -> NDArray[np.float32]:
    """The vector in ``data``, float32 [D], read-only."""
    return np.frombuffer(data, "<f4")


def store(connection: Connection, key: Key, revision: str, data: bytes) -> int:
    """Insert the vector, or put it in place of its tombstone, inside an ordered write; gives its ``seq``."""
    here = _row(key, revision)
    present = connection.execute(select(vectors.c.seq, vectors.c.data.is_(None)).where(here)).first()
    if present is not None and not present[1]:
        return int(present.seq)
    if present is None:
        return store_new(connection, [(key, data)], revision)[0]
    seq = next_number(connection, "seq")
    connection.execute(update(vectors).where(here).values(seq=seq, data=data))
    return seq


def store_new(connection: Connection, items: Sequence[tuple[Key, bytes]], revision: str) -> range:
    """Insert vectors whose keys are new, inside an ordered write; gives their ``seq``."""
    if not items:
        return range(0)
    seqs = next_numbers(connection, "seq", len(items))
    rows = [
        vars(key) | {"revision": revision, "shard_key": _shard_key(key), "seq": seq, "data": data}
        for (key, data), seq in zip(items, seqs, strict=True)
    ]
    connection.execute(insert(vectors), rows)
    return seqs


def any_stored(connection: Connection, keys: Sequence[Key], revision: str) -> bool:
    """Whether one of ``keys`` has a vector or a tombstone of ``revision``."""
    v = vectors.c
    wanted = [(key.owner, key.modality, key.sha256) for key in keys]
    for chunk in chunks(wanted, KEYS_A_QUERY):
        some = tuple_(v.owner, v.modality, v.sha256).in_(chunk)
        if connection.execute(select(v.vid).where(v.revision == revision, some).limit(1)).first() is not None:
            return True
    return False


def tombstone_unreferenced(connection: Connection, keys: Sequence[Key]) -> None:
    """Empty the vectors of ``keys``, of every revision, to which no content refers, inside an ordered write."""
    v = vectors.c
    vids: list[int] = []
    # Two plain look-ups: for one that joins both, Postgres without statistics compares each row with each.
    for owner, modality, hashes in _grouped(set(keys) - _referred(connection, keys)):
        here = and_(v.owner == owner, v.modality == modality, v.sha256.in_(hashes), v.data.is_not(None))
        vids += connection.execute(select(v.vid).where(here).order_by(v.vid)).scalars()
    if not vids:
        return
    seqs = next_numbers(connection, "seq", len(vids))
    emptied = update(vectors).where(v.vid == bindparam("dead")).values(seq=bindparam("next"), data=None)
    connection.execute(emptied, [{"dead": vid, "next": seq} for vid, seq in zip(vids, seqs, strict=True)])


def _shard_key(key: Key) -> int:
    text = f"{key.owner}\0{key.modality}\0{key.sha256}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little") >> 1


def _referred(connection: Connection, keys: Iterable[Key]) -> set[Key]:
    """Those of ``keys`` to which a content refers."""
    c = contents.c
    found: set[Key] = set()
    for owner, modality, hashes in _grouped(set(keys)):
        query = select(c.sha256).where(c.owner == owner, c.modality == modality, c.sha256.in_(hashes))
        found.update(Key(owner, modality, sha256) for sha256 in connection.execute(query).scalars())
    return found


def _grouped(keys: Iterable[Key]) -> Iterator[tuple[str, Modality, Sequence[str]]]:
    """Owner, modality and some hashes at a time, no more than a query takes."""
    groups: dict[tuple[str, Modality], list[str]] = defaultdict(list)
    for key in keys:
        groups[key.owner, key.modality].append(key.sha256)
    for (owner, modality), hashes in groups.items():
        for some in chunks(sorted(hashes), IDS_A_QUERY):
            yield owner, modality, some


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """``items`` in pieces of at most ``size``."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _of_key(key: Key) -> ColumnElement[bool]:
    v = vectors.c
    return and_(v.owner == key.owner, v.modality == key.modality, v.sha256 == key.sha256)


def _row(key: Key, revision: str) -> ColumnElement[bool]:
    return and_(_of_key(key), vectors.c.revision == revision)


def _place(ordinal: ColumnElement[int]) -> ColumnElement[int]:
    """Each row's place among those of its vector, the highest ``ordinal`` first."""
    return func.row_number().over(partition_by=vectors.c.vid, order_by=ordinal.desc()).label("place")


def _live(revision: str) -> ColumnElement[bool]:
    return and_(vectors.c.revision == revision, vectors.c.data.is_not(None))


def _same_key() -> ColumnElement[bool]:
    v, c = vectors.c, contents.c
    return and_(c.owner == v.owner, c.modality == v.modality, c.sha256 == v.sha256)
