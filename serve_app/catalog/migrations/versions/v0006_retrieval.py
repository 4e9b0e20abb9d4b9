"""What is served, full-text search, and what recommendation keeps; an index for an owner's latest contents."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import sqlalchemy as sa
from alembic import op

from serve_app.catalog.spelling import MAX_CHARACTERS, spell

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ROWS_A_STEP = 1000
COLUMNS = ("description", "body", "caption", "text")
FORGET = """INSERT INTO words_index (words_index, rowid, description, body, caption, text)
    VALUES ('delete', old.ordinal, old.description, old.body, old.caption, old.text);"""
KEEP = """INSERT INTO words_index (rowid, description, body, caption, text)
    VALUES (new.ordinal, new.description, new.body, new.caption, new.text);"""
WEIGHTS = {"description": "A", "caption": "B", "text": "C", "body": "D"}


def upgrade() -> None:
    _create_tables()
    op.create_index("ix_contents_owner", "contents", ["owner", "modality", "ordinal"])
    if op.get_bind().dialect.name == "sqlite":
        _index_on_sqlite()
    else:
        _index_on_postgres()
    _fill()


def _create_tables() -> None:
    op.create_table(
        "settings",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("value", sa.JSON, nullable=False),
    )
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "words",
        sa.Column("ordinal", number, primary_key=True, autoincrement=False),
        _of_asset(unique=True),
        *(sa.Column(name, sa.Text) for name in COLUMNS),
    )
    op.create_table(
        "interests",
        sa.Column("owner", sa.Text, primary_key=True),
        _of_asset(primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
    )
    op.create_index("ix_interests_asset", "interests", ["asset_id"])
    op.create_table(
        "starters",
        sa.Column("modality", sa.String(8), primary_key=True),
        sa.Column("revision", sa.Text, primary_key=True),
        _of_asset(primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
    )
    op.create_index("ix_starters_asset", "starters", ["asset_id"])
    op.create_table(
        "profiles",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("modality", sa.String(8), primary_key=True),
        sa.Column("revision", sa.Text, primary_key=True),
        sa.Column("document", sa.JSON, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )


def _of_asset(**options: Any) -> sa.Column[str]:
    key = sa.ForeignKey("assets.id", ondelete="CASCADE")
    return sa.Column("asset_id", sa.Text, key, nullable=False, **options)


def _index_on_sqlite() -> None:
    # The index keeps no text of its own; triggers follow the rows, also those that go with their asset.
    options = "content='words', content_rowid='ordinal', tokenize='unicode61 remove_diacritics 2'"
    op.execute(f"CREATE VIRTUAL TABLE words_index USING fts5({', '.join(COLUMNS)}, {options})")
    for event, statements in {"INSERT": KEEP, "DELETE": FORGET, "UPDATE": f"{FORGET} {KEEP}"}.items():
        op.execute(f"CREATE TRIGGER words_{event.lower()} AFTER {event} ON words BEGIN {statements} END")
    _index_sentences()


def _index_sentences() -> None:
    # Every three characters in a row, so that words inside of sentences are found without reading all sentences. Rows
    # of tags come and go, and never change.
    options = "content='tags', content_rowid='id', tokenize='trigram case_sensitive 1'"
    op.execute(f"CREATE VIRTUAL TABLE sentences_index USING fts5(folded, {options})")
    op.execute(
        "INSERT INTO sentences_index (rowid, folded) SELECT id, folded FROM tags WHERE name IN ('caption', 'text')"
    )
    op.execute(
        """CREATE TRIGGER sentences_insert AFTER INSERT ON tags WHEN new.name IN ('caption', 'text') BEGIN
            INSERT INTO sentences_index (rowid, folded) VALUES (new.id, new.folded); END"""
    )
    op.execute(
        """CREATE TRIGGER sentences_delete AFTER DELETE ON tags WHEN old.name IN ('caption', 'text') BEGIN
            INSERT INTO sentences_index (sentences_index, rowid, folded) VALUES ('delete', old.id, old.folded); END"""
    )


def _index_on_postgres() -> None:
    weighted = " || ".join(
        f"setweight(to_tsvector('simple', coalesce({name}, '')), '{weight}')" for name, weight in WEIGHTS.items()
    )
    op.execute(f"ALTER TABLE words ADD COLUMN search tsvector GENERATED ALWAYS AS ({weighted}) STORED")
    op.execute("CREATE INDEX ix_words_search ON words USING gin (search)")


def _fill() -> None:
    """Spell the descriptions and the sentences among the tags that are there, some assets at a time."""
    connection, after = op.get_bind(), 0
    assets = sa.text("SELECT ordinal, id, description FROM assets WHERE ordinal > :after ORDER BY ordinal LIMIT :limit")
    while found := connection.execute(assets, {"after": after, "limit": ROWS_A_STEP}).all():
        after = found[-1].ordinal
        said = _sentences(connection, [row.id for row in found])
        rows = [
            {"ordinal": row.ordinal, "asset_id": row.id, "description": _spelled(row.description)}
            | {name: _spelled("\n".join(said[row.id, name])) for name in ("caption", "text")}
            for row in found
        ]
        op.bulk_insert(WORDS, [row for row in rows if any(row[name] for name in ("description", "caption", "text"))])


def _sentences(connection: sa.Connection, ids: list[str]) -> dict[tuple[str, str], list[str]]:
    query = sa.text("SELECT asset_id, name, value FROM tags WHERE name IN ('caption', 'text') AND asset_id IN :ids")
    said = defaultdict[tuple[str, str], list[str]](list)
    for row in connection.execute(query.bindparams(sa.bindparam("ids", expanding=True)), {"ids": ids}):
        said[row.asset_id, row.name].append(row.value)
    return said


def _spelled(text: str | None) -> str | None:
    return spell((text or "")[:MAX_CHARACTERS]) or None


WORDS = sa.table("words", *(sa.column(name) for name in ("ordinal", "asset_id", "description", "caption", "text")))
