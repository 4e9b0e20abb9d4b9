"""Several vectors an asset: contents get parts with times. Jobs tell more of their progress."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = ["asset_id", "modality", "part"]
COPY = """INSERT INTO contents_new (asset_id, modality, part, owner, sha256, file, text, ordinal)
    SELECT asset_id, modality, 0, owner, sha256, file, text, ordinal FROM contents"""


def upgrade() -> None:
    op.add_column("jobs", sa.Column("detail", sa.JSON))
    if op.get_bind().dialect.name == "sqlite":
        _rebuild_contents()
    else:
        _alter_contents()


def _alter_contents() -> None:
    # The default fills the rows that are there, and is none for those that come.
    op.add_column("contents", sa.Column("part", sa.Integer, nullable=False, server_default="0"))
    op.alter_column("contents", "part", server_default=None)
    op.add_column("contents", sa.Column("start_s", sa.Double))
    op.add_column("contents", sa.Column("end_s", sa.Double))
    op.drop_constraint("contents_pkey", "contents", type_="primary")
    op.create_primary_key("contents_pkey", "contents", KEY)


def _rebuild_contents() -> None:
    # SQLite cannot change the key of a table. No table refers to this one, so it may be dropped with foreign keys on.
    op.create_table(
        "contents_new",
        sa.Column("asset_id", sa.Text, sa.ForeignKey("assets.id", ondelete="CASCADE"), nullable=False),
        sa.Column("modality", sa.String(8), nullable=False),
        sa.Column("part", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("file", sa.Text),
        sa.Column("text", sa.Text),
        sa.Column("start_s", sa.Double),
        sa.Column("end_s", sa.Double),
        sa.Column("ordinal", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint(*KEY),
        sa.CheckConstraint("(file IS NULL) <> (text IS NULL)", name="ck_contents_file_or_text"),
    )
    op.execute(COPY)
    op.drop_table("contents")
    op.rename_table("contents_new", "contents")
    op.create_index("ix_contents_key", "contents", ["owner", "modality", "sha256", "ordinal"])
    op.create_index("ix_contents_ordinal", "contents", ["ordinal"])
