"""What Salience asks of an engine that holds passages for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from core.records import Float32Array, Int32Array, Int64Array

MOST = 16_384  # passages that one question may ask for


class Weights(StrEnum):
    """The sparse vectors of a passage."""

    BM25 = "bm25"  # by term id: how much of a term's idf the passage gets
    LEARNED = "learned"  # by vocabulary token: what the sparse model gave it


@dataclass(frozen=True, kw_only=True, slots=True)
class SparseRows:
    """Row i has the entries from offsets[i] to offsets[i + 1]; a row may have none."""

    offsets: Int64Array  # (rows + 1,)
    ids: Int32Array  # (entries,) of terms or vocabulary tokens; distinct within a row, 1 or more for terms
    weights: Float32Array  # (entries,) above 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Entries:
    """Passages as an index holds them. Row i of every part speaks of the passage ids[i]."""

    ids: Int64Array  # (rows,) distinct, 0 or more
    vectors: Float32Array  # (rows, dimension)
    bm25: SparseRows
    learned: SparseRows | None  # None: the collection has no learned weights


class PassageIndex(Protocol):
    """Holds the passages of many collections, each under a name of its own, and names candidates for searches.

    It never has the last word: whoever asks scores what it names by what SQLite holds. Thread-safe. Every method raises
    IndexUnavailable where the engine does not answer, and IndexMissing where it has nothing of that name. What one call
    has written, by any client, is seen by all calls that begin after it has returned.
    """

    def check(self) -> str:
        """The engine's name and version."""
        ...

    def create(self, name: str, dimension: int, *, learned: bool) -> None:
        """An empty index for passages with vectors of so many numbers, where there is none of that name."""
        ...

    def count(self, name: str) -> int:
        """How many passages it holds."""
        ...

    def drop(self, name: str) -> None:
        """One that is not there is no error."""
        ...

    def put(self, name: str, entries: Entries) -> None:
        """Add the passages; those that are there are replaced."""
        ...

    def remove(self, name: str, ids: Int64Array) -> None:
        """Those that are not there are no error."""
        ...

    def nearest(self, name: str, vector: Float32Array, limit: int, among: Int64Array | None = None) -> Int64Array:
        """Ids of about the `limit` (1 to MOST) passages with the largest dot product, best first.

        `among`: to choose from; None: all.
        """
        ...

    def matching(
        self,
        name: str,
        weights: Weights,
        ids: Int32Array,
        factors: Float32Array,
        limit: int,
        among: Int64Array | None = None,
    ) -> Int64Array:
        """Ids of the `limit` (1 to MOST) passages with the largest sum of factor (above 0) * weight, best first.

        Those that hold none of the `ids` (of one or more terms or tokens) do not match.
        """
        ...

    def holding(self, name: str, weights: Weights, ids: Int32Array) -> Int64Array:
        """Ids of all passages with a weight of any of the terms or tokens, in any order. May name others, too."""
        ...

    def entries(self, name: str) -> Iterator[Entries]:
        """All that it holds, in blocks; what is written meanwhile may or may not be among it."""
        ...
