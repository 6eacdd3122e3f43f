"""Repair documents whose texts are sound: rewrite their filter values, and prepare them to be embedded anew."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from core.records import Document
from store import schema
from store.catalog import find_collection
from store.checksum import covered_columns
from store.database import Database, WriteSession, chunks
from store.documents import document_of
from store.filters.metadata import filterable_values
from store.filters.rows import insert_values


def mend_fields(database: Database, collection: str, ids: Collection[str]) -> None:
    """Rewrite the filter values of documents from their metadata."""
    with database.write() as session:
        found = find_collection(session, collection)
        values = {
            row_id: filterable_values(document, found.settings.fields, keep_misfits=True)
            for row_id, document in _documents(session, found.id, ids).items()
        }
        column = schema.document_field.c.document_id
        for chunk in chunks(values):
            session.execute(sa.delete(schema.document_field).where(column.in_(chunk)))
        insert_values(session, found.id, values)


def prepare(database: Database, collection: str, ids: Collection[str]) -> list[Document]:
    """The documents, to be added again. Deletes their embeddings and empties their hashes, so they count as changed.

    Until they are added, `verify` reports them as damaged.
    """
    document, passage, embedding = schema.document, schema.passage, schema.embedding
    with database.write() as session:
        found = find_collection(session, collection)
        documents = _documents(session, found.id, ids)
        names = [name for name in covered_columns(document) if name != "content_sha"]
        generations = sa.select(schema.generation.c.id).where(schema.generation.c.collection_id == found.id)
        for row_id in documents:
            shas = sa.select(passage.c.sha).where(passage.c.document_id == row_id)
            session.execute(
                sa.delete(embedding).where(embedding.c.generation_id.in_(generations), embedding.c.sha.in_(shas))
            )
            row = session.execute(sa.select(document).where(document.c.id == row_id)).one()
            values = {name: getattr(row, name) for name in names} | {"content_sha": b""}
            session.execute(sa.update(document).where(document.c.id == row_id).values(values))
    return list(documents.values())


def _documents(session: WriteSession, collection_id: int, ids: Collection[str]) -> dict[int, Document]:
    """The documents with these ids, by document.id."""
    columns = schema.document.c
    statement = sa.select(schema.document).where(columns.collection_id == collection_id)
    return {row.id: document_of(row) for row in session.rows_where_in(statement, columns.external_id, ids)}
