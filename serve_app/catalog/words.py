"""Full-text search over what is written of assets: descriptions, texts, captions, and words printed in pictures.

SQLite's FTS5 and Postgres' tsvector see the same words (see :mod:`~serve_app.catalog.spelling`), and a query is made
of words alone, so that nothing a client writes is syntax.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Join,
    Select,
    Text,
    bindparam,
    column,
    func,
    literal_column,
    select,
    table,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from serve_app.catalog.asset_rows import missing
from serve_app.catalog.checks import clean, fold
from serve_app.catalog.engine import Database
from serve_app.catalog.filters import Filter, Term
from serve_app.catalog.locks import lock_assets
from serve_app.catalog.rows import Kind
from serve_app.catalog.schema import assets, tags
from serve_app.catalog.schema import words as rows
from serve_app.catalog.spelling import MAX_CHARACTERS, spell
from serve_app.catalog.word_rows import spelled, write_words

MAX_WORDS = 64
"""Of a query; the rest is passed over."""
TRIGRAM = 3
"""Characters, of which SQLite's index of sentences takes so many in a row."""
NEWEST = 20_000
"""Of the assets that say a word of the query, so many are compared; of more, the newest."""


class Words:
    """Full-text search in one catalog. Every method may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, asset_id: str, source: Literal["body"], written: str) -> None:
        """Keep the words of a text asset's own text, of which the first 20,000 characters are searched.

        What else is searched follows from descriptions and tags. Raises Problem("not_found") when the asset is gone.
        """
        if self.put_many({asset_id: written}, source):
            raise missing(asset_id)

    def put_many(self, written: Mapping[str, str], source: Literal["body"] = "body") -> list[str]:
        """Like ``put`` for the texts by asset, in one transaction; gives the ids that are no assets."""
        kept: dict[str, dict[str, str | None]] = {
            asset_id: {source: spelled(clean(text[:MAX_CHARACTERS]))} for asset_id, text in written.items()
        }

        def work(connection: Connection) -> list[str]:
            there = lock_assets(connection, kept)
            write_words(connection, {asset_id: columns for asset_id, columns in kept.items() if asset_id in there})
            return [asset_id for asset_id in kept if asset_id not in there]

        return self._database.write(work)

    def search(
        self,
        written: str,
        kinds: Sequence[Kind] | None,
        limit: int,
        *,
        filter: Filter | None = None,
        without_owner: str | None = None,
    ) -> list[tuple[str, float]]:
        """At most ``limit`` assets (of ``kinds``) that say one of the words or more, and how well, the best first.

        The rank is BM25 on SQLite and cover density on Postgres: its order counts, its size says nothing. Of equals the
        newest is first. Nothing for a query without words.
        """
        asked = _asked(written)
        if not asked or limit < 1:
            return []
        values = {"asked": self._written(asked, every=False), "owner": clean(without_owner or "")}
        some = None if kinds is None else tuple(kinds)
        found = _ranked(self._database.sqlite, some, filter, without_owner is not None).limit(limit)
        with self._database.read() as connection:
            return [(row.id, float(row.rank)) for row in connection.execute(found, values)]

    def saying_all(
        self, written: str, limits: Mapping[str, int], *, filter: Filter | None = None, without_owner: str | None = None
    ) -> dict[str, list[str]]:
        """By kind the assets that say every word, at most so many of each, in the order of ``search``; one query."""
        kinds = tuple(sorted(kind for kind, limit in limits.items() if limit > 0))
        asked = _asked(written)
        found: dict[str, list[str]] = {kind: [] for kind in limits}
        if not asked or not kinds:
            return found
        values = {"asked": self._written(asked, every=True), "owner": clean(without_owner or "")}
        best = _by_kind(self._database.sqlite, kinds, filter, without_owner is not None)
        with self._database.read() as connection:
            for id, kind in connection.execute(best, values | {"most": max(limits.values())}):
                found[kind].append(id)
        return {kind: ids[: limits[kind]] for kind, ids in found.items()}

    def _written(self, asked: Sequence[str], every: bool) -> str:
        """Words as the database's own kind of index is asked for them."""
        if self._database.sqlite:
            return (" AND " if every else " OR ").join(f'"{word}"' for word in asked)
        return (" & " if every else " | ").join(f"'{word}'" for word in asked)

    def assets_with(self, term: Term) -> NDArray[np.int64]:
        """The ``ordinal`` of the assets with a tag as the term asks, whether it is negated or not: int64, ascending."""
        conditions = term.tagged()
        phrase = fold(term.value or "")
        if self._database.sqlite and len(phrase) >= TRIGRAM:
            # As many characters in a row as the phrase has are the phrase: no sentence has to be read.
            quoted = '"' + clean(phrase).replace('"', '""') + '"'
            near = select(column("rowid", Integer)).select_from(table("sentences_index"))
            match = literal_column("sentences_index").op("MATCH")(bindparam("phrase", quoted))
            conditions = [*term.indexed(), tags.c.id.in_(near.where(match))]
        tagged = select(assets.c.ordinal).where(assets.c.id.in_(select(tags.c.asset_id).where(*conditions)))
        with self._database.read() as connection:
            found = connection.execute(tagged).scalars().all()
        return np.sort(np.array(found, np.int64))


def _asked(written: str) -> list[str]:
    return list(dict.fromkeys(spell(clean(written[:MAX_CHARACTERS])).split()))[:MAX_WORDS]


# Queries are kept: searches ask the same again and again, and to make one takes longer than to answer it.
@lru_cache(maxsize=256)
def _by_kind(sqlite: bool, kinds: tuple[str, ...], filter: Filter | None, others: bool) -> Select[Any]:
    """The ids and kinds of the best ``most`` of each kind, the best first."""
    ranked = _ranked(sqlite, kinds, filter, others)
    some = ranked.add_columns(assets.c.kind, assets.c.ordinal).order_by(None).subquery()
    order = (some.c.rank.desc(), some.c.ordinal.desc())
    place = func.row_number().over(partition_by=some.c.kind, order_by=order).label("place")
    placed = select(some.c.id, some.c.kind, place).subquery()
    best = select(placed.c.id, placed.c.kind).where(placed.c.place <= bindparam("most", type_=Integer))
    return best.order_by(placed.c.place)


@lru_cache(maxsize=256)
def _ranked(sqlite: bool, kinds: tuple[str, ...] | None, filter: Filter | None, others: bool) -> Select[Any]:
    """The ids and ranks of what says the words that are ``asked``, the best first; ``others``: not of ``owner``."""
    conditions = [] if filter is None else [filter.condition()]
    if kinds is not None:
        conditions.append(assets.c.kind.in_(kinds))
    if others:
        conditions.append(assets.c.owner != bindparam("owner"))
    return _on_sqlite(conditions) if sqlite else _on_postgres(conditions)


class _InThisOrder(Join):
    """A join that begins with its left side: without statistics SQLite would begin with all assets of a kind."""

    inherit_cache = True


@compiles(_InThisOrder, "sqlite")
def _cross_join(join: Join, compiler: SQLCompiler, **more: Any) -> str:
    left, _, right = compiler.visit_join(join, **more).rpartition(" JOIN ")  # type: ignore[no-untyped-call]
    return f"{left} CROSS JOIN {right}"


def _on_sqlite(conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
    index = table("words_index", column("rowid"), column("rank"))
    match = literal_column("words_index").op("MATCH")(bindparam("asked"))
    newest = select(index.c.rowid, index.c.rank).where(match).order_by(index.c.rowid.desc()).limit(NEWEST).subquery()
    each = _InThisOrder(newest, assets, newest.c.rowid == assets.c.ordinal)
    ranked = select(assets.c.id, (-newest.c.rank).label("rank")).select_from(each)
    return ranked.where(*conditions).order_by(newest.c.rank, assets.c.ordinal.desc())


def _on_postgres(conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
    query = func.to_tsquery("simple", bindparam("asked", type_=Text))
    search: ColumnElement[Any] = literal_column("words.search")
    newest = select(rows.c.ordinal, search.label("search")).where(search.op("@@")(query))
    some = newest.order_by(rows.c.ordinal.desc()).limit(NEWEST).subquery()
    rank = func.ts_rank_cd(some.c.search, query, 1).label("rank")
    ranked = select(assets.c.id, rank).join(some, some.c.ordinal == assets.c.ordinal)
    return ranked.where(*conditions).order_by(rank.desc(), assets.c.ordinal.desc())
