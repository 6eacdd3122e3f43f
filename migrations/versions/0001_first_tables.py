"""The first tables: collections, documents, passages, embeddings, the change log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_catalog()
    _create_documents()
    _create_index()


def _create_catalog() -> None:
    op.create_table(
        "collection",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "generation",
        sa.Column("id", sa.Integer, primary_key=True),
        _parent("collection_id", "collection.id"),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("dimension", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("generation_collection", "generation", ["collection_id"])
    active = sa.text("state = 'active'")
    op.create_index("generation_active", "generation", ["collection_id"], unique=True, sqlite_where=active)


def _create_documents() -> None:
    op.create_table(
        "document",
        sa.Column("id", sa.Integer, primary_key=True),
        _parent("collection_id", "collection.id"),
        sa.Column("external_id", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("content_sha", sa.LargeBinary, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.UniqueConstraint("collection_id", "external_id", name="document_external_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("document_language", "document", ["collection_id", "language"])
    op.create_table(
        "field",
        sa.Column("id", sa.Integer, primary_key=True),
        _parent("collection_id", "collection.id"),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.UniqueConstraint("collection_id", "name", "kind", name="field_name_kind"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "document_field",
        sa.Column("id", sa.Integer, primary_key=True),
        _parent("document_id", "document.id"),
        _parent("field_id", "field.id"),
        sa.Column("text", sa.Text),
        sa.Column("number", sa.Float),
    )
    op.create_index("document_field_document", "document_field", ["document_id"])
    op.create_index("document_field_text", "document_field", ["field_id", "text", "document_id"])
    numbers = sa.text("number IS NOT NULL")
    columns = ["field_id", "number", "document_id"]
    op.create_index("document_field_number", "document_field", columns, sqlite_where=numbers)


def _create_index() -> None:
    op.create_table(
        "term",
        sa.Column("id", sa.Integer, primary_key=True),
        _parent("collection_id", "collection.id"),
        sa.Column("text", sa.Text, nullable=False),
        sa.UniqueConstraint("collection_id", "text", name="term_text"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "passage",
        sa.Column("id", sa.Integer, primary_key=True),
        _parent("document_id", "document.id"),
        sa.Column("start", sa.Integer, nullable=False),
        sa.Column("end", sa.Integer, nullable=False),
        sa.Column("fresh", sa.Integer, nullable=False),
        sa.Column("sha", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("passage_document", "passage", ["document_id"])
    op.create_index("passage_sha", "passage", ["sha", "document_id"])
    op.create_table(
        "embedding",
        sa.Column("id", sa.Integer, primary_key=True),
        _parent("generation_id", "generation.id"),
        sa.Column("sha", sa.LargeBinary, nullable=False),
        sa.Column("dense", sa.LargeBinary, nullable=False),
        sa.Column("sparse", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("generation_id", "sha", name="embedding_sha"),
    )
    op.create_table(
        "change",
        sa.Column("seq", sa.Integer, primary_key=True),
        _parent("generation_id", "generation.id"),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("passage_id", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("change_generation", "change", ["generation_id", "seq"])


def _parent(name: str, column: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, sa.ForeignKey(column, ondelete="CASCADE"), nullable=False)
