"""Groups ranked documents by the value of a metadata field.

Groups are ordered by their best hits, and contain their best hits. A document with several values is in several groups;
documents without a value form a group as well.
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

_READ_AT_FIRST = 100  # documents of a ranking whose values are read first; then eight times as many, and so on


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    value: FieldValue | None  # None: the group of documents without a value
    places: tuple[int, ...]  # of its hits in the ranking, best first


@dataclass(frozen=True, kw_only=True, slots=True)
class HitGroup:
    """Hits whose documents share a value."""

    value: FieldValue | None  # None: the group of documents without a value
    hits: tuple[int, ...]  # ids, best first


class Grouper:
    """Groups the documents of one search. The field's values of a document are read only once."""

    def __init__(self, view: View, group_by: GroupBy, allowed: Int64Array | None, excluded: Int64Array | None) -> None:
        """`allowed`: passages that may be hits; None: all. `excluded`: passages that may not be hits; None: none.

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
        """The first `most` groups of a ranking of distinct documents, best first.

        Values are read only until that many groups are found; the other members of these groups are then looked up by
        value.
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
        """Whether a deeper ranking cannot add to the group: it has as many hits as allowed, or all there are."""
        return len(group.places) >= self._hits or len(group.places) >= self._size(group.value)

    def _filled(self, group: Group, documents: Int64Array) -> Group:
        """The group with its first places in the whole ranking."""
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
        """The sorted documents that FieldReader gives for a value."""
        if value not in self._holding:
            self._holding[value] = self._reader.holders(value)
        return self._holding[value]


def _among(documents: Int64Array, ascending: Int64Array) -> BoolArray:
    """(documents,) whether each is in `ascending`."""
    if not len(ascending):
        return np.zeros(len(documents), dtype=np.bool_)
    places = np.minimum(np.searchsorted(ascending, documents), len(ascending) - 1)
    found: BoolArray = ascending[places] == documents
    return found


def hit_groups(groups: Sequence[Group], ids: Int64Array) -> tuple[HitGroup, ...]:
    """The groups with the ids of their hits. `ids`: of all hits; the groups' places are positions in it."""
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
