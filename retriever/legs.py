"""The legs of a search: scoring methods (dense, BM25, learned sparse), each with a ranking of its own."""

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
    SPARSE = "sparse"  # BM25, or learned weights instead of it
    LEARNED = "learned"  # learned weights in addition to BM25


_LEGS: Mapping[SparseScoring, tuple[Leg, ...]] = {
    SparseScoring.BM25: (Leg.DENSE, Leg.SPARSE),
    SparseScoring.LEARNED: (Leg.DENSE, Leg.SPARSE),
    SparseScoring.BOTH: (Leg.DENSE, Leg.SPARSE, Leg.LEARNED),
}


def legs_of(collection: Collection, asked: tuple[Leg, ...] | None) -> tuple[Leg, ...]:
    """The legs to search by, in a fixed order: the requested ones, or all that the collection has (None).

    Raises InvalidQuery for a leg that the collection lacks.
    """
    present = _LEGS[collection.settings.sparse]
    lacking = [leg for leg in asked or () if leg not in present]
    if lacking:
        known = f"collection {collection.name!r} has no leg {lacking[0].value!r}; it has {', '.join(present)}"
        place = "; its learned weights are the sparse leg" if learned_leg(collection) is Leg.SPARSE else ""
        raise InvalidQuery(known + place, param="legs")
    return tuple(leg for leg in present if asked is None or leg in asked)


def learned_leg(collection: Collection) -> Leg | None:
    """The leg that scores by learned weights; None if the collection has none."""
    scoring = collection.settings.sparse
    return {SparseScoring.LEARNED: Leg.SPARSE, SparseScoring.BOTH: Leg.LEARNED}.get(scoring)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wording:
    """Statistics of a query's words, for legs that match words."""

    # 1 or more: the number of typed words, including stop and function words, but not suppressed ones. None: the number
    # is no measure of the query's length, since there are other inputs, or the script has no spaces between words
    words: int | None
    known: float  # 0..1, the fraction of the words (without stop and function words) that occur in the collection


class SparseTerms(Protocol):
    """The query terms of a sparse leg: a passage's score is the sum of factor * value over the terms."""

    @property
    def terms(self) -> tuple[str, ...]:
        """The terms as shown to users."""
        ...

    @property
    def factors(self) -> Float64Array:
        """(terms,) the query's weights, >= 0."""
        ...

    def label(self, term: str) -> str:
        """The name of a term in explanations, including the word or character that it was derived from."""
        ...

    @property
    def formula(self) -> str:
        """A format string for a term's product, with {factor} and {value}."""
        ...

    @property
    def silent(self) -> bool:
        """Whether nothing can match."""
        ...

    def wording(self, view: View) -> Wording | None:
        """The word statistics of the query; None if the leg does not match words, or there are none."""
        ...

    def best(self, view: View, depth: int, allowed: Int64Array | None) -> Pool:
        """The `depth` best passages."""
        ...

    def scores(self, view: View, ids: Int64Array) -> Float64Array:
        """(n,) scores of the passages, in float64; a passage's score does not depend on the other passages."""
        ...

    def values(self, view: View, ids: Int64Array) -> Float64Array:
        """(n, terms) the passages' side: what each term adds to the score, before multiplying by its factor."""
        ...
