"""Aliases, and collections that are made anew beside themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alias",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("collection_id", sa.Integer, sa.ForeignKey("collection.id", ondelete="CASCADE"), nullable=False),
        sa.UniqueConstraint("name", name="alias_name"),
        sqlite_autoincrement=True,
    )
    op.create_index("alias_collection", "alias", ["collection_id", "name"])
    op.create_table(
        "reindexing",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("collection", sa.Text, nullable=False),
        sa.Column("serving_id", sa.Integer, sa.ForeignKey("collection.id", ondelete="SET NULL")),
        sa.Column("hidden_id", sa.Integer, sa.ForeignKey("collection.id", ondelete="SET NULL")),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("share", sa.Float, nullable=False),
        sa.Column("auto_switch", sa.Boolean, nullable=False),
        sa.Column("grace_seconds", sa.Float, nullable=False),
        sa.Column("min_recall", sa.Float, nullable=False),
        sa.Column("judgements", sa.Text),
        sa.Column("min_gain", sa.Float),
        sa.Column("report", sa.Text),
        sa.Column("cursor", sa.Text),
        sa.Column("scanned", sa.Boolean, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("passages", sa.Integer, nullable=False),
        sa.Column("tokens", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("busy_seconds", sa.Float, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("switched_at", sa.Float),
        sa.Column("ended_at", sa.Float),
        sa.Column("paused_at", sa.Float),
        sa.Column("pause_seconds", sa.Float),
        sqlite_autoincrement=True,
    )
    op.create_index("reindex_serving", "reindexing", ["serving_id", "hidden_id", "state"])
    op.create_index("reindex_hidden", "reindexing", ["hidden_id"], unique=True)
    copied = (
        "collection", "serving_id", "hidden_id", "state", "reason", "share", "auto_switch", "grace_seconds",
        "min_recall", "judgements", "min_gain", "report", "cursor", "scanned", "total", "done", "passages", "tokens",
        "failures", "busy_seconds", "created_at", "switched_at", "ended_at", "paused_at", "pause_seconds",
    )  # fmt: skip
    op.create_index("reindex_copy", "reindexing", list(copied))
    op.create_table(
        "reindexing_pending",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("reindex_id", sa.Integer, sa.ForeignKey("reindexing.id", ondelete="CASCADE"), nullable=False),
        sa.Column("external_id", sa.Text, nullable=False),
        sa.UniqueConstraint("reindex_id", "external_id", name="reindex_pending_document"),
        sqlite_autoincrement=True,
    )
    op.create_index("reindex_pending_order", "reindexing_pending", ["reindex_id", "id"])
