"""Contents: what the indexes know of an asset, one a modality; of a video, one a moment, of a mesh, one a view.

An image asset has its picture and, when it is described, the description as text; a text asset has its text. A video
has its description and, once it is annotated, its moments; a mesh has its description and its views.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, and_, delete, insert, select, update

from serve_app.catalog import parts, renditions
from serve_app.catalog.asset_rows import insert_assets, known_id, missing, taken
from serve_app.catalog.checks import validate_asset_id, validate_id
from serve_app.catalog.engine import Clock, Database, next_number, next_numbers
from serve_app.catalog.job_rows import owe
from serve_app.catalog.rows import Content, ContentAdded, Moment, NewAsset, NewContent, StageName, StageState
from serve_app.catalog.schema import answers, assets, contents, tags
from serve_app.catalog.stages import write_stages
from serve_app.catalog.tastes import forget_without_contents
from serve_app.catalog.vector_rows import (
    IDS_A_QUERY,
    Key,
    any_stored,
    chunks,
    pack,
    release,
    store,
    store_new,
    touch,
    touch_assets,
)
from serve_app.catalog.word_rows import forget_content
from serve_app.errors import Problem

# A content posted straight to the index is searchable at once; nobody asked for more.
POSTED: dict[StageName, StageState] = {
    "annotate": "skipped",
    "index": "ready",
    "preview": "skipped",
}


class Contents:
    """The contents of one catalog. Every method may be called from any thread."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def add(
        self, new: NewContent, vector: NDArray[np.float32], revision: str,
        others: Mapping[str, NDArray[np.float32]] | None = None, *, owed: bool = False,
    ) -> ContentAdded:  # fmt: skip
        """Add a content and its vector (float32 [D]) in one transaction, so that an acknowledged content is found.

        The asset is made when the id is free. The same id, owner and modality with other bytes replaces the content
        (and, where it is the asset itself, the asset: its annotations go); with the same bytes it counts as posted
        again and becomes the latest. ``others`` are its vectors of other revisions; where some are still ``owed``, a
        job is queued that makes them. ``obsolete_files`` of the answer are referred to by nothing and may be deleted.
        Raises Problem("conflict") when the id has another owner.
        """
        data, more = pack(vector), {name: pack(row) for name, row in (others or {}).items()}
        validate_asset_id(new.asset_id)
        validate_id(new.owner, "owner")

        def work(connection: Connection) -> ContentAdded:
            added = self._add(connection, new, data, revision)
            seqs = [store(connection, _key(new), name, row) for name, row in more.items()]
            if owed:
                owe(connection, new.asset_id, self._clock())
            return replace(added, seq=max(added.seq, *seqs)) if seqs else added

        return self._database.write(work, ordered=True)

    def add_many(self, items: Iterable[tuple[NewContent, NDArray[np.float32]]], revision: str) -> list[ContentAdded]:
        """Like ``add`` for each item, in one transaction: all or none. Fast where ids and contents are all new."""
        checked = [(new, pack(vector)) for new, vector in items]
        for new, _ in checked:
            validate_asset_id(new.asset_id)
            validate_id(new.owner, "owner")

        def work(connection: Connection) -> list[ContentAdded]:
            if len(checked) > 1 and _all_new(connection, [new for new, _ in checked]):
                return self._add_new(connection, checked, revision)
            return [self._add(connection, new, data, revision) for new, data in checked]

        return self._database.write(work, ordered=True)

    def put_moments(self, asset_id: str, found: Sequence[Moment], *, sha256: str | None = None) -> list[Content]:
        """Make ``found`` the asset's moments in place of any others, in one transaction; gives their contents in order.

        The same moments again change nothing, and those that stay keep their vectors. ``sha256`` is that of the file
        in which they were found: Problem("conflict") where the asset has another by now.
        Raises Problem("not_found") when the asset is gone, ValueError for moments that cannot be.
        """
        return self._put_parts(asset_id, "video", parts.of_moments(found), sha256)

    def put_views(self, asset_id: str, keys: Sequence[str], *, sha256: str | None = None) -> list[Content]:
        """Make the views of these keys the asset's, numbered in this order, like ``put_moments`` in all else.

        A key tells all by which one picture of a file differs from another, such as the place of the camera: equal
        files of an owner share the vectors of views that have the same. ValueError for an empty key or two the same.
        """
        return self._put_parts(asset_id, "shape3d", parts.of_views(keys), sha256)

    def _put_parts(
        self, asset_id: str, modality: parts.Parted, found: Sequence[parts.Part], sha256: str | None
    ) -> list[Content]:
        known_id(asset_id)

        def work(connection: Connection) -> list[Content]:
            asset = connection.execute(select(assets).where(assets.c.id == asset_id).with_for_update()).first()
            if asset is None:
                raise missing(asset_id)
            if sha256 not in (None, asset.sha256):
                raise Problem("conflict", f"the file of {asset_id[:128]!r} is another by now")
            return parts.replace(connection, asset, modality, found)

        return self._database.write(work, ordered=True)

    def of_asset(self, asset_id: str) -> list[Content]:
        """What the indexes know or are to know of an asset; nothing where there is no such asset."""
        query = select(contents).where(contents.c.asset_id == asset_id).order_by(contents.c.ordinal)
        with self._database.read() as connection:
            return [Content(**row._mapping) for row in connection.execute(query)]

    def _add_new(
        self, connection: Connection, items: Sequence[tuple[NewContent, bytes]], revision: str
    ) -> list[ContentAdded]:
        insert_assets(connection, [_as_asset(new) for new, _ in items], self._clock(), POSTED)
        ordinals = next_numbers(connection, "ordinal", len(items))
        columns = ("asset_id", "modality", "owner", "sha256", "file")
        rows = [{name: getattr(new, name) for name in columns} for new, _ in items]
        connection.execute(insert(contents), [row | {"ordinal": n} for row, n in zip(rows, ordinals, strict=True)])
        seqs = store_new(connection, [(_key(new), data) for new, data in items], revision)
        return [ContentAdded(new.asset_id, True, seq, ()) for (new, _), seq in zip(items, seqs, strict=True)]

    def _add(self, connection: Connection, new: NewContent, data: bytes, revision: str) -> ContentAdded:
        asset = connection.execute(select(assets).where(assets.c.id == new.asset_id).with_for_update()).first()
        if asset is None:
            insert_assets(connection, [_as_asset(new)], self._clock(), POSTED)
        elif asset.owner != new.owner:
            raise taken(new.asset_id)
        here = and_(contents.c.asset_id == new.asset_id, contents.c.modality == new.modality)
        present = connection.execute(select(contents).where(here)).first()
        obsolete: set[str] = set()
        if present is None:
            row = {"asset_id": new.asset_id, "modality": new.modality, "owner": new.owner, "sha256": new.sha256}
            ordinal = next_number(connection, "ordinal")
            connection.execute(insert(contents).values(**row, file=new.file, ordinal=ordinal))
            touch(connection, [_key(new)])
        elif present.sha256 == new.sha256:
            connection.execute(update(contents).where(here).values(ordinal=next_number(connection, "ordinal")))
            obsolete = {new.file}
        else:
            obsolete = _replace(connection, asset, present, new)
        seq = store(connection, _key(new), revision, data)
        return ContentAdded(new.asset_id, present is None, seq, tuple(sorted(obsolete)))


def _all_new(connection: Connection, news: Sequence[NewContent]) -> bool:
    ids = [new.asset_id for new in news]
    keys = [_key(new) for new in news]
    if len(set(ids)) < len(ids) or len(set(keys)) < len(keys):
        return False
    for some in chunks(ids, IDS_A_QUERY):
        query = select(assets.c.id).where(assets.c.id.in_(some)).limit(1)
        if connection.execute(query).first() is not None:
            return False
    return not any_stored(connection, keys)


def insert_of_assets(connection: Connection, news: Sequence[NewAsset]) -> None:
    """Insert the contents that follow from new assets, each with its ``id``."""
    rows: list[dict[str, Any]] = []
    for new in news:
        common = {"asset_id": new.id, "owner": new.owner}
        if new.kind in ("text", "image"):
            rows.append(common | {"modality": new.kind, "sha256": new.sha256, "file": new.file, "text": None})
        if new.kind != "text" and new.description:
            digest = hashlib.sha256(new.description.encode()).hexdigest()
            rows.append(common | {"modality": "text", "sha256": digest, "file": None, "text": new.description})
    if rows:
        ordinals = next_numbers(connection, "ordinal", len(rows))
        connection.execute(insert(contents), [row | {"ordinal": n} for row, n in zip(rows, ordinals, strict=True)])
        touch(connection, [Key(row["owner"], row["modality"], row["sha256"]) for row in rows])


def remove_of_asset(connection: Connection, asset_id: str) -> list[str]:
    """Delete the contents of an asset with the vectors nobody else refers to. Gives the contents' files."""
    rows = connection.execute(delete(contents).where(contents.c.asset_id == asset_id).returning(contents)).all()
    release(connection, [_key(row) for row in rows])
    for owner in {row.owner for row in rows}:
        forget_without_contents(connection, owner)
    return [row.file for row in rows if row.file is not None]


def _replace(connection: Connection, asset: Row[Any] | None, present: Row[Any], new: NewContent) -> set[str]:
    """Put ``new`` in place of ``present``; gives the files that nothing refers to any more."""
    here = and_(contents.c.asset_id == new.asset_id, contents.c.modality == new.modality)
    ordinal = next_number(connection, "ordinal")
    changed = {"sha256": new.sha256, "file": new.file, "text": None, "ordinal": ordinal}
    connection.execute(update(contents).where(here).values(changed))
    release(connection, [_key(present)])
    touch(connection, [_key(new)])
    obsolete = {present.file} - {None}
    if asset is not None and asset.kind == new.modality:
        obsolete.add(asset.file)
        for modality in parts.PARTED:
            parts.replace(connection, asset, modality, [])
        obsolete.update(renditions.remove_of_asset(connection, asset.id))
        values = {"media_type": new.media_type, "sha256": new.sha256, "bytes": new.bytes, "file": new.file}
        size = {"width": new.width, "height": new.height}
        connection.execute(update(assets).where(assets.c.id == new.asset_id).values(values | size))
        connection.execute(delete(answers).where(answers.c.asset_id == new.asset_id))
        if connection.execute(delete(tags).where(tags.c.asset_id == new.asset_id)).rowcount:
            touch_assets(connection, [new.asset_id])
        forget_content(connection, [new.asset_id])
        write_stages(connection, new.asset_id, POSTED)
    return obsolete


def _key(row: Row[Any] | NewContent) -> Key:
    return Key(row.owner, row.modality, row.sha256)


def _as_asset(new: NewContent) -> NewAsset:
    return NewAsset(
        id=new.asset_id,
        owner=new.owner,
        kind=new.modality,
        media_type=new.media_type,
        sha256=new.sha256,
        bytes=new.bytes,
        file=new.file,
        width=new.width,
        height=new.height,
    )
