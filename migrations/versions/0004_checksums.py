"""A second witness of every value: row checksums, and indexes that hold a copy of what no checksum covers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from store.checksum import row_checksum  # fixed: what it gives for a row is stored, and never changes

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_COVERED = {
    "document": ("external_id", "language", "content_sha", "title", "metadata", "text"),
    "embedding": ("sha", "dense", "sparse", "learned"),
    "job_batch": ("documents", "payload"),
    "job_notice": ("kind", "document_id", "path", "line", "code", "reason", "payload"),
}
_COPIES = {
    "collection": ("collection_copy", ("name", "settings", "created_at")),
    "job_batch": ("job_batch_crashes", ("job_id", "crashes")),
    "job": (
        "job_copy",
        (
            "collection_id", "collection", "state", "reason", "key", "digest", "created_at", "ended_at", "token",
            "worker", "leased_at", "lease_seconds", "turn", "attempts", "pauses", "paused_at", "pause_seconds",
            "total", "pending", "failed", "created", "replaced", "updated", "unchanged", "duplicates", "truncated",
            "passages", "tokens", "seq", "busy_seconds",
        ),
    ),
}  # fmt: skip
_WIDENED = {
    "generation": (
        "generation_collection",
        ("collection_id", "state", "model", "fingerprint", "dimension", "sparse_model", "sparse_fingerprint"),
    ),
    "passage": ("passage_document", ("document_id", "start", "end", "fresh")),
    "change": ("change_generation", ("generation_id", "seq", "operation", "passage_id")),
}


def upgrade() -> None:
    connection = op.get_bind()
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.create_function("row_checksum", -1, row_checksum, deterministic=True)
    for table, columns in _COVERED.items():
        op.add_column(table, sa.Column("checksum", sa.LargeBinary, nullable=False, server_default=sa.text("x''")))
        op.execute(f"UPDATE {table} SET checksum = row_checksum({', '.join(columns)})")
    for table, (index, names) in _WIDENED.items():
        op.drop_index(index, table)
        op.create_index(index, table, list(names))
    for table, (index, names) in _COPIES.items():
        op.create_index(index, table, list(names))
