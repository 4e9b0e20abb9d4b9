"""What the annotators found of an asset: their answers as JSON, and the tags that filters search."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from serve_app.catalog.asset_rows import known_id, missing
from serve_app.catalog.checks import clean, fold
from serve_app.catalog.engine import Database
from serve_app.catalog.filters import PREFIX, SENTENCES
from serve_app.catalog.rows import Tag
from serve_app.catalog.schema import answers, assets, tags
from serve_app.catalog.vector_rows import touch_assets
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
            return [_put(connection, one.asset_id, one.task, answer, rows) for one, answer, rows in prepared]

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


def _put(connection: Connection, asset_id: str, task: str, answer: Any, rows: list[dict[str, Any]]) -> Problem | None:
    try:
        known_id(asset_id)
    except Problem as problem:
        return problem
    if connection.execute(select(assets.c.id).where(assets.c.id == asset_id).with_for_update()).first() is None:
        return missing(asset_id)
    connection.execute(delete(answers).where(answers.c.asset_id == asset_id, answers.c.task == task))
    connection.execute(insert(answers).values(asset_id=asset_id, task=task, result=answer))
    replace_tags(connection, asset_id, task, rows)
    return None


def replace_tags(connection: Connection, asset_id: str, task: str, rows: list[dict[str, Any]]) -> None:
    """Put ``rows`` in place of the tags of the task, inside an ordered write, and tell whoever reads them.

    Other labels touch the asset's vectors, other sentences are spelled for full-text search; the same tags are not
    written at all.
    """
    columns = [tags.c[name] for name in ("name", "value", "folded", "confidence", "model")]
    here = (tags.c.asset_id == asset_id) & (tags.c.task == task)
    before = {tuple(row) for row in connection.execute(select(*columns).where(here))}
    now = {tuple(row[column.name] for column in columns) for row in rows}
    if before == now:
        return
    connection.execute(delete(tags).where(here))
    if rows:
        connection.execute(insert(tags), rows)
    changed = before ^ now
    if any(name in SENTENCES for name, *_ in changed):
        spell_sentences(connection, asset_id)
    if _labels(before) != _labels(now):
        touch_assets(connection, [asset_id])


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
