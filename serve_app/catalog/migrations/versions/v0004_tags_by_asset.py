"""An index that tells at once whether an asset has a tag."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_tags_asset_name", "tags", ["asset_id", "name", "prefix", "confidence"])
    op.drop_index("ix_tags_asset_task", "tags")
