"""Ranked documents in groups that share a value of a metadata field.

Groups come in the order of their best hits, and hold their best ones. A document with several values is in the group of
each of them; those without a value are one group, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.records import Int64Array
from retriever.selection import GroupBy
from store.filters.values import FieldReader, FieldValue
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
        self._sizes: dict[FieldValue | None, int] = {}
        self._possible: Int64Array | None = None

    def groups(self, documents: Int64Array, most: int) -> list[Group]:
        """Of a ranking of distinct documents, best first: the first `most`. Reads no further than they need."""
        groups: list[Group] = []
        end = 0
        while end < len(documents):
            end = max(_READ_AT_FIRST, 8 * end)
            first = documents[:end].tolist()
            fresh = [document for document in first if document not in self._read]
            self._values |= self._reader.values_of(np.array(fresh, dtype=np.int64))
            self._read.update(fresh)
            groups = grouped(first, self._values, self._hits)[:most]
            if len(groups) == most and all(len(group.places) == self._hits for group in groups):
                break
        return groups

    def full(self, group: Group) -> bool:
        """Whether no deeper ranking could add to the group: it has as many hits as allowed, or all there can be."""
        return len(group.places) >= self._hits or len(group.places) >= self._size(group.value)

    def _size(self, value: FieldValue | None) -> int:
        if value not in self._sizes:
            if self._possible is None:
                self._possible = documents_of_passages(self._view, self._allowed, self._excluded)
            holding = np.isin(self._possible, self._reader.holders(value), invert=value is None)
            self._sizes[value] = int(holding.sum())
        return self._sizes[value]


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
