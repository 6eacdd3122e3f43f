"""Collections whose passages an engine elsewhere holds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "passage_index",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("generation_id", sa.Integer, sa.ForeignKey("generation.id", ondelete="SET NULL")),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("removed_to", sa.Integer, nullable=False),
        sa.Column("passages", sa.Integer, nullable=False),
        sa.Column("length", sa.Float, nullable=False),
        sa.UniqueConstraint("generation_id", name="passage_index_generation"),
        sa.UniqueConstraint("name", name="passage_index_name"),
        sqlite_autoincrement=True,
    )
    copied = ("generation_id", "name", "seq", "removed_to", "passages", "length")
    op.create_index("passage_index_copy", "passage_index", list(copied))
    op.create_table(
        "term_count",
        sa.Column("term_id", sa.Integer, sa.ForeignKey("term.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("passages", sa.Integer, nullable=False),
    )
