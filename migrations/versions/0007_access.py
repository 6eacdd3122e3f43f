"""Keys of the API, and what administrators did."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("patterns", sa.Text, nullable=False),
        sa.Column("rows", sa.Text),
        sa.Column("limits", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float),
        sa.Column("revoked_at", sa.Float),
        sa.Column("last_used_at", sa.Float),
        sa.Column("replaced_by", sa.Integer),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.UniqueConstraint("prefix", name="api_key_prefix"),
        sqlite_autoincrement=True,
    )
    op.create_index("api_key_revision", "api_key", ["revision"])
    copied = (
        "prefix", "salt", "digest", "name", "tenant", "role", "patterns", "rows", "limits", "created_at", "expires_at",
        "revoked_at", "last_used_at", "replaced_by",
    )  # fmt: skip
    op.create_index("api_key_copy", "api_key", list(copied))
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("audit_copy", "audit", ["at", "who", "action", "target", "outcome"])
