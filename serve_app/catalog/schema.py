"""The tables of the catalog, the same on SQLite and Postgres.

Migrations in ``migrations/versions`` make them; a test compares the two.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

metadata = MetaData()

# SQLite numbers rows by itself only where the key is exactly INTEGER.
RowNumber = BigInteger().with_variant(Integer(), "sqlite")


class Utc(TypeDecorator[datetime]):
    """A point in time, kept in UTC: SQLite has no zones, so they are taken off on the way in and put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without its zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _of_asset(**options: Any) -> Column[str]:
    return Column("asset_id", Text, ForeignKey("assets.id", ondelete="CASCADE"), nullable=False, **options)


counters = Table(
    "counters",
    metadata,
    Column("name", String(16), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

assets = Table(
    "assets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("media_type", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("file", Text, nullable=False),
    Column("description", Text),
    Column("width", Integer),
    Column("height", Integer),
    Column("duration_s", Double),
    Column("state", String(16), nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("ordinal", BigInteger, nullable=False),
    UniqueConstraint("ordinal", name="uq_assets_ordinal"),
    Index("ix_assets_owner_ordinal", "owner", "ordinal"),
    Index("ix_assets_kind_ordinal", "kind", "ordinal"),
    Index("ix_assets_sha256", "sha256"),
)

stages = Table(
    "stages",
    metadata,
    _of_asset(primary_key=True),
    Column("stage", String(16), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("error", Text),
)

contents = Table(
    "contents",
    metadata,
    _of_asset(primary_key=True),
    Column("modality", String(8), primary_key=True),
    Column("part", Integer, primary_key=True, default=0),
    Column("owner", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("file", Text),
    Column("text", Text),
    Column("start_s", Double),
    Column("end_s", Double),
    Column("ordinal", BigInteger, nullable=False),
    CheckConstraint("(file IS NULL) <> (text IS NULL)", name="ck_contents_file_or_text"),
    Index("ix_contents_key", "owner", "modality", "sha256", "ordinal"),
    Index("ix_contents_ordinal", "ordinal"),
    # An owner's latest, without a look at all that the owner ever posted.
    Index("ix_contents_owner", "owner", "modality", "ordinal"),
)

vectors = Table(
    "vectors",
    metadata,
    Column("vid", RowNumber, Identity(), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("modality", String(8), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("revision", Text, nullable=False),
    Column("shard_key", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("data", LargeBinary),
    UniqueConstraint("owner", "modality", "sha256", "revision", name="uq_vectors_key"),
    UniqueConstraint("seq", name="uq_vectors_seq"),
    # The shard key rides along so that another shard's rows are passed over without reading their vectors.
    Index("ix_vectors_changes", "revision", "seq", "shard_key"),
    sqlite_autoincrement=True,
)
# Counting, selecting and looking for what is missing go over this index alone and read no vectors.
Index(
    "ix_vectors_live",
    vectors.c.revision,
    vectors.c.modality,
    vectors.c.owner,
    vectors.c.sha256,
    postgresql_include=["vid"],
    sqlite_where=vectors.c.data.is_not(None),
    postgresql_where=vectors.c.data.is_not(None),
)

answers = Table(
    "annotations",
    metadata,
    _of_asset(primary_key=True),
    Column("task", String(64), primary_key=True),
    Column("result", JSON, nullable=False),
)

tags = Table(
    "tags",
    metadata,
    Column("id", RowNumber, Identity(), primary_key=True),
    _of_asset(),
    Column("task", String(64), nullable=False),
    Column("name", Text, nullable=False),
    Column("value", Text, nullable=False),
    # Both databases fold case differently, so the folded value is made here once; Postgres cannot index a long
    # text, so a prefix of it is what the index holds.
    Column("folded", Text, nullable=False),
    Column("prefix", String(200), nullable=False),
    Column("confidence", Double, nullable=False),
    Column("model", Text),
    Index("ix_tags_asset_name", "asset_id", "name", "prefix", "confidence"),
    Index("ix_tags_name_prefix", "name", "prefix", "confidence", "asset_id"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("number", RowNumber, Identity(), primary_key=True),
    Column("id", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("asset_id", Text),  # no foreign key: a cancelled job may outlive its asset
    Column("payload", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("idempotency_key", Text),
    Column("attempts", Integer, nullable=False),
    Column("worker", Text),
    Column("lease_until", Utc),
    Column("progress", Double, nullable=False),
    Column("detail", JSON(none_as_null=True)),
    Column("error", Text),
    Column("created_at", Utc, nullable=False),
    Column("finished_at", Utc),
    UniqueConstraint("id", name="uq_jobs_id"),
    UniqueConstraint("idempotency_key", name="uq_jobs_idempotency_key"),
    Index("ix_jobs_state", "state", "number"),
    Index("ix_jobs_asset", "asset_id"),
    sqlite_autoincrement=True,
)

renditions = Table(
    "renditions",
    metadata,
    _of_asset(primary_key=True),
    Column("name", String(100), primary_key=True),
    Column("media_type", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("file", Text, nullable=False),
    Column("width", Integer),
    Column("height", Integer),
    Column("created_at", Utc, nullable=False),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    _of_asset(),
    Column("created_at", Utc, nullable=False),
    Index("ix_idempotency_asset", "asset_id"),
)

people = Table(
    "people",
    metadata,
    Column("id", RowNumber, Identity(), primary_key=True),
    Column("name", Text, nullable=False),
    Column("folded", Text, nullable=False),
    # One who was merged stays a row of its own below the other, so that it comes apart again exactly.
    Column("merged_into", RowNumber, ForeignKey("people.id", ondelete="CASCADE")),
    Column("created_at", Utc, nullable=False),
    UniqueConstraint("folded", name="uq_people_folded"),
    Index("ix_people_merged_into", "merged_into"),
    sqlite_autoincrement=True,
)

person_faces = Table(
    "person_faces",
    metadata,
    Column("id", RowNumber, Identity(), primary_key=True),
    Column("person_id", RowNumber, ForeignKey("people.id", ondelete="CASCADE"), nullable=False),
    # Whom it was split from, first to last, so that it finds back.
    Column("origins", JSON, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("picture", LargeBinary, nullable=False),
    Column("box", JSON, nullable=False),
    Column("landmarks", JSON, nullable=False),
    Column("confidence", Double, nullable=False),
    Column("added_at", Utc, nullable=False),
    Index("ix_person_faces_person", "person_id", "id"),
    sqlite_autoincrement=True,
)

face_vectors = Table(
    "face_vectors",
    metadata,
    Column(
        "face_id", RowNumber, ForeignKey("person_faces.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    Column("revision", Text, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Index("ix_face_vectors_revision", "revision", "face_id"),
)

asset_faces = Table(
    "asset_faces",
    metadata,
    _of_asset(primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("owner", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("timestamp_s", Double),
    Column("box", JSON, nullable=False),
    Column("confidence", Double, nullable=False),
    Column("data", LargeBinary),
    Column("person_id", RowNumber, ForeignKey("people.id", ondelete="SET NULL")),
    # What the asset's stored answer calls the face; stale until that follows the gallery again.
    Column("name", Text),
    Column("name_confidence", Double),
    Column("stale", Boolean, nullable=False),
    # The version of the gallery by which it was named last.
    Column("gallery", BigInteger, nullable=False),
    Index("ix_asset_faces_owner", "owner", "revision", "asset_id", "number"),
    Index("ix_asset_faces_gallery", "revision", "gallery", "asset_id"),
    Index("ix_asset_faces_person", "person_id"),
    Index("ix_asset_faces_name", "name"),
)
Index(
    "ix_asset_faces_stale",
    asset_faces.c.asset_id,
    sqlite_where=asset_faces.c.stale,
    postgresql_where=asset_faces.c.stale,
)

settings = Table(
    "settings",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", JSON, nullable=False),
)

# What full-text search reads of an asset, as words between spaces; the migration makes an index over it of the
# database's own kind: the virtual table ``words_index`` on SQLite, the column ``words.search`` on Postgres.
words = Table(
    "words",
    metadata,
    Column("ordinal", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=False),
    _of_asset(unique=True),
    Column("description", Text),
    Column("body", Text),
    Column("caption", Text),
    Column("text", Text),
)

interests = Table(
    "interests",
    metadata,
    Column("owner", Text, primary_key=True),
    _of_asset(primary_key=True),
    Column("position", Integer, nullable=False),
    Index("ix_interests_asset", "asset_id"),
)

starters = Table(
    "starters",
    metadata,
    Column("modality", String(8), primary_key=True),
    Column("revision", Text, primary_key=True),
    _of_asset(primary_key=True),
    Column("position", Integer, nullable=False),
    Index("ix_starters_asset", "asset_id"),
)

profiles = Table(
    "profiles",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("modality", String(8), primary_key=True),
    Column("revision", Text, primary_key=True),
    Column("document", JSON, nullable=False),
    Column("seq", BigInteger, nullable=False),
)
