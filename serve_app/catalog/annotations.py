"""What the annotators found of an asset: their answers as JSON, and the tags that filters search."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Delete, Table, bindparam, delete, insert, select

from serve_app.catalog.asset_rows import known_id, missing
from serve_app.catalog.checks import clean, fold
from serve_app.catalog.engine import Database
from serve_app.catalog.filters import PREFIX, SENTENCES
from serve_app.catalog.locks import lock_assets
from serve_app.catalog.rows import Tag
from serve_app.catalog.schema import answers, assets, tags
from serve_app.catalog.vector_rows import IDS_A_QUERY, chunks, touch_assets
from serve_app.catalog.word_rows import spell_sentences
from serve_app.errors import Problem


@dataclass(frozen=True)
class Answer:
    """What a task found of an asset: plain JSON without NaN, and tags."""

    asset_id: str
    task: str
    result: Mapping[str, Any]
    tags: tuple[Tag, ...] = ()


class Annotations:
    """The annotations of one catalog. Every method may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, asset_id: str, task: str, result: Mapping[str, Any], found: Iterable[Tag] = ()) -> None:
        """Keep the answer of ``task`` (plain JSON, without NaN) and its tags in place of any earlier ones.

        Of tags with the same name, value and model the most confident is kept. Raises Problem("not_found") when the
        asset is gone.
        """
        (problem,) = self.put_many([Answer(asset_id, task, result, tuple(found))])
        if problem is not None:
            raise problem

    def put_many(self, items: Sequence[Answer]) -> list[Problem | None]:
        """Like ``put`` for each, in one transaction; the problem of an asset that is gone is its own alone."""
        prepared = [(one, _clean_json(one.result), tag_rows(one.asset_id, one.task, one.tags)) for one in items]

        def work(connection: Connection) -> list[Problem | None]:
            there = lock_assets(connection, [one.asset_id for one in items])
            # Of a task that answers twice the later answer stays.
            kept = {(one.asset_id, one.task): answer for one, answer, _ in prepared if one.asset_id in there}
            found = {(one.asset_id, one.task): rows for one, _, rows in prepared if one.asset_id in there}
            if kept:
                connection.execute(_without(answers), [_named(key) for key in kept])
                rows = [{"asset_id": id, "task": task, "result": answer} for (id, task), answer in kept.items()]
                connection.execute(insert(answers), rows)
                replace_tags(connection, found)
            return [None if one.asset_id in there else missing(one.asset_id) for one in items]

        # Ordered, since readers of the vectors' log see the labels too.
        return self._database.write(work, ordered=True)

    def of_asset(self, asset_id: str) -> dict[str, Any]:
        """The answers by task; Problem("not_found") when there is no such asset."""
        known_id(asset_id)
        query = select(answers.c.task, answers.c.result).where(answers.c.asset_id == asset_id)
        with self._database.read() as connection:
            if connection.execute(select(assets.c.id).where(assets.c.id == asset_id)).first() is None:
                raise missing(asset_id)
            return {row.task: row.result for row in connection.execute(query.order_by(answers.c.task))}

    def tags_of(self, asset_id: str) -> list[Tag]:
        """The tags of an asset, ordered by name and the best first."""
        query = select(tags.c.name, tags.c.value, tags.c.confidence, tags.c.model).where(tags.c.asset_id == asset_id)
        with self._database.read() as connection:
            found = [Tag(*row) for row in connection.execute(query)]
        return sorted(found, key=lambda tag: (tag.name, -tag.confidence, tag.value))


def replace_tags(connection: Connection, found: Mapping[tuple[str, str], list[dict[str, Any]]]) -> None:
    """Put rows in place of the tags by asset and task, inside an ordered write, and tell whoever reads them.

    Other labels touch the asset's vectors, other sentences are spelled for full-text search; the same tags are not
    written at all.
    """
    before = _tags_before(connection, found)
    now = {key: {tuple(row[name] for name in _TOLD) for row in rows} for key, rows in found.items()}
    changed = [key for key in found if before[key] != now[key]]
    if not changed:
        return
    connection.execute(_without(tags), [_named(key) for key in changed])
    if rows := [row for key in changed for row in found[key]]:
        connection.execute(insert(tags), rows)
    said = {key[0] for key in changed if any(name in SENTENCES for name, *_ in before[key] ^ now[key])}
    spell_sentences(connection, sorted(said))
    touch_assets(connection, sorted({key[0] for key in changed if _labels(before[key]) != _labels(now[key])}))


_TOLD = ("name", "value", "folded", "confidence", "model")


def _tags_before(
    connection: Connection, keys: Iterable[tuple[str, str]]
) -> defaultdict[tuple[str, str], set[tuple[Any, ...]]]:
    before = defaultdict[tuple[str, str], set[tuple[Any, ...]]](set)
    for some in chunks(sorted({asset_id for asset_id, _ in keys}), IDS_A_QUERY):
        columns = [tags.c[name] for name in ("asset_id", "task", *_TOLD)]
        for asset_id, task, *told in connection.execute(select(*columns).where(tags.c.asset_id.in_(some))):
            before[asset_id, task].add(tuple(told))
    return before


def _without(table: Table) -> Delete:
    return delete(table).where(table.c.asset_id == bindparam("of_asset"), table.c.task == bindparam("by_task"))


def _named(key: tuple[str, str]) -> dict[str, str]:
    return {"of_asset": key[0], "by_task": key[1]}


def _labels(found: set[tuple[Any, ...]]) -> set[tuple[str, str, float]]:
    """Those of the tags that the vectors' log brings, as it brings them."""
    return {(name, folded, confidence) for name, _, folded, confidence, _ in found if name not in SENTENCES}


def tag_rows(asset_id: str, task: str, found: Iterable[Tag]) -> list[dict[str, Any]]:
    """Tags as they are inserted; of those with the same name, value and model the most confident."""
    return [_tag_row(asset_id, task, tag) for tag in _best(found)]


def _best(found: Iterable[Tag]) -> list[Tag]:
    best: dict[tuple[str, str, str | None], Tag] = {}
    for tag in found:
        key = (tag.name, tag.value, tag.model)
        if key not in best or tag.confidence > best[key].confidence:
            best[key] = tag
    return list(best.values())


def _tag_row(asset_id: str, task: str, tag: Tag) -> dict[str, Any]:
    if not 0 <= tag.confidence <= 1:
        raise ValueError(f"a confidence is within [0, 1], not {tag.confidence}")
    value = clean(tag.value)
    folded = fold(value)
    row = {"asset_id": asset_id, "task": task, "name": tag.name, "value": value, "model": tag.model}
    return row | {"folded": folded, "prefix": folded[:PREFIX], "confidence": float(tag.confidence)}


def _clean_json(value: Any) -> Any:
    """JSON that both databases keep; ValueError for NaN and infinities, which SQLite would take."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("an answer holds a number that is not finite")
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {clean(str(key)): _clean_json(item) for key, item in value.items()}
    return [_clean_json(item) for item in value] if isinstance(value, list | tuple) else value
