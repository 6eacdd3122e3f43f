"""Tables of the passage indexes in external engines: see store/passageindex."""

from __future__ import annotations

import sqlalchemy as sa

from store.schema.base import metadata

# The external index of a generation. The row outlives the generation, with a null id, until the index is dropped.
passage_index = sa.Table(
    "passage_index",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("generation_id", sa.ForeignKey("generation.id", ondelete="SET NULL")),
    sa.Column("name", sa.Text, nullable=False),  # in the engine; unique, and replaced in a copy of the directory
    sa.Column("seq", sa.Integer, nullable=False),  # every passage added up to this change is in the engine
    sa.Column("removed_to", sa.Integer, nullable=False),  # no passage removed up to this change is in the engine
    sa.Column("passages", sa.Integer, nullable=False),  # of the generation, replicated or not; kept by every commit
    sa.Column("length", sa.Float, nullable=False),  # of those passages together, in terms
    sa.UniqueConstraint("generation_id", name="passage_index_generation"),
    sa.UniqueConstraint("name", name="passage_index_name"),
    sa.Index("passage_index_copy", "generation_id", "name", "seq", "removed_to", "passages", "length"),
    sqlite_autoincrement=True,
)

# Number of passages of such a generation that contain a term; kept by every commit.
term_count = sa.Table(
    "term_count",
    metadata,
    sa.Column("term_id", sa.ForeignKey("term.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("passages", sa.Integer, nullable=False),
)
