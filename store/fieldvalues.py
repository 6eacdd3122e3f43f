"""The values of a metadata field, for given documents, and the number of documents with each value (facets)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa

from core.dates import date_text
from core.errors import InvalidQuery
from core.records import FieldKind, Int64Array
from store import schema
from store.filters.fields import Fields
from store.filters.sql import read_ids
from store.ids import belong, distinct
from store.view import View

FEW = 2_000  # up to so many documents are read one by one; for more, all values of the field are read
_EXACT = 2**53  # below it a double represents every integer exactly
_value = schema.document_field.c


class FieldValue(NamedTuple):
    """A value that documents can share. `kind` distinguishes 1 from true."""

    kind: FieldKind
    value: str | float

    @property
    def json(self) -> str | int | float | bool:
        """The value in JSON; a date in UTC, by ISO 8601. Only numbers that are exact are written as integers."""
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
    """How many of the documents have each value. A document with several values counts for each of them."""

    counts: Sequence[tuple[FieldValue, int]]  # the most frequent values, most first, ties by value
    distinct: int  # number of values, including those not in `counts`
    without: int  # documents without a value: it is missing, null, or too large to compare


@dataclass(frozen=True, kw_only=True, slots=True)
class _Values:
    """All values of a field of one kind, ascending. Kept in arrays, as there may be hundreds of thousands."""

    kind: FieldKind
    rows: Int64Array  # (values,) the `document_field.id` of one row with the value
    counts: Int64Array  # (values,) how many documents have the value
    holders: Int64Array  # (sum of counts,) the `document.id` of these documents, value after value


class FieldReader:
    """Reads one field. Raises InvalidQuery, naming `param`, for a field that no document ever had, and for places."""

    def __init__(self, view: View, name: str, *, param: str) -> None:
        self._view = view
        fields = Fields(view.session, view.collection.id)
        kinds = fields.known(name)
        if not kinds and not view.restricted:  # if restricted, an error would reveal documents the caller cannot see
            raise InvalidQuery(f"{param}: {fields.unknown(name)}", param=param)
        if FieldKind.GEO in kinds:
            raise InvalidQuery(
                f"{param}: {name!r:.140} holds places, which hardly any two documents share", param=param
            )
        self._kinds = {id_: kind for kind, id_ in kinds.items() if kind is not FieldKind.NULL}

    def values_of(self, documents: Int64Array) -> dict[int, list[FieldValue]]:
        """Values by `document.id`, sorted, for these documents; documents without any are left out."""
        found: dict[int, list[FieldValue]] = {}
        if len(documents) <= FEW:
            columns = sa.select(_value.document_id, _value.field_id, _value.text, _value.number)
            # The "+ 0" makes SQLite use the index on documents instead of scanning all values of the field.
            columns = columns.where((_value.field_id + 0).in_(self._kinds), _comparable())
            for row in self._view.session.rows_where_in(columns, _value.document_id, documents.tolist()):
                kind = self._kinds[row.field_id]
                value = row.text if kind is FieldKind.TEXT else row.number
                found.setdefault(row.document_id, []).append(FieldValue(kind, value))
            return {document: sorted(values) for document, values in found.items()}
        ascending = np.sort(documents)
        for of_kind in self._listed:
            places = np.flatnonzero(belong(of_kind.holders, ascending))
            which = np.searchsorted(np.cumsum(of_kind.counts), places, side="right")
            needed = distinct(which)
            values = dict(zip(needed.tolist(), self._read(of_kind.kind, of_kind.rows[needed]), strict=True))
            for document, place in zip(of_kind.holders[places].tolist(), which.tolist(), strict=True):
                found.setdefault(document, []).append(values[place])
        return {document: sorted(values) for document, values in found.items()}

    def counts(self, documents: Int64Array, most: int) -> FieldCounts:
        """Counts over the documents with these sorted, distinct `document.id`. Exact; lists the first `most` values."""
        if len(documents) <= FEW:
            of_documents = self.values_of(documents)
            counted = Counter(value for each in of_documents.values() for value in each)
            ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
            return FieldCounts(counts=ranked[:most], distinct=len(counted), without=len(documents) - len(of_documents))
        sums, having = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
        for of_kind in self._listed:
            among = belong(of_kind.holders, documents)
            upto = np.concatenate([[0], np.cumsum(among)])
            sums.append(np.diff(upto[np.concatenate([[0], np.cumsum(of_kind.counts)])]))
            having.append(of_kind.holders[among])
        return FieldCounts(
            counts=self._first(np.concatenate(sums), most),
            distinct=sum(int(np.count_nonzero(one)) for one in sums),
            without=len(documents) - len(distinct(np.concatenate(having))),
        )

    def _first(self, sums: Int64Array, most: int) -> list[tuple[FieldValue, int]]:
        """The `most` values with the highest sums above 0. `sums`: of all values, in the order of `_listed`."""
        first = np.argsort(-sums, kind="stable")[:most]
        first = first[sums[first] > 0]
        values: dict[int, FieldValue] = {}
        begin = 0
        for of_kind in self._listed:
            end = begin + len(of_kind.rows)
            places = first[(begin <= first) & (first < end)]
            values |= zip(places.tolist(), self._read(of_kind.kind, of_kind.rows[places - begin]), strict=True)
            begin = end
        return [(values[place], count) for place, count in zip(first.tolist(), sums[first].tolist(), strict=True)]

    @cached_property
    def _listed(self) -> list[_Values]:
        """One entry per kind, in order, so that the values are in the order of FieldValue. Reads no value."""
        found = []
        for id_, kind in sorted(self._kinds.items(), key=lambda item: item[1]):
            column = _column(kind)
            each = (
                sa.select(
                    sa.func.min(_value.id).label("row"),
                    sa.func.count().label("count"),
                    sa.func.group_concat(_value.document_id).label("holders"),
                )
                .where(_value.field_id == id_, column.is_not(None))
                .group_by(column)
                .order_by(column)
                .subquery()
            )
            # Joined within SQLite, without holding the interpreter lock; row by row, other threads would wait.
            joined = self._view.session.execute(sa.select(*(sa.func.group_concat(one) for one in each.c))).one()
            if joined[0] is not None:
                rows, counts, holders = (np.fromstring(text, dtype=np.int64, sep=",") for text in joined)
                found.append(_Values(kind=kind, rows=rows, counts=counts, holders=holders))
        return found

    def _read(self, kind: FieldKind, rows: Int64Array) -> list[FieldValue]:
        """The values of the rows with these `document_field.id`, in that order."""
        column = _column(kind)
        read = self._view.session.rows_where_in(sa.select(_value.id, column), _value.id, rows.tolist())
        values = {id_: FieldValue(kind, value) for id_, value in map(tuple, read)}
        return [values[row] for row in rows.tolist()]

    def holders(self, value: FieldValue | None) -> Int64Array:
        """The sorted `document.id` of the documents that have the value; None: that have any value."""
        where = [_value.field_id.in_(self._kinds), _comparable()]
        if value is not None:
            (field_id,) = (id_ for id_, kind in self._kinds.items() if kind is value.kind)
            where = [_value.field_id == field_id, _column(value.kind) == value.value]
        return distinct(read_ids(self._view.session, _value.document_id, *where))


def _column(kind: FieldKind) -> sa.ColumnElement[Any]:
    return _value.text if kind is FieldKind.TEXT else _value.number


def _comparable() -> sa.ColumnElement[bool]:
    return _value.text.is_not(None) | _value.number.is_not(None)
