"""Collections whose passages an engine elsewhere holds: see store/passageindex."""

from __future__ import annotations

import sqlalchemy as sa

from store.schema.base import metadata

# Of a generation that a PassageIndex holds. The row outlives it, without its id: what is elsewhere is removed by it.
passage_index = sa.Table(
    "passage_index",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("generation_id", sa.ForeignKey("generation.id", ondelete="SET NULL")),
    sa.Column("name", sa.Text, nullable=False),  # there, and nowhere else: made anew where the directory is copied
    sa.Column("seq", sa.Integer, nullable=False),  # every passage that came up to this change is there
    sa.Column("removed_to", sa.Integer, nullable=False),  # every passage that went up to this change is not
    sa.Column("passages", sa.Integer, nullable=False),  # of the generation, in `seq` or not; every commit keeps it
    sa.Column("length", sa.Float, nullable=False),  # of those, in terms, summed
    sa.UniqueConstraint("generation_id", name="passage_index_generation"),
    sa.UniqueConstraint("name", name="passage_index_name"),
    sa.Index("passage_index_copy", "generation_id", "name", "seq", "removed_to", "passages", "length"),
    sqlite_autoincrement=True,
)

# Of such a generation: how many of its passages hold a term. Every commit keeps it.
term_count = sa.Table(
    "term_count",
    metadata,
    sa.Column("term_id", sa.ForeignKey("term.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("passages", sa.Integer, nullable=False),
)
