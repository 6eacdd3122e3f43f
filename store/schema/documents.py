"""Tables of documents, filterable metadata, terms, passages and embeddings."""

from __future__ import annotations

import sqlalchemy as sa

from store.checksum import checksum_column
from store.schema.base import metadata

document = sa.Table(
    "document",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("collection_id", sa.ForeignKey("collection.id", ondelete="CASCADE"), nullable=False),
    sa.Column("external_id", sa.Text, nullable=False),
    sa.Column("language", sa.Text, nullable=False),
    sa.Column("content_sha", sa.LargeBinary, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("metadata", sa.Text, nullable=False),  # JSON object
    sa.Column("text", sa.Text, nullable=False),  # may be long: the columns before it are read without it
    checksum_column("external_id", "language", "content_sha", "title", "metadata", "text", "controls", rewritten=True),
    sa.Column("controls", sa.Text),  # JSON of core.records.Document.controls: see store/controls.py; null: none
    sa.UniqueConstraint("collection_id", "external_id", name="document_external_id"),
    sa.Index("document_language", "collection_id", "language"),
    sqlite_autoincrement=True,
)

# A filterable field of a collection: one row for each kind of value that was declared or seen under its name.
field = sa.Table(
    "field",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("collection_id", sa.ForeignKey("collection.id", ondelete="CASCADE"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),  # core.records.FieldKind
    sa.UniqueConstraint("collection_id", "name", "kind", name="field_name_kind"),
    sqlite_autoincrement=True,
)

# One value of a document's metadata. A text is in `text`. `number` holds a number, a boolean as 0 or 1, a date as
# microseconds since 1970 (UTC), or a place's latitude. All are null for a null, and for a value that exists but cannot
# be compared: a text that is too long, a number beyond float64.
document_field = sa.Table(
    "document_field",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("document_id", sa.ForeignKey("document.id", ondelete="CASCADE"), nullable=False),
    sa.Column("field_id", sa.ForeignKey("field.id", ondelete="CASCADE"), nullable=False),
    sa.Column("text", sa.Text),
    sa.Column("number", sa.Float),
    sa.Column("longitude", sa.Float),  # of a place
    sa.Index("document_field_document", "document_id"),
    sa.Index("document_field_text", "field_id", "text", "document_id"),
    sa.Index("document_field_number", "field_id", "number", "document_id", sqlite_where=sa.text("number IS NOT NULL")),
    sa.Index(
        "document_field_place",
        "field_id", "number", "longitude", "document_id",
        sqlite_where=sa.text("longitude IS NOT NULL"),
    ),
)  # fmt: skip

term = sa.Table(
    "term",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("collection_id", sa.ForeignKey("collection.id", ondelete="CASCADE"), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.UniqueConstraint("collection_id", "text", name="term_text"),
    sqlite_autoincrement=True,
)

# AUTOINCREMENT never reuses an id, so an id that a client holds never refers to another passage.
passage = sa.Table(
    "passage",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("document_id", sa.ForeignKey("document.id", ondelete="CASCADE"), nullable=False),
    sa.Column("start", sa.Integer, nullable=False),  # code points of document.text; see core.records.Passage
    sa.Column("end", sa.Integer, nullable=False),
    sa.Column("fresh", sa.Integer, nullable=False),
    sa.Column("sha", sa.LargeBinary, nullable=False),  # of all that its embedding depends on
    sa.Index("passage_document", "document_id", "start", "end", "fresh"),
    sa.Index("passage_sha", "sha", "document_id"),
    sqlite_autoincrement=True,
)

embedding = sa.Table(
    "embedding",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("generation_id", sa.ForeignKey("generation.id", ondelete="CASCADE"), nullable=False),
    sa.Column("sha", sa.LargeBinary, nullable=False),
    sa.Column("dense", sa.LargeBinary, nullable=False),  # float32 little-endian, (dimension,)
    sa.Column("sparse", sa.LargeBinary, nullable=False),  # pairs of term id (int32) and frequency (float32)
    sa.Column("learned", sa.LargeBinary),  # pairs of vocabulary token id (int32) and weight (float32), or null
    checksum_column("sha", "dense", "sparse", "learned"),
    sa.UniqueConstraint("generation_id", "sha", name="embedding_sha"),
)
