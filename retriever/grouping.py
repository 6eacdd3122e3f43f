"""Ranked documents in groups that share a value of a metadata field.

Groups come in the order of their best hits, and hold their best ones. A document with several values is in the group of
each of them; those without a value are one group, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.records import BoolArray, Int64Array
from retriever.selection import GroupBy
from store.fieldvalues import FieldReader, FieldValue
from store.holders import documents_of_passages
from store.view import View

_READ_AT_FIRST = 100  # documents of a ranking; then eight times as many


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    value: FieldValue | None  # None: of the documents without one
    places: tuple[int, ...]  # of its hits in the ranking, best first


@dataclass(frozen=True, kw_only=True, slots=True)
class HitGroup:
    """Hits whose documents share a value."""

    value: FieldValue | None  # None: of the documents without one
    hits: tuple[int, ...]  # their ids, best first


class Grouper:
    """Of one search. Reads the field's values of a document once."""

    def __init__(self, view: View, group_by: GroupBy, allowed: Int64Array | None, excluded: Int64Array | None) -> None:
        """`allowed` and `excluded`: passages that can be, and that cannot be, hits; None: all, and none.

        Raises InvalidQuery for a field that no document ever had.
        """
        self._view = view
        self._reader = FieldReader(view, group_by.field, param="group_by")
        self._hits = group_by.hits
        self._allowed, self._excluded = allowed, excluded
        self._values: dict[int, list[FieldValue]] = {}
        self._read: set[int] = set()
        self._holding: dict[FieldValue | None, Int64Array] = {}
        self._sizes: dict[FieldValue | None, int] = {}
        self._possible: Int64Array | None = None

    def groups(self, documents: Int64Array, most: int) -> list[Group]:
        """Of a ranking of distinct documents, best first: the first `most`.

        What the documents' values are is read as far as it takes to find so many; from there on it is looked up who
        else has these values.
        """
        groups: list[Group] = []
        end = 0
        while end < len(documents) and len(groups) < most:
            end = max(_READ_AT_FIRST, 8 * end)
            first = documents[:end].tolist()
            fresh = [document for document in first if document not in self._read]
            self._values |= self._reader.values_of(np.array(fresh, dtype=np.int64))
            self._read.update(fresh)
            groups = grouped(first, self._values, self._hits)[:most]
        if end >= len(documents):
            return groups
        return [group if len(group.places) >= self._hits else self._filled(group, documents) for group in groups]

    def full(self, group: Group) -> bool:
        """Whether no deeper ranking could add to the group: it has as many hits as allowed, or all there can be."""
        return len(group.places) >= self._hits or len(group.places) >= self._size(group.value)

    def _filled(self, group: Group, documents: Int64Array) -> Group:
        """With its first places in the whole ranking."""
        holding = _among(documents, self._holders(group.value))
        members = np.flatnonzero(~holding if group.value is None else holding)[: self._hits]
        return Group(value=group.value, places=tuple(members.tolist()))

    def _size(self, value: FieldValue | None) -> int:
        if value not in self._sizes:
            if self._possible is None:
                self._possible = documents_of_passages(self._view, self._allowed, self._excluded)
            holding = int(_among(self._holders(value), self._possible).sum())
            self._sizes[value] = len(self._possible) - holding if value is None else holding
        return self._sizes[value]

    def _holders(self, value: FieldValue | None) -> Int64Array:
        """Sorted, as FieldReader tells them."""
        if value not in self._holding:
            self._holding[value] = self._reader.holders(value)
        return self._holding[value]


def _among(documents: Int64Array, ascending: Int64Array) -> BoolArray:
    """(documents,) whether each is one of the ascending ones."""
    if not len(ascending):
        return np.zeros(len(documents), dtype=np.bool_)
    places = np.minimum(np.searchsorted(ascending, documents), len(ascending) - 1)
    found: BoolArray = ascending[places] == documents
    return found


def hit_groups(groups: Sequence[Group], ids: Int64Array) -> tuple[HitGroup, ...]:
    """`ids`: of the hits that the groups' places mean."""
    return tuple(HitGroup(value=group.value, hits=tuple(ids[list(group.places)].tolist())) for group in groups)


def grouped(documents: Sequence[int], values: Mapping[int, Sequence[FieldValue]], hits: int) -> list[Group]:
    """The groups of ranked documents, each with its first `hits`."""
    members: dict[FieldValue | None, list[int]] = {}
    for place, document in enumerate(documents):
        of_document: Sequence[FieldValue | None] = values.get(document) or (None,)
        for value in of_document:
            found = members.setdefault(value, [])
            if len(found) < hits:
                found.append(place)
    return [Group(value=value, places=tuple(places)) for value, places in members.items()]
