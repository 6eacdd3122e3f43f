"""The legs of a search: ways to score a passage, each with a ranking of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from core.errors import InvalidQuery
from core.records import Collection, Float64Array, Int64Array, SparseScoring
from store import Pool, View


class Leg(StrEnum):
    DENSE = "dense"  # cosine of embeddings
    SPARSE = "sparse"  # BM25, or learned weights in its place
    LEARNED = "learned"  # learned weights beside BM25


_LEGS: Mapping[SparseScoring, tuple[Leg, ...]] = {
    SparseScoring.BM25: (Leg.DENSE, Leg.SPARSE),
    SparseScoring.LEARNED: (Leg.DENSE, Leg.SPARSE),
    SparseScoring.BOTH: (Leg.DENSE, Leg.SPARSE, Leg.LEARNED),
}


def legs_of(collection: Collection, asked: tuple[Leg, ...] | None) -> tuple[Leg, ...]:
    """The legs to search by, in a fixed order: those that are asked for, or all that the collection has (None).

    Raises InvalidQuery for one that it lacks.
    """
    present = _LEGS[collection.settings.sparse]
    lacking = [leg for leg in asked or () if leg not in present]
    if lacking:
        known = f"collection {collection.name!r} has no leg {lacking[0].value!r}; it has {', '.join(present)}"
        place = "; its learned weights are the sparse leg" if learned_leg(collection) is Leg.SPARSE else ""
        raise InvalidQuery(known + place, param="legs")
    return tuple(leg for leg in present if asked is None or leg in asked)


def learned_leg(collection: Collection) -> Leg | None:
    """The leg that scores by learned weights; None where the collection has none."""
    scoring = collection.settings.sparse
    return {SparseScoring.LEARNED: Leg.SPARSE, SparseScoring.BOTH: Leg.LEARNED}.get(scoring)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wording:
    """The words of a query, as a leg that goes by words has them."""

    # 1 or more: how many were typed, stop and function words too, but none that is suppressed. None: they do not tell
    # how much is asked for, as there is more than words, or they were written without spaces between them
    words: int | None
    known: float  # 0..1, the share of those, but for stop and function words, that any passage of the collection has


class SparseTerms(Protocol):
    """What a sparse leg looks for: a passage's score is the sum of factor * value over the terms."""

    @property
    def terms(self) -> tuple[str, ...]:
        """As they are shown."""
        ...

    @property
    def factors(self) -> Float64Array:
        """(terms,) the query's side, >= 0."""
        ...

    def label(self, term: str) -> str:
        """One of the terms as an explanation names it, with what it is looked for in place of."""
        ...

    @property
    def formula(self) -> str:
        """How a term's product is written, with {factor} and {value}."""
        ...

    @property
    def silent(self) -> bool:
        """Whether nothing can match."""
        ...

    def wording(self, view: View) -> Wording | None:
        """Of the query, where the leg goes by words; None: it does not, or there are none."""
        ...

    def best(self, view: View, depth: int, allowed: Int64Array | None) -> Pool:
        """The `depth` best passages."""
        ...

    def scores(self, view: View, ids: Int64Array) -> Float64Array:
        """(n,) of the passages, in float64; a passage's score does not depend on the other passages."""
        ...

    def values(self, view: View, ids: Int64Array) -> Float64Array:
        """(n, terms) the passages' side: what each term adds to the score, before its factor."""
        ...
