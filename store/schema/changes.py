"""Tables of the change log and of the segments that are built from it."""

from __future__ import annotations

import sqlalchemy as sa

from store.schema.base import metadata

# The change log that snapshots follow. "+": the passage is searchable from here on; "-": it was removed;
# "=": its document's metadata was replaced. Entries outlive their passages.
change = sa.Table(
    "change",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("generation_id", sa.ForeignKey("generation.id", ondelete="CASCADE"), nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("passage_id", sa.Integer, nullable=False),
    sa.Index("change_generation", "generation_id", "seq", "operation", "passage_id"),
    sqlite_autoincrement=True,
)

# A file in segments/ with live passages of a generation, made from the embeddings: see store/segments/sealing.py.
# Every passage added up to the highest `seq` of the active segments, and not removed, is in one of them.
segment = sa.Table(
    "segment",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("generation_id", sa.ForeignKey("generation.id", ondelete="CASCADE"), nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # active or retired
    sa.Column("name", sa.Text, nullable=False),  # of the file
    sa.Column("seq", sa.Integer, nullable=False),  # all its passages were added up to this change
    sa.Column("as_of", sa.Integer, nullable=False),  # none of its passages was removed up to this change
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("bytes", sa.Integer, nullable=False),
    sa.Column("sha256", sa.LargeBinary, nullable=False),  # of the file's header, which holds the hashes of its arrays
    sa.Column("retired_at", sa.Float),  # seconds since 1970
    sa.UniqueConstraint("name", name="segment_name"),
    sa.Index(
        "segment_generation",
        "generation_id", "state", "id", "seq", "as_of", "name", "rows", "bytes", "sha256", "retired_at",
    ),
    sqlite_autoincrement=True,
)  # fmt: skip
