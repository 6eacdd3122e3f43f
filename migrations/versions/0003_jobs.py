"""Jobs: documents that wait to be added, and what became of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_COUNTS = (
    "total", "pending", "failed", "created", "replaced", "updated", "unchanged", "duplicates", "truncated",
    "passages", "tokens", "seq",
)  # fmt: skip


def upgrade() -> None:
    _create_job()
    _create_batches()
    _create_notices()


def _create_job() -> None:
    op.create_table(
        "job",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("collection_id", sa.Integer, sa.ForeignKey("collection.id", ondelete="SET NULL")),
        sa.Column("collection", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("key", sa.Text),
        sa.Column("digest", sa.LargeBinary),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float),
        sa.Column("token", sa.Integer, nullable=False),
        sa.Column("worker", sa.Text),
        sa.Column("leased_at", sa.Float),
        sa.Column("lease_seconds", sa.Float),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("pauses", sa.Integer, nullable=False),
        sa.Column("paused_at", sa.Float),
        sa.Column("pause_seconds", sa.Float),
        *(sa.Column(name, sa.Integer, nullable=False) for name in _COUNTS),
        sa.Column("busy_seconds", sa.Float, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("job_key", "job", ["collection_id", "key"], unique=True)
    op.create_index("job_state", "job", ["state"])
    op.create_index("job_turn", "job", ["turn"])


def _create_batches() -> None:
    op.create_table(
        "job_batch",
        sa.Column("id", sa.Integer, primary_key=True),
        _job(),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("documents", sa.Integer, nullable=False),
        sa.Column("crashes", sa.Integer, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("job_id", "number", name="job_batch_number"),
    )


def _create_notices() -> None:
    op.create_table(
        "job_notice",
        sa.Column("id", sa.Integer, primary_key=True),
        _job(),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("document_id", sa.Text),
        sa.Column("path", sa.Text),
        sa.Column("line", sa.Integer),
        sa.Column("code", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("payload", sa.LargeBinary),
        sqlite_autoincrement=True,
    )
    op.create_index("job_notice_kind", "job_notice", ["job_id", "kind", "id"])


def _job() -> sa.Column[int]:
    return sa.Column("job_id", sa.Integer, sa.ForeignKey("job.id", ondelete="CASCADE"), nullable=False)
