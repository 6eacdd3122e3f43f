"""The values of a metadata field: those of given documents, and how many documents have each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa

from core.dates import date_text
from core.errors import InvalidFilter, InvalidQuery
from core.records import FieldKind, Int64Array
from store import schema
from store.filters.fields import Fields
from store.filters.sql import read_ids
from store.ids import belong, distinct
from store.view import View

FEW = 2_000  # documents whose values are read one document after the other; of more, one value after the other
_EXACT = 2**53  # below it a double tells any two integers apart
_value = schema.document_field.c


class FieldValue(NamedTuple):
    """A value as documents share it. `kind` tells 1 from true."""

    kind: FieldKind
    value: str | float

    @property
    def json(self) -> str | int | float | bool:
        """As JSON writes it; a date in UTC, by ISO 8601. Only a number that is exact is written as an integer."""
        match self.kind:
            case FieldKind.BOOLEAN:
                return bool(self.value)
            case FieldKind.DATE:
                return date_text(float(self.value))
            case FieldKind.NUMBER:
                number = float(self.value)
                return int(number) if number.is_integer() and abs(number) < _EXACT else number
            case _:
                return self.value


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldCounts:
    """How many of the documents have each value. One with several values counts for each of them."""

    counts: Sequence[tuple[FieldValue, int]]  # most documents first, equals by value
    without: int  # documents with no value: it is missing, null, or too large to compare


class FieldReader:
    """Reads one field. Raises InvalidQuery for one that no document ever had, and for places, naming `param`."""

    def __init__(self, view: View, name: str, *, param: str) -> None:
        self._view = view
        try:
            kinds = Fields.of(view.session, view.collection.id, silent=view.restricted).kinds(name)
        except InvalidFilter as error:
            raise InvalidQuery(f"{param}: {error.message.removeprefix('filter: ')}", param=param) from None
        if FieldKind.GEO in kinds:
            raise InvalidQuery(
                f"{param}: {name!r:.140} holds places, which hardly any two documents share", param=param
            )
        self._kinds = {id_: kind for kind, id_ in kinds.items() if kind is not FieldKind.NULL}

    def values_of(self, documents: Int64Array) -> dict[int, list[FieldValue]]:
        """Of the documents with these `document.id`, in the order of the values; without those that have none."""
        found: dict[int, list[FieldValue]] = {}
        if len(documents) <= FEW:
            columns = sa.select(_value.document_id, _value.field_id, _value.text, _value.number)
            # With a sum SQLite goes by the documents, not through all values of the field.
            columns = columns.where((_value.field_id + 0).in_(self._kinds), _comparable())
            for row in self._view.session.rows_where_in(columns, _value.document_id, documents.tolist()):
                kind = self._kinds[row.field_id]
                value = row.text if kind is FieldKind.TEXT else row.number
                found.setdefault(row.document_id, []).append(FieldValue(kind, value))
            return {document: sorted(values) for document, values in found.items()}
        for values, counts, holders in self._listed:
            places = np.flatnonzero(belong(holders, np.sort(documents)))
            which = np.searchsorted(np.cumsum(counts), places, side="right")
            for document, place in zip(holders[places].tolist(), which.tolist(), strict=True):
                found.setdefault(document, []).append(values[place])
        return {document: sorted(of_document) for document, of_document in found.items()}

    def counts(self, documents: Int64Array) -> FieldCounts:
        """Over the documents with these `document.id`, sorted, each once. Exact."""
        if len(documents) <= FEW:
            of_documents = self.values_of(documents)
            counted = Counter(value for each in of_documents.values() for value in each)
            return FieldCounts(counts=_ranked(counted.items()), without=len(documents) - len(of_documents))
        found: list[tuple[FieldValue, int]] = []
        having = [np.empty(0, dtype=np.int64)]
        for values, counts, holders in self._listed:
            among = belong(holders, documents)
            upto = np.concatenate([[0], np.cumsum(among)])
            sums = np.diff(upto[np.concatenate([[0], np.cumsum(counts)])]).tolist()
            found += [(value, count) for value, count in zip(values, sums, strict=True) if count]
            having.append(holders[among])
        with_value = len(distinct(np.concatenate(having)))
        return FieldCounts(counts=_ranked(found), without=len(documents) - with_value)

    @cached_property
    def _listed(self) -> list[tuple[list[FieldValue], Int64Array, Int64Array]]:
        """Of each kind of values: (values,), how many documents have each, and these, value after value."""
        found = []
        for id_, kind in self._kinds.items():
            column: sa.ColumnElement[Any] = _value.text if kind is FieldKind.TEXT else _value.number
            statement = sa.select(column, sa.func.count(), sa.func.group_concat(_value.document_id))
            rows: Any = self._view.session.execute(
                statement.where(_value.field_id == id_, column.is_not(None)).group_by(column)
            ).cursor  # the driver's own: plain tuples
            listed = rows.fetchall()
            if listed:
                values, counts, ids = zip(*listed, strict=True)
                holders = np.fromstring(",".join(ids), dtype=np.int64, sep=",")
                found.append(([FieldValue(kind, value) for value in values], np.array(counts), holders))
        return found

    def holders(self, value: FieldValue | None) -> Int64Array:
        """The sorted `document.id` of the documents that have the value; None: of those that have any."""
        where = [_value.field_id.in_(self._kinds), _comparable()]
        if value is not None:
            (field_id,) = (id_ for id_, kind in self._kinds.items() if kind is value.kind)
            column = _value.text if value.kind is FieldKind.TEXT else _value.number
            where = [_value.field_id == field_id, column == value.value]
        return distinct(read_ids(self._view.session, _value.document_id, *where))


def _comparable() -> sa.ColumnElement[bool]:
    return _value.text.is_not(None) | _value.number.is_not(None)


def _ranked(counted: Iterable[tuple[FieldValue, int]]) -> list[tuple[FieldValue, int]]:
    return sorted(counted, key=lambda item: (-item[1], item[0]))
