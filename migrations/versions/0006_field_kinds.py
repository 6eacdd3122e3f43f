"""Dates, places and nulls among the values that filters compare; declared kinds hold for what is stored already.

How metadata becomes values is written out here as it was at this revision, whatever the program does today.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_BATCH = 500  # documents
_MAX_TEXT = 1024  # characters of a text that filters compare
_MAX_NAME = 256  # of a field
_MAX_VALUES = 10_000  # of a document
_MAX_DEPTH = 20
_NUMBER = re.compile(r"\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,4})?\s*", re.ASCII)


class _Value(NamedTuple):
    """Without text and number it is known to exist, but cannot be compared."""

    name: str
    kind: str
    text: str | None = None
    number: float | None = None


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
        _rewrite(connection, collection, json.loads(settings)["fields"])


def _rewrite(connection: sa.Connection, collection: int, declared: dict[str, str]) -> None:
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
                row = (id_, field, value.text, value.number)
                columns = "document_id, field_id, text, number"
                connection.exec_driver_sql(f"INSERT INTO document_field ({columns}) VALUES (?, ?, ?, ?)", row)


def _values(metadata: str, declared: dict[str, str]) -> set[_Value] | None:
    """None for what is damaged: it stays as it is, and `verify` says so."""
    values: set[_Value] = set()
    try:
        for value in _flat(json.loads(metadata), "", 0, declared):
            values.add(value)
            if len(values) > _MAX_VALUES:
                return None
    except (ValueError, RecursionError):
        return None
    return values


def _flat(value: Any, name: str, depth: int, declared: dict[str, str]) -> Iterator[_Value]:
    """Keys of nested objects are joined by dots; arrays give one value an element. Raises ValueError for damage."""
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    kind = declared.get(name) if depth else None
    if isinstance(value, list):
        for part in value:
            yield from _flat(part, name, depth + 1, declared)
    elif isinstance(value, dict) and kind is None:
        for key, part in value.items():
            yield from _flat(part, f"{name}.{key}" if name else key, depth + 1, declared)
    elif len(name) <= _MAX_NAME:
        yield _Value(name, "null") if value is None else _of_kind(value, name, kind) if kind else _found(value, name)


def _found(value: Any, name: str) -> _Value:
    if isinstance(value, bool):
        return _Value(name, "boolean", number=float(value))
    if isinstance(value, str):
        return _Value(name, "text", text=_short(value))
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not finite")
    return _Value(name, "number", number=_finite(value))


def _of_kind(value: Any, name: str, kind: str) -> _Value:
    """A declared kind, one of the three that there were; without text and number where the value does not fit it."""
    match kind, value:
        case "text", str():
            return _Value(name, kind, text=_short(value))
        case "text", bool() | int() | float():
            return _Value(name, kind, text=_short(json.dumps(value)))
        case "number", str() if _NUMBER.fullmatch(value):
            return _Value(name, kind, number=_finite(float(value)))
        case "number", int() | float() if not isinstance(value, bool):
            return _Value(name, kind, number=_finite(value))
        case "boolean", bool() | "true" | "false":
            return _Value(name, kind, number=float(value in (True, "true")))
        case _:
            return _Value(name, kind)


def _finite(value: float) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _short(text: str) -> str | None:
    return text if len(text) <= _MAX_TEXT else None


def _field(connection: sa.Connection, collection: int, fields: dict[tuple[str, str], int], value: _Value) -> int:
    key = (value.name, value.kind)
    if key not in fields:
        fields[key] = connection.exec_driver_sql(
            "INSERT INTO field (collection_id, name, kind) VALUES (?, ?, ?)", (collection, *key)
        ).lastrowid
    return fields[key]


def _batches(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), _BATCH):
        yield ids[start : start + _BATCH]
