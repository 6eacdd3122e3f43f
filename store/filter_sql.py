"""Filters as SQL: which passages' documents satisfy a tree of core.filters."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import sqlalchemy as sa

from core.errors import InvalidFilter
from core.filters import And, Exists, Filter, In, Not, Or, Range, Scalar, leaves
from core.records import FieldKind, Int64Array
from store import schema
from store.database import ReadSession
from store.fields import MAX_TEXT, is_unicode

MAX_COMPARISONS = 200
MAX_VALUES = 30_000  # of all comparisons of a filter; SQLite takes 32,766
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_Fields = dict[str, dict[FieldKind, int]]  # name: kind: field.id


def passages_where(session: ReadSession, collection_id: int, tree: Filter) -> Int64Array:
    """Ids of the passages whose document satisfies `tree`, sorted.

    Raises InvalidFilter for a field that no document ever had and no setting declares, for a value of a kind that the
    field never had, and for a filter that is too large.
    """
    _check_size(tree)
    fields = _fields(session, collection_id)
    statement = (
        sa.select(schema.passage.c.id)
        .join_from(schema.passage, schema.document)
        .where(schema.document.c.collection_id == collection_id, _condition(tree, fields))
    )
    ids = np.fromiter(session.execute(statement).scalars(), dtype=np.int64)
    ids.sort()
    return ids


def _condition(tree: Filter, fields: _Fields) -> sa.ColumnElement[bool]:
    match tree:
        case And(parts=parts):
            return sa.and_(*(_condition(part, fields) for part in parts))
        case Or(parts=parts):
            return sa.or_(*(_condition(part, fields) for part in parts))
        case Not(part=part):
            return sa.not_(_condition(part, fields))
        case In(field=name, values=values):
            return sa.or_(
                *(_is_one_of(fields, name, kind, values) for kind in {_kind(value): None for value in values})
            )
        case Range(field=name, operator=comparison, bound=bound):
            kind = _kind(bound)
            return _holds(fields, name, kind, _COMPARE[comparison](_column(kind), bound))
        case Exists(field=name):
            value = schema.document_field.c
            of_field = value.field_id.in_(list(_kinds(fields, name).values()))
            return schema.document.c.id.in_(sa.select(value.document_id).where(of_field))


def _is_one_of(fields: _Fields, name: str, kind: FieldKind, values: tuple[Scalar, ...]) -> sa.ColumnElement[bool]:
    return _holds(fields, name, kind, _column(kind).in_([value for value in values if _kind(value) is kind]))


def _holds(fields: _Fields, name: str, kind: FieldKind, test: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """The document has a value of this field and kind that passes the test."""
    kinds = _kinds(fields, name)
    if kind not in kinds:
        raise InvalidFilter(
            f"filter.{name}: compares with a {kind.value}, but the values of this field are "
            f"{' or '.join(sorted(known.value for known in kinds))}",
            param="filter",
        )
    value = schema.document_field.c
    return schema.document.c.id.in_(sa.select(value.document_id).where(value.field_id == kinds[kind], test))


def _column(kind: FieldKind) -> sa.ColumnElement[Any]:
    return schema.document_field.c.text if kind is FieldKind.TEXT else schema.document_field.c.number


def _kinds(fields: _Fields, name: str) -> dict[FieldKind, int]:
    if name in fields:
        return fields[name]
    if not fields:
        known = "the documents of this collection have no metadata"
    elif near := difflib.get_close_matches(name, fields, n=3):
        known = f"did you mean {' or '.join(map(repr, near))}?"
    else:
        names = sorted(fields)
        known = f"there are {', '.join(map(repr, names[:8]))}{' and others' if len(names) > 8 else ''}"
    raise InvalidFilter(f"filter: unknown field {name!r:.140}; {known}", param="filter")


def _fields(session: ReadSession, collection_id: int) -> _Fields:
    columns = schema.field.c
    statement = sa.select(columns.name, columns.kind, columns.id).where(columns.collection_id == collection_id)
    fields: _Fields = {}
    for row in session.execute(statement):
        fields.setdefault(row.name, {})[FieldKind(row.kind)] = row.id
    return fields


def _kind(value: Scalar) -> FieldKind:
    if isinstance(value, bool):
        return FieldKind.BOOLEAN
    return FieldKind.TEXT if isinstance(value, str) else FieldKind.NUMBER


def _check_size(tree: Filter) -> None:
    comparisons = list(leaves(tree))
    if len(comparisons) > MAX_COMPARISONS:
        raise InvalidFilter(
            f"filter: {len(comparisons)} comparisons; at most {MAX_COMPARISONS} are allowed. Use 'in' for many values "
            "of one field",
            param="filter",
        )
    values = [value for leaf in comparisons for value in _values(leaf)]
    if len(values) > MAX_VALUES:
        raise InvalidFilter(f"filter: {len(values)} values; at most {MAX_VALUES} are allowed", param="filter")
    for value in values:
        if isinstance(value, str) and (len(value) > MAX_TEXT or not is_unicode(value)):
            raise InvalidFilter(
                f"filter: the text {value!r:.80} is longer than {MAX_TEXT} characters or holds half a surrogate pair; "
                "no value that can be compared is like that",
                param="filter",
            )


def _values(leaf: In | Range | Exists) -> tuple[Scalar, ...]:
    match leaf:
        case In(values=values):
            return values
        case Range(bound=bound):
            return (bound,)
        case Exists():
            return ()
