"""Dates, places and nulls among the values that filters compare; declared kinds hold for what is stored already."""

from __future__ import annotations

import json
from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

from core.errors import InvalidDocument
from core.records import Document, FieldKind
from store.filters.metadata import FilterableValue, filterable_values

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_BATCH = 500  # documents


def upgrade() -> None:
    op.add_column("document_field", sa.Column("longitude", sa.Float))
    op.create_index(
        "document_field_place",
        "document_field",
        ["field_id", "number", "longitude", "document_id"],
        sqlite_where=sa.text("longitude IS NOT NULL"),
    )
    connection = op.get_bind()
    for collection, settings in connection.exec_driver_sql("SELECT id, settings FROM collection").fetchall():
        declared = {name: FieldKind(kind) for name, kind in json.loads(settings)["fields"].items()}
        _rewrite(connection, collection, declared)


def _rewrite(connection: sa.Connection, collection: int, declared: dict[str, FieldKind]) -> None:
    """The values of the documents whose values are others now."""
    ids = connection.exec_driver_sql(
        "SELECT id FROM document WHERE collection_id = ? AND (? OR metadata LIKE '%null%') ORDER BY id",
        (collection, bool(declared)),
    ).scalars()
    fields = {
        (name, kind): id_
        for id_, name, kind in connection.exec_driver_sql(
            "SELECT id, name, kind FROM field WHERE collection_id = ?", (collection,)
        )
    }
    for batch in _batches(list(ids)):
        marks = ", ".join("?" * len(batch))
        rows = connection.exec_driver_sql(f"SELECT id, metadata FROM document WHERE id IN ({marks})", tuple(batch))
        for id_, metadata in rows.fetchall():
            values = _values(metadata, declared)
            if values is None:
                continue
            connection.exec_driver_sql("DELETE FROM document_field WHERE document_id = ?", (id_,))
            for value in values:
                field = _field(connection, collection, fields, value)
                row = (id_, field, value.text, value.number, value.longitude)
                columns = "document_id, field_id, text, number, longitude"
                connection.exec_driver_sql(f"INSERT INTO document_field ({columns}) VALUES (?, ?, ?, ?, ?)", row)


def _values(metadata: str, declared: dict[str, FieldKind]) -> set[FilterableValue] | None:
    """None for what is damaged: it stays as it is, and `verify` says so."""
    try:
        return filterable_values(Document(id="", text="", metadata=json.loads(metadata)), declared, keep_misfits=True)
    except (ValueError, RecursionError, AttributeError, InvalidDocument):
        return None


def _field(
    connection: sa.Connection, collection: int, fields: dict[tuple[str, str], int], value: FilterableValue
) -> int:
    key = (value.name, value.kind.value)
    if key not in fields:
        fields[key] = connection.exec_driver_sql(
            "INSERT INTO field (collection_id, name, kind) VALUES (?, ?, ?)", (collection, *key)
        ).lastrowid
    return fields[key]


def _batches(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), _BATCH):
        yield ids[start : start + _BATCH]
