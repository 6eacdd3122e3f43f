"""Tables of collections, their generations with the models that embed them, and aliases."""

from __future__ import annotations

import sqlalchemy as sa

from store.schema.base import metadata

collection = sa.Table(
    "collection",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("settings", sa.Text, nullable=False),  # JSON of core.records.CollectionSettings
    sa.Column("created_at", sa.Text, nullable=False),  # ISO 8601, UTC
    sa.Index("collection_copy", "name", "settings", "created_at"),
    sqlite_autoincrement=True,
)

generation = sa.Table(
    "generation",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("collection_id", sa.ForeignKey("collection.id", ondelete="CASCADE"), nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("dimension", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # core.records.GenerationState (decision 24)
    sa.Column("sparse_model", sa.Text),  # this and the next: null where the collection has no learned weights
    sa.Column("sparse_fingerprint", sa.Text),
    sa.Index(
        "generation_collection",
        "collection_id", "state", "model", "fingerprint", "dimension", "sparse_model", "sparse_fingerprint",
    ),
    # A collection has at most one active generation.
    sa.Index("generation_active", "collection_id", unique=True, sqlite_where=sa.text("state = 'active'")),
    sqlite_autoincrement=True,
)  # fmt: skip

# An alias of a collection, which searches, reads and writes follow.
alias = sa.Table(
    "alias",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("collection_id", sa.ForeignKey("collection.id", ondelete="CASCADE"), nullable=False),
    sa.UniqueConstraint("name", name="alias_name"),
    sa.Index("alias_collection", "collection_id", "name"),
    sqlite_autoincrement=True,
)
