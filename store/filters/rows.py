"""Store the values that filters compare."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from store import schema
from store.database import WriteSession
from store.filters.metadata import FilterableValue


def insert_values(session: WriteSession, collection_id: int, values: Mapping[int, Collection[FilterableValue]]) -> None:
    """Store the values of documents, by `document.id`. Their previous values must have been deleted."""
    wanted = {(value.name, value.kind.value) for own in values.values() for value in own}
    fields = _register_fields(session, collection_id, wanted)
    rows = [
        {
            "document_id": document,
            "field_id": fields[value.name, value.kind.value],
            "text": value.text,
            "number": value.number,
            "longitude": value.longitude,
        }
        for document, own in values.items()
        for value in own
    ]
    if rows:
        session.execute(sa.insert(schema.document_field), rows)


def _register_fields(
    session: WriteSession, collection_id: int, wanted: set[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """The `field.id` of each (name, kind); adds missing ones."""
    columns = schema.field.c
    statement = sa.select(columns.name, columns.kind, columns.id).where(columns.collection_id == collection_id)
    names = sorted({name for name, _ in wanted})
    known = {(row.name, row.kind): row.id for row in session.rows_where_in(statement, columns.name, names)}
    new = [{"collection_id": collection_id, "name": name, "kind": kind} for name, kind in sorted(wanted - set(known))]
    if not new:
        return known
    session.execute(sa.insert(schema.field), new)
    return {(row.name, row.kind): row.id for row in session.rows_where_in(statement, columns.name, names)}
