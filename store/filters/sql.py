"""Which documents satisfy a filter: every comparison is one statement, and their answers are joined as arrays.

A set of documents is sorted ids, or all but sorted ids: `not` costs nothing, and the documents of a collection are
never listed. Ids come out of SQLite as one text: that is four times as fast as rows.
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
MAX_VALUES = 30_000  # of all comparisons of a filter
_value = schema.document_field.c


@dataclass(frozen=True, slots=True)
class Documents:
    """The documents `ids`, or all others."""

    ids: Int64Array  # sorted `document.id`, each once
    others: bool = False

    def holds(self, documents: Int64Array) -> BoolArray:
        """(n,) which of `documents` belong to the set."""
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
    """The documents of the collection that satisfy `tree`. Those of other collections may be in a set of `others`.

    `silent`: a field or a kind that is unknown is no error, and nothing has such values. Else raises InvalidFilter for
    a field that no document ever had and no setting declares, and for a value of a kind that the field never had; in
    any case for a filter that is too large. `among`: of these few documents alone, whose values are all that is read.
    """
    _check_size(tree)
    return _Resolver(session, Fields(session, collection_id, silent=silent), among).resolve(tree)


def document_ids_where(
    session: ReadSession, collection_id: int, tree: Filter | None, *, within: Filter | None = None
) -> Int64Array:
    """The ids of the documents of the collection that satisfy `tree`, None: of all, in any order.

    `within`: as if there were none but those that satisfy it, too. Raises as `documents_where` does.
    """
    return listed(session, collection_id, seen_where(session, collection_id, tree, within))


def external_ids_where(
    session: ReadSession, collection_id: int, tree: Filter, *, among: Sequence[int], within: Filter | None = None
) -> list[str]:
    """The users' ids of those of the few documents `among` that the collection has and that satisfy `tree`.

    Else as `document_ids_where`.
    """
    found = seen_where(session, collection_id, tree, within, among)
    ids = np.array(among, dtype=np.int64)
    document = schema.document.c
    # With a sum SQLite goes by the ids, not through all documents of the collection.
    statement = sa.select(document.external_id).where(document.collection_id + 0 == collection_id)
    return [row.external_id for row in session.rows_where_in(statement, document.id, ids[found.holds(ids)].tolist())]


def count_where(session: ReadSession, collection_id: int, tree: Filter | None, *, within: Filter | None = None) -> int:
    """How many documents of the collection satisfy `tree`, None: are there. Else as `document_ids_where`."""
    return len(document_ids_where(session, collection_id, tree, within=within))


def seen_where(
    session: ReadSession,
    collection_id: int,
    tree: Filter | None,
    within: Filter | None,
    among: Sequence[int] | None = None,
) -> Documents:
    """Those that satisfy `tree`, None: all, as if there were none but those that satisfy `within`.

    Who sees these alone does not learn from an error which fields the others have. Else as `documents_where`.
    """
    seen = _EVERYTHING
    if within is not None:
        seen = documents_where(session, collection_id, within, silent=True, among=among)
    if tree is None:
        return seen
    return seen & documents_where(session, collection_id, tree, silent=within is not None, among=among)


def read_ids(session: ReadSession, column: sa.ColumnElement[int], *where: sa.ColumnElement[bool]) -> Int64Array:
    """The ids that the column has where all of `where` holds, in any order, as often as they are there."""
    listed = session.execute(sa.select(sa.func.group_concat(column)).where(*where)).scalar()
    return np.fromstring(listed, dtype=np.int64, sep=",") if listed else np.empty(0, dtype=np.int64)


def listed(session: ReadSession, collection_id: int, found: Documents) -> Int64Array:
    """The ids of the set, in any order."""
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
        """Of these documents as many values pass as there are."""
        documents, counts = counted(self._read(self._field_id.in_(self.fields.value_ids(part.field))))
        passing, passing_counts = counted(self._passing(part))
        passed = np.zeros(len(documents), dtype=np.int64)
        passed[np.searchsorted(documents, passing)] = passing_counts  # the values that pass are among the values
        return Documents(documents[passed == counts])

    def _passing(self, part: Comparison) -> Int64Array:
        """The documents of all values that pass, each as often as it has some, in any order."""
        found = [np.empty(0, dtype=np.int64)]
        for field_id, test in value_tests(self.fields, part):
            where = (self._field_id == field_id, test)
            found.append(self._near(part, *where) if isinstance(part, Within) else self._read(*where))
        return np.concatenate(found)

    def _read(self, *where: sa.ColumnElement[bool]) -> Int64Array:
        return read_ids(self.session, _value.document_id, *where, *self._among)

    @property
    def _field_id(self) -> sa.ColumnElement[int]:
        """With a sum SQLite goes by the documents, not through all values of the field."""
        return _value.field_id if self.among is None else _value.field_id + 0

    @property
    def _among(self) -> tuple[sa.ColumnElement[bool], ...]:
        return () if self.among is None else (_value.document_id.in_(self.among),)

    def _near(self, circle: Within, *where: sa.ColumnElement[bool]) -> Int64Array:
        """Of the places that `where` finds, those that are in the circle: their documents."""
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
