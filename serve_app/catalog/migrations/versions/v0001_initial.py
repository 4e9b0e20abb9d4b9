"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

row_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _of_asset(primary: bool = False) -> sa.Column[str]:
    key = sa.ForeignKey("assets.id", ondelete="CASCADE")
    return sa.Column("asset_id", sa.Text, key, primary_key=primary, nullable=False)


def _time(name: str, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    _create_counters()
    _create_assets()
    _create_contents()
    _create_vectors()
    _create_annotations()
    _create_jobs()


def _create_counters() -> None:
    counters = op.create_table(
        "counters",
        sa.Column("name", sa.String(16), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(counters, [{"name": "ordinal", "value": 0}, {"name": "seq", "value": 0}])


def _create_assets() -> None:
    op.create_table(
        "assets",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("width", sa.Integer),
        sa.Column("height", sa.Integer),
        sa.Column("duration_s", sa.Double),
        sa.Column("state", sa.String(16), nullable=False),
        _time("created_at", nullable=False),
        sa.Column("ordinal", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("ordinal", name="uq_assets_ordinal"),
    )
    op.create_index("ix_assets_owner_ordinal", "assets", ["owner", "ordinal"])
    op.create_index("ix_assets_kind_ordinal", "assets", ["kind", "ordinal"])
    op.create_index("ix_assets_sha256", "assets", ["sha256"])
    op.create_table(
        "stages",
        _of_asset(primary=True),
        sa.Column("stage", sa.String(16), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("error", sa.Text),
    )
    op.create_table(
        "idempotency",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        _of_asset(),
        _time("created_at", nullable=False),
    )
    op.create_index("ix_idempotency_asset", "idempotency", ["asset_id"])


def _create_contents() -> None:
    op.create_table(
        "contents",
        _of_asset(primary=True),
        sa.Column("modality", sa.String(8), primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("file", sa.Text),
        sa.Column("text", sa.Text),
        sa.Column("ordinal", sa.BigInteger, nullable=False),
        sa.CheckConstraint("(file IS NULL) <> (text IS NULL)", name="ck_contents_file_or_text"),
    )
    op.create_index("ix_contents_key", "contents", ["owner", "modality", "sha256", "ordinal"])
    op.create_index("ix_contents_ordinal", "contents", ["ordinal"])


def _create_vectors() -> None:
    op.create_table(
        "vectors",
        sa.Column("vid", row_number, sa.Identity(), primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("modality", sa.String(8), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("shard_key", sa.Integer, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("data", sa.LargeBinary),
        sa.UniqueConstraint("owner", "modality", "sha256", "revision", name="uq_vectors_key"),
        sa.UniqueConstraint("seq", name="uq_vectors_seq"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_vectors_changes", "vectors", ["revision", "seq", "shard_key"])
    live = sa.text("data IS NOT NULL")
    op.create_index(
        "ix_vectors_live",
        "vectors",
        ["revision", "modality", "owner", "sha256"],
        postgresql_include=["vid"],
        sqlite_where=live,
        postgresql_where=live,
    )


def _create_annotations() -> None:
    op.create_table(
        "annotations",
        _of_asset(primary=True),
        sa.Column("task", sa.String(64), primary_key=True),
        sa.Column("result", sa.JSON, nullable=False),
    )
    op.create_table(
        "tags",
        sa.Column("id", row_number, sa.Identity(), primary_key=True),
        _of_asset(),
        sa.Column("task", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("folded", sa.Text, nullable=False),
        sa.Column("prefix", sa.String(200), nullable=False),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.Column("model", sa.Text),
    )
    op.create_index("ix_tags_asset_task", "tags", ["asset_id", "task"])
    op.create_index("ix_tags_name_prefix", "tags", ["name", "prefix", "confidence", "asset_id"])


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("number", row_number, sa.Identity(), primary_key=True),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("asset_id", sa.Text),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("worker", sa.Text),
        _time("lease_until"),
        sa.Column("progress", sa.Double, nullable=False),
        sa.Column("error", sa.Text),
        _time("created_at", nullable=False),
        _time("finished_at"),
        sa.UniqueConstraint("id", name="uq_jobs_id"),
        sa.UniqueConstraint("idempotency_key", name="uq_jobs_idempotency_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_state", "jobs", ["state", "number"])
    op.create_index("ix_jobs_asset", "jobs", ["asset_id"])
