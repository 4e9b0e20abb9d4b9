"""What full-text search reads of assets, written inside the transactions that write what it is read from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, insert, select, update

from serve_app.catalog.filters import SENTENCES
from serve_app.catalog.schema import assets, tags, words
from serve_app.catalog.spelling import MAX_CHARACTERS, spell


def spelled(text: str | None) -> str | None:
    """A text as it is kept: the words of its first 20,000 characters, None without any."""
    return spell((text or "")[:MAX_CHARACTERS]) or None


def insert_described(connection: Connection, described: Iterable[tuple[int, str, str | None]]) -> None:
    """Insert the rows of new assets, (ordinal, id, description) each, that have a description with words."""
    rows = [
        {"ordinal": ordinal, "asset_id": asset_id, "description": spelled(description)}
        for ordinal, asset_id, description in described
    ]
    if kept := [row for row in rows if row["description"] is not None]:
        connection.execute(insert(words), kept)


def write_words(connection: Connection, asset_id: str, columns: Mapping[str, str | None]) -> None:
    """Put spelled ``columns`` in place of those of the asset, whose row the caller has locked."""
    if connection.execute(update(words).where(words.c.asset_id == asset_id).values(**columns)).rowcount:
        return
    if any(columns.values()):
        ordinal = select(assets.c.ordinal).where(assets.c.id == asset_id).scalar_subquery()
        connection.execute(insert(words).values(ordinal=ordinal, asset_id=asset_id, **columns))


def spell_sentences(connection: Connection, asset_id: str) -> None:
    """Write the captions and printed texts of the asset anew from its tags, the most confident first."""
    t = tags.c
    query = select(t.name, t.value).where(t.asset_id == asset_id, t.name.in_(SENTENCES))
    said: dict[str, list[str]] = defaultdict(list)
    for name, value in connection.execute(query.order_by(t.confidence.desc(), t.id)):
        said[name].append(value)
    write_words(connection, asset_id, {name: spelled("\n".join(said[name])) for name in SENTENCES})


def forget_content(connection: Connection, asset_ids: Sequence[str]) -> None:
    """Forget all but the descriptions of assets whose files were replaced."""
    emptied = update(words).where(words.c.asset_id.in_(asset_ids))
    connection.execute(emptied.values(body=None, caption=None, text=None))
