"""People: a gallery of faces with their vectors, and the faces that were seen in assets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

row_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.bulk_insert(
        sa.table("counters", sa.column("name", sa.String), sa.column("value", sa.BigInteger)),
        [{"name": "people", "value": 0}],
    )
    _create_people()
    _create_person_faces()
    _create_asset_faces()


def _create_people() -> None:
    op.create_table(
        "people",
        sa.Column("id", row_number, sa.Identity(), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("folded", sa.Text, nullable=False),
        sa.Column("merged_into", row_number, sa.ForeignKey("people.id", ondelete="CASCADE")),
        sa.Column("created_at", _time(), nullable=False),
        sa.UniqueConstraint("folded", name="uq_people_folded"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_people_merged_into", "people", ["merged_into"])


def _create_person_faces() -> None:
    op.create_table(
        "person_faces",
        sa.Column("id", row_number, sa.Identity(), primary_key=True),
        sa.Column("person_id", row_number, sa.ForeignKey("people.id", ondelete="CASCADE"), nullable=False),
        sa.Column("origins", sa.JSON, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("picture", sa.LargeBinary, nullable=False),
        sa.Column("box", sa.JSON, nullable=False),
        sa.Column("landmarks", sa.JSON, nullable=False),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.Column("added_at", _time(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_person_faces_person", "person_faces", ["person_id", "id"])
    op.create_table(
        "face_vectors",
        sa.Column(
            "face_id", row_number, sa.ForeignKey("person_faces.id", ondelete="CASCADE"), primary_key=True,
            autoincrement=False,
        ),
        sa.Column("revision", sa.Text, primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )  # fmt: skip
    op.create_index("ix_face_vectors_revision", "face_vectors", ["revision", "face_id"])


def _create_asset_faces() -> None:
    op.create_table(
        "asset_faces",
        sa.Column("asset_id", sa.Text, sa.ForeignKey("assets.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("timestamp_s", sa.Double),
        sa.Column("box", sa.JSON, nullable=False),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.Column("data", sa.LargeBinary),
        sa.Column("person_id", row_number, sa.ForeignKey("people.id", ondelete="SET NULL")),
        sa.Column("name", sa.Text),
        sa.Column("name_confidence", sa.Double),
        sa.Column("stale", sa.Boolean, nullable=False),
        sa.Column("gallery", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_asset_faces_owner", "asset_faces", ["owner", "revision", "asset_id", "number"])
    op.create_index("ix_asset_faces_gallery", "asset_faces", ["revision", "gallery", "asset_id"])
    op.create_index("ix_asset_faces_person", "asset_faces", ["person_id"])
    op.create_index("ix_asset_faces_name", "asset_faces", ["name"])
    stale = sa.column("stale", sa.Boolean)
    op.create_index("ix_asset_faces_stale", "asset_faces", ["asset_id"], sqlite_where=stale, postgresql_where=stale)


def _time() -> sa.DateTime:
    return sa.DateTime(timezone=True)
