"""Evaluate a filter: each comparison is one SQL statement, and the resulting sets of ids are combined as arrays.

A set of documents is a sorted array of ids or the complement of one, so that `not` costs nothing and the documents of
a collection need not be listed. SQLite returns ids as one concatenated text, which is four times as fast as rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import sqlalchemy as sa

from core.errors import InvalidFilter
from core.filters import (
    And,
    Box,
    Comparison,
    Every,
    Exists,
    Filter,
    In,
    Leaf,
    Missing,
    Not,
    Null,
    Or,
    Prefix,
    Range,
    Within,
    leaves,
)
from core.geo import Place, distances
from core.records import BoolArray, FieldKind, Int64Array
from store import schema
from store.database import ReadSession
from store.filters.comparisons import value_tests
from store.filters.fields import Fields
from store.ids import belong, counted, distinct

MAX_COMPARISONS = 200
MAX_VALUES = 30_000  # in all comparisons of a filter together
_value = schema.document_field.c


@dataclass(frozen=True, slots=True)
class Documents:
    """The set of the documents `ids`, or its complement."""

    ids: Int64Array  # sorted, distinct `document.id`
    others: bool = False

    def holds(self, documents: Int64Array) -> BoolArray:
        """(n,) which of `documents` are in the set."""
        found = belong(documents, self.ids)
        return ~found if self.others else found

    def __invert__(self) -> Documents:
        return Documents(self.ids, not self.others)

    def __and__(self, other: Documents) -> Documents:
        if self.others and other.others:
            return ~(~self | ~other)
        if self.others:
            return other & self
        return Documents(self.ids[other.holds(self.ids)])

    def __or__(self, other: Documents) -> Documents:
        if self.others or other.others:
            return ~(~self & ~other)
        return Documents(distinct(np.concatenate([self.ids, other.ids])))


_EVERYTHING = Documents(np.empty(0, dtype=np.int64), others=True)


def documents_where(
    session: ReadSession,
    collection_id: int,
    tree: Filter,
    *,
    silent: bool = False,
    among: Sequence[int] | None = None,
) -> Documents:
    """The documents of the collection that satisfy `tree`. A complement may also contain those of other collections.

    Raises InvalidFilter for a field that no document ever had and no setting declares, and for a value of a kind that
    the field never had, unless `silent`: then such a field simply has no such values. Always raises it for a filter
    that is too large. `among`: check only these few documents, and read only their values.
    """
    _check_size(tree)
    return _Resolver(session, Fields(session, collection_id, silent=silent), among).resolve(tree)


def document_ids_where(
    session: ReadSession, collection_id: int, tree: Filter | None, *, within: Filter | None = None
) -> Int64Array:
    """The ids of the documents of the collection that satisfy `tree` (None: of all), in any order.

    `within`: as if only documents that satisfy it existed. Raises like `documents_where`.
    """
    return listed(session, collection_id, seen_where(session, collection_id, tree, within))


def external_ids_where(
    session: ReadSession, collection_id: int, tree: Filter, *, among: Sequence[int], within: Filter | None = None
) -> list[str]:
    """The users' ids of those of the few documents `among` that are in the collection and satisfy `tree`.

    Otherwise like `document_ids_where`.
    """
    found = seen_where(session, collection_id, tree, within, among)
    ids = np.array(among, dtype=np.int64)
    document = schema.document.c
    # The "+ 0" makes SQLite look up the ids instead of scanning all documents of the collection.
    statement = sa.select(document.external_id).where(document.collection_id + 0 == collection_id)
    return [row.external_id for row in session.rows_where_in(statement, document.id, ids[found.holds(ids)].tolist())]


def count_where(session: ReadSession, collection_id: int, tree: Filter | None, *, within: Filter | None = None) -> int:
    """Number of documents of the collection that satisfy `tree` (None: of all). See `document_ids_where`."""
    return len(document_ids_where(session, collection_id, tree, within=within))


def seen_where(
    session: ReadSession,
    collection_id: int,
    tree: Filter | None,
    within: Filter | None,
    among: Sequence[int] | None = None,
) -> Documents:
    """The documents that satisfy `tree` (None: all), as if only those that satisfy `within` existed.

    With `within`, errors do not reveal which fields other documents have. Otherwise like `documents_where`.
    """
    seen = _EVERYTHING
    if within is not None:
        seen = documents_where(session, collection_id, within, silent=True, among=among)
    if tree is None:
        return seen
    return seen & documents_where(session, collection_id, tree, silent=within is not None, among=among)


def read_ids(session: ReadSession, column: sa.ColumnElement[int], *where: sa.ColumnElement[bool]) -> Int64Array:
    """The ids in the column of all rows where all of `where` holds, in any order, with duplicates."""
    listed = session.execute(sa.select(sa.func.group_concat(column)).where(*where)).scalar()
    return np.fromstring(listed, dtype=np.int64, sep=",") if listed else np.empty(0, dtype=np.int64)


def listed(session: ReadSession, collection_id: int, found: Documents) -> Int64Array:
    """The collection's documents in the set, by `document.id`, in any order."""
    if not found.others:
        return found.ids
    everything = read_ids(session, schema.document.c.id, schema.document.c.collection_id == collection_id)
    return everything[found.holds(everything)]


@dataclass(frozen=True, slots=True)
class _Resolver:
    session: ReadSession
    fields: Fields
    among: Sequence[int] | None  # documents

    def resolve(self, tree: Filter) -> Documents:
        match tree:
            case And(parts=parts):
                found = self.resolve(parts[0])
                for part in parts[1:]:
                    found &= self.resolve(part)
                return found
            case Or(parts=parts):
                found = self.resolve(parts[0])
                for part in parts[1:]:
                    found |= self.resolve(part)
                return found
            case Not(part=part):
                return ~self.resolve(part)
            case _:
                return self._leaf(tree)

    def _leaf(self, leaf: Leaf) -> Documents:
        match leaf:
            case Exists(field=name):
                return self._with_values(self.fields.nested_ids(name, nulls=False))
            case Missing(field=name):
                return ~self._with_values(self.fields.nested_ids(name, nulls=True))
            case Null(field=name):
                kinds = self.fields.kinds(name)
                return self._with_values([kinds[FieldKind.NULL]] if FieldKind.NULL in kinds else [])
            case Every(part=part):
                return self._every(part)
            case In() | Range() | Prefix() | Within() | Box():
                return Documents(distinct(self._passing(leaf)))

    def _with_values(self, field_ids: list[int] | sa.Select[tuple[int]]) -> Documents:
        return Documents(distinct(self._read(self._field_id.in_(field_ids))))

    def _every(self, part: Comparison) -> Documents:
        """The documents of which all values pass: as many values pass as there are."""
        documents, counts = counted(self._read(self._field_id.in_(self.fields.value_ids(part.field))))
        passing, passing_counts = counted(self._passing(part))
        passed = np.zeros(len(documents), dtype=np.int64)
        passed[np.searchsorted(documents, passing)] = passing_counts  # documents that pass are all among `documents`
        return Documents(documents[passed == counts])

    def _passing(self, part: Comparison) -> Int64Array:
        """The document of each value that passes, in any order, with duplicates."""
        found = [np.empty(0, dtype=np.int64)]
        for field_id, test in value_tests(self.fields, part):
            where = (self._field_id == field_id, test)
            found.append(self._near(part, *where) if isinstance(part, Within) else self._read(*where))
        return np.concatenate(found)

    def _read(self, *where: sa.ColumnElement[bool]) -> Int64Array:
        return read_ids(self.session, _value.document_id, *where, *self._among)

    @property
    def _field_id(self) -> sa.ColumnElement[int]:
        """With `among`, a "+ 0" makes SQLite use the index on documents instead of scanning all values of the field."""
        return _value.field_id if self.among is None else _value.field_id + 0

    @property
    def _among(self) -> tuple[sa.ColumnElement[bool], ...]:
        return () if self.among is None else (_value.document_id.in_(self.among),)

    def _near(self, circle: Within, *where: sa.ColumnElement[bool]) -> Int64Array:
        """The documents of the places that `where` finds and that lie within the circle."""
        columns = sa.select(_value.document_id, _value.number, _value.longitude)
        rows: Any = self.session.execute(columns.where(*where, *self._among)).cursor  # the driver's own: plain tuples
        table = np.fromiter(chain.from_iterable(rows), dtype=np.float64).reshape(-1, 3)
        apart = distances(Place(circle.latitude, circle.longitude), table[:, 1], table[:, 2])
        near: Int64Array = table[apart <= circle.metres, 0].astype(np.int64)
        return near


def _check_size(tree: Filter) -> None:
    comparisons = list(leaves(tree))
    if len(comparisons) > MAX_COMPARISONS:
        raise InvalidFilter(
            f"filter: {len(comparisons)} comparisons; at most {MAX_COMPARISONS} are allowed. Use 'in' for many values "
            "of one field",
            param="filter",
        )
    values = sum(len(leaf.values) for leaf in comparisons if isinstance(leaf, In))
    if values > MAX_VALUES:
        raise InvalidFilter(f"filter: {values} values; at most {MAX_VALUES} are allowed", param="filter")
