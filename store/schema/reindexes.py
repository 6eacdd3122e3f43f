"""Tables of reindexes, and of the documents that still have to be copied."""

from __future__ import annotations

import sqlalchemy as sa

from store.schema.base import metadata

# A reindex: core.reindexes.Reindex documents the columns. The generation that does not answer is a collection of its
# own with a hidden name: see store/reindex. The remains of a deleted collection are treated likewise until they are
# removed, by a row that has their hidden name and no serving collection.
reindex = sa.Table(
    "reindexing",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("collection", sa.Text, nullable=False),
    sa.Column("serving_id", sa.ForeignKey("collection.id", ondelete="SET NULL")),
    sa.Column("hidden_id", sa.ForeignKey("collection.id", ondelete="SET NULL")),
    sa.Column("state", sa.Text, nullable=False),  # core.reindexes.ReindexState
    sa.Column("reason", sa.Text),
    sa.Column("auto_switch", sa.Boolean, nullable=False),
    *(sa.Column(name, sa.Float, nullable=False) for name in ("share", "grace_seconds", "min_recall")),
    sa.Column("judgements", sa.Text),
    sa.Column("min_gain", sa.Float),
    sa.Column("report", sa.Text),
    sa.Column("cursor", sa.Text),
    sa.Column("scanned", sa.Boolean, nullable=False),
    *(sa.Column(name, sa.Integer, nullable=False) for name in ("total", "done", "passages", "tokens", "failures")),
    *(sa.Column(name, sa.Float, nullable=False) for name in ("busy_seconds", "created_at")),
    *(sa.Column(name, sa.Float) for name in ("switched_at", "ended_at", "paused_at", "pause_seconds")),
    sa.Index("reindex_serving", "serving_id", "hidden_id", "state"),
    sa.Index("reindex_hidden", "hidden_id", unique=True),
    sa.Index(
        "reindex_copy",
        "collection", "serving_id", "hidden_id", "state", "reason", "share", "auto_switch", "grace_seconds",
        "min_recall", "judgements", "min_gain", "report", "cursor", "scanned", "total", "done", "passages", "tokens",
        "failures", "busy_seconds", "created_at", "switched_at", "ended_at", "paused_at", "pause_seconds",
    ),
    sqlite_autoincrement=True,
)  # fmt: skip

UNHINDERED = {"failures": 0, "paused_at": None, "pause_seconds": None}  # columns of a reindex without failure or pause
# Columns of a reindex that has not begun yet.
NOT_BEGUN = {
    **UNHINDERED, "scanned": False, **dict.fromkeys(("total", "done", "passages", "tokens", "busy_seconds"), 0),
}  # fmt: skip

# Documents that were written meanwhile and must be copied to the hidden generation. A document that is written again
# gets a new id, so that a process which copied its earlier state does not strike it out.
reindex_pending = sa.Table(
    "reindexing_pending",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("reindex_id", sa.ForeignKey("reindexing.id", ondelete="CASCADE"), nullable=False),
    sa.Column("external_id", sa.Text, nullable=False),
    sa.UniqueConstraint("reindex_id", "external_id", name="reindex_pending_document"),
    sa.Index("reindex_pending_order", "reindex_id", "id"),
    sqlite_autoincrement=True,
)
