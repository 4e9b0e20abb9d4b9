"""Rows of vectors, as several rooms of the catalog write them inside their own ordered writes.

A live vector stands for every content of its key, and readers of the log are told of their assets and labels with it.
So whoever changes these *touches* the vector: it gets a new ``seq``, and is read anew.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, and_, bindparam, insert, select, tuple_, update

from serve_app.catalog.engine import next_number, next_numbers
from serve_app.catalog.rows import Modality
from serve_app.catalog.schema import contents, vectors

T = TypeVar("T")

IDS_A_QUERY = 10_000  # both databases bound the number of parameters
KEYS_A_QUERY = 3_000


@dataclass(frozen=True)
class Key:
    """What a vector stands for, whatever the model."""

    owner: str
    modality: Modality
    sha256: str


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
    here = of_row(key, revision)
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
        vars(key) | {"revision": revision, "shard_key": shard_key(key), "seq": seq, "data": data}
        for (key, data), seq in zip(items, seqs, strict=True)
    ]
    connection.execute(insert(vectors), rows)
    return seqs


def any_stored(connection: Connection, keys: Sequence[Key], revision: str | None = None) -> bool:
    """Whether one of ``keys`` has a vector or a tombstone of ``revision``, or of any."""
    v = vectors.c
    wanted = [(key.owner, key.modality, key.sha256) for key in keys]
    for chunk in chunks(wanted, KEYS_A_QUERY):
        some = select(v.vid).where(tuple_(v.owner, v.modality, v.sha256).in_(chunk))
        if revision is not None:
            some = some.where(v.revision == revision)
        if connection.execute(some.limit(1)).first() is not None:
            return True
    return False


def touch(connection: Connection, keys: Iterable[Key]) -> None:
    """Give the live vectors of ``keys``, of every revision, new places in the log, inside an ordered write."""
    _renumber(connection, _live_of(connection, set(keys)))


def touch_assets(connection: Connection, asset_ids: Sequence[str]) -> None:
    """Touch the vectors that stand for these assets, inside an ordered write."""
    c = contents.c
    for some in chunks(asset_ids, IDS_A_QUERY):
        rows = connection.execute(select(c.owner, c.modality, c.sha256).where(c.asset_id.in_(some)))
        touch(connection, [Key(*row) for row in rows])


def release(connection: Connection, keys: Iterable[Key]) -> None:
    """For contents that are gone by now, inside an ordered write: their vectors become tombstones where no other
    content refers to them, and are touched where one does."""
    wanted = set(keys)
    referred = referred_keys(connection, wanted)
    empty(connection, _live_of(connection, wanted - referred))
    touch(connection, referred)


def empty(connection: Connection, vids: Sequence[int]) -> None:
    """Make live vectors tombstones, inside an ordered write."""
    if vids:
        seqs = next_numbers(connection, "seq", len(vids))
        emptied = update(vectors).where(vectors.c.vid == bindparam("dead")).values(seq=bindparam("next"), data=None)
        connection.execute(emptied, [{"dead": vid, "next": seq} for vid, seq in zip(vids, seqs, strict=True)])


def _live_of(connection: Connection, keys: set[Key]) -> list[int]:
    v = vectors.c
    vids: list[int] = []
    # Two plain look-ups: for one that joins contents too, Postgres without statistics compares each row with each.
    for owner, modality, hashes in _grouped(keys):
        here = and_(v.owner == owner, v.modality == modality, v.sha256.in_(hashes), v.data.is_not(None))
        vids += connection.execute(select(v.vid).where(here).order_by(v.vid)).scalars()
    return vids


def _renumber(connection: Connection, vids: Sequence[int]) -> None:
    if not vids:
        return
    seqs = next_numbers(connection, "seq", len(vids))
    touched = update(vectors).where(vectors.c.vid == bindparam("touched")).values(seq=bindparam("next"))
    connection.execute(touched, [{"touched": vid, "next": seq} for vid, seq in zip(vids, seqs, strict=True)])


def referred_keys(connection: Connection, keys: set[Key]) -> set[Key]:
    """Those of ``keys`` to which a content refers."""
    c = contents.c
    found: set[Key] = set()
    for owner, modality, hashes in _grouped(keys):
        query = select(c.sha256).where(c.owner == owner, c.modality == modality, c.sha256.in_(hashes))
        found.update(Key(owner, modality, sha256) for sha256 in connection.execute(query).scalars())
    return found


def _grouped(keys: Iterable[Key]) -> Iterator[tuple[str, Modality, Sequence[str]]]:
    """Owner, modality and some hashes at a time, no more than a query takes."""
    groups: dict[tuple[str, Modality], list[str]] = defaultdict(list)
    for key in keys:
        groups[key.owner, key.modality].append(key.sha256)
    for (owner, modality), hashes in sorted(groups.items()):
        for some in chunks(sorted(hashes), IDS_A_QUERY):
            yield owner, modality, some


def shard_key(key: Key) -> int:
    text = f"{key.owner}\0{key.modality}\0{key.sha256}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little") >> 1


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """``items`` in pieces of at most ``size``."""
    return (items[start : start + size] for start in range(0, len(items), size))


def of_row(key: Key, revision: str) -> ColumnElement[bool]:
    v = vectors.c
    return and_(v.owner == key.owner, v.modality == key.modality, v.sha256 == key.sha256, v.revision == revision)


def live(revision: str) -> ColumnElement[bool]:
    return and_(vectors.c.revision == revision, vectors.c.data.is_not(None))


def same_key() -> ColumnElement[bool]:
    """That a vector stands for a content."""
    v, c = vectors.c, contents.c
    return and_(c.owner == v.owner, c.modality == v.modality, c.sha256 == v.sha256)
