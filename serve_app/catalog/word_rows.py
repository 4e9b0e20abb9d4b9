"""What full-text search reads of assets, written inside the transactions that write what it is read from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, bindparam, insert, select, update

from serve_app.catalog.filters import SENTENCES
from serve_app.catalog.schema import assets, tags, words
from serve_app.catalog.spelling import MAX_CHARACTERS, spell
from serve_app.catalog.vector_rows import IDS_A_QUERY, chunks


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


def write_words(connection: Connection, written: Mapping[str, Mapping[str, str | None]]) -> None:
    """Put spelled columns, the same of each asset, in place of what there is; the caller has locked the assets."""
    ordinals: dict[str, int] = {}
    present: set[str] = set()
    for some in chunks(sorted(written), IDS_A_QUERY):
        present.update(connection.execute(select(words.c.asset_id).where(words.c.asset_id.in_(some))).scalars())
        rows = connection.execute(select(assets.c.id, assets.c.ordinal).where(assets.c.id.in_(some)))
        ordinals |= {row.id: row.ordinal for row in rows}
    changed = [{"of_asset": id, **columns} for id, columns in written.items() if id in present]
    if changed:
        names = [name for name in changed[0] if name != "of_asset"]
        here = update(words).where(words.c.asset_id == bindparam("of_asset"))
        connection.execute(here.values({name: bindparam(name) for name in names}), changed)
    absent = {id: columns for id, columns in written.items() if id not in present and any(columns.values())}
    if absent:
        fresh = [{"asset_id": id, "ordinal": ordinals[id], **columns} for id, columns in absent.items()]
        connection.execute(insert(words), fresh)


def spell_sentences(connection: Connection, asset_ids: Sequence[str]) -> None:
    """Write the captions and printed texts of assets anew from their tags, the most confident first."""
    t = tags.c
    said: dict[str, dict[str, list[str]]] = {asset_id: {name: [] for name in SENTENCES} for asset_id in asset_ids}
    for some in chunks(asset_ids, IDS_A_QUERY):
        query = select(t.asset_id, t.name, t.value).where(t.asset_id.in_(some), t.name.in_(SENTENCES))
        for asset_id, name, value in connection.execute(query.order_by(t.confidence.desc(), t.id)):
            said[asset_id][name].append(value)
    spoken = {id: {name: spelled("\n".join(lines)) for name, lines in each.items()} for id, each in said.items()}
    write_words(connection, spoken)


def forget_content(connection: Connection, asset_ids: Sequence[str]) -> None:
    """Forget all but the descriptions of assets whose files were replaced."""
    emptied = update(words).where(words.c.asset_id.in_(asset_ids))
    connection.execute(emptied.values(body=None, caption=None, text=None))
