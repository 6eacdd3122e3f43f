"""Tables of jobs: documents that wait to be added, and messages about them."""

from __future__ import annotations

import sqlalchemy as sa

from store.checksum import checksum_column
from store.schema.base import metadata

# Documents to be added to a collection. Times are seconds since 1970 by the database's clock.
# Leases and pauses are judged by their distance from now, in either direction: see store/jobs/lease.py.
job = sa.Table(
    "job",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("collection_id", sa.ForeignKey("collection.id", ondelete="SET NULL")),
    sa.Column("collection", sa.Text, nullable=False),  # its name, which outlives the collection
    sa.Column("state", sa.Text, nullable=False),  # core.records.JobState
    sa.Column("reason", sa.Text),
    sa.Column("key", sa.Text),  # the caller's idempotency key
    sa.Column("digest", sa.LargeBinary),  # SHA-256 of what was sent
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float),
    sa.Column("token", sa.Integer, nullable=False),  # fencing token: grows with every lease; writes name the newest
    sa.Column("worker", sa.Text),  # holder of the lease; null: nobody
    sa.Column("leased_at", sa.Float),
    sa.Column("lease_seconds", sa.Float),
    sa.Column("turn", sa.Integer, nullable=False),  # when it was last served: the lowest is next
    sa.Column("attempts", sa.Integer, nullable=False),  # failures since the last success that count towards giving up
    sa.Column("pauses", sa.Integer, nullable=False),  # all failures since the last success
    sa.Column("paused_at", sa.Float),
    sa.Column("pause_seconds", sa.Float),
    sa.Column("total", sa.Integer, nullable=False),
    sa.Column("pending", sa.Integer, nullable=False),
    sa.Column("failed", sa.Integer, nullable=False),
    sa.Column("created", sa.Integer, nullable=False),
    sa.Column("replaced", sa.Integer, nullable=False),
    sa.Column("updated", sa.Integer, nullable=False),
    sa.Column("unchanged", sa.Integer, nullable=False),
    sa.Column("duplicates", sa.Integer, nullable=False),
    sa.Column("truncated", sa.Integer, nullable=False),
    sa.Column("passages", sa.Integer, nullable=False),
    sa.Column("tokens", sa.Integer, nullable=False),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("busy_seconds", sa.Float, nullable=False),
    sa.Index("job_key", "collection_id", "key", unique=True),
    sa.Index("job_state", "state"),
    sa.Index("job_turn", "turn"),
    sa.Index(
        "job_copy",
        "collection_id", "collection", "state", "reason", "key", "digest", "created_at", "ended_at", "token", "worker",
        "leased_at", "lease_seconds", "turn", "attempts", "pauses", "paused_at", "pause_seconds", "total", "pending",
        "failed", "created", "replaced", "updated", "unchanged", "duplicates", "truncated", "passages", "tokens", "seq",
        "busy_seconds",
    ),
    sqlite_autoincrement=True,
)  # fmt: skip

# Waiting documents of a job; one row has as many as one commit takes, and is deleted in that commit.
job_batch = sa.Table(
    "job_batch",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("job_id", sa.ForeignKey("job.id", ondelete="CASCADE"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),  # of its first document within the job: the order of the batches
    sa.Column("documents", sa.Integer, nullable=False),  # how many
    sa.Column("crashes", sa.Integer, nullable=False),  # workers that vanished while it was the next batch
    sa.Column("payload", sa.LargeBinary, nullable=False),  # see store/jobs/payload.py
    checksum_column("documents", "payload"),
    sa.UniqueConstraint("job_id", "number", name="job_batch_number"),
    sa.Index("job_batch_crashes", "job_id", "crashes"),
)

# A job's messages about single documents.
job_notice = sa.Table(
    "job_notice",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("job_id", sa.ForeignKey("job.id", ondelete="CASCADE"), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),  # error, duplicate or truncated
    sa.Column("document_id", sa.Text),
    sa.Column("path", sa.Text),
    sa.Column("line", sa.Integer),
    sa.Column("code", sa.Text),  # of an error, like its reason
    sa.Column("reason", sa.Text),
    sa.Column("payload", sa.LargeBinary),  # the document, if it can be retried
    checksum_column("kind", "document_id", "path", "line", "code", "reason", "payload"),
    sa.Index("job_notice_kind", "job_id", "kind", "id"),
    sqlite_autoincrement=True,
)
