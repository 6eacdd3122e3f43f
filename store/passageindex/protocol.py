"""The interface of an external engine that holds passages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from core.records import Float32Array, Int32Array, Int64Array

MOST = 16_384  # passages that one request may ask for


class Weights(StrEnum):
    """The kinds of sparse vectors that a passage has."""

    BM25 = "bm25"  # by term id: the BM25 weight without the idf
    LEARNED = "learned"  # by vocabulary token: the sparse model's weight


@dataclass(frozen=True, kw_only=True, slots=True)
class SparseRows:
    """Sparse rows (CSR): row i has the entries from offsets[i] to offsets[i + 1]; a row may be empty."""

    offsets: Int64Array  # (rows + 1,)
    ids: Int32Array  # (entries,) of terms or vocabulary tokens; distinct within a row, at least 1 for terms
    weights: Float32Array  # (entries,) above 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Entries:
    """Passages in an index. Row i of every part belongs to the passage ids[i]."""

    ids: Int64Array  # (rows,) distinct, not negative
    vectors: Float32Array  # (rows, dimension)
    bm25: SparseRows
    learned: SparseRows | None  # None: the collection has no learned weights


class PassageIndex(Protocol):
    """Holds the passages of many collections, each under its own name, and names candidates for searches.

    Its candidates are always rescored from what SQLite holds. Thread-safe. Every method raises IndexUnavailable where
    the engine does not answer, and IndexMissing where it has no index of that name. What one call of any client has
    written is visible to all calls that begin after it has returned.
    """

    def check(self) -> str:
        """The engine's name and version."""
        ...

    def create(self, name: str, dimension: int, *, learned: bool) -> None:
        """Create an empty index for vectors of this dimension, unless one of that name exists."""
        ...

    def count(self, name: str) -> int:
        """Number of passages in the index."""
        ...

    def drop(self, name: str) -> None:
        """Remove the index. It is no error if it does not exist."""
        ...

    def put(self, name: str, entries: Entries) -> None:
        """Add the passages, replacing those that exist."""
        ...

    def remove(self, name: str, ids: Int64Array) -> None:
        """Remove the passages. It is no error if some do not exist."""
        ...

    def nearest(self, name: str, vector: Float32Array, limit: int, among: Int64Array | None = None) -> Int64Array:
        """Ids of about the `limit` (1 to MOST) passages with the largest dot product, best first.

        `among`: ids to choose from; None: all.
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

        Passages with none of the `ids` (one or more terms or tokens) do not match. `among`: ids to choose from.
        """
        ...

    def holding(self, name: str, weights: Weights, ids: Int32Array) -> Int64Array:
        """Ids of all passages with a weight for any of the terms or tokens, in any order; may contain others, too."""
        ...

    def entries(self, name: str) -> Iterator[Entries]:
        """All passages, in blocks; those written meanwhile may or may not be among them."""
        ...
