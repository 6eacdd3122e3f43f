"""Options for the extras of a search (highlights, facets, suggestions for mistyped words), and facet counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core.errors import InvalidQuery
from core.records import Int64Array
from retriever.learned import LearnedTerms
from retriever.legs import Leg, SparseTerms
from retriever.terms import QueryTerms
from store.fieldvalues import FieldCounts, FieldReader
from store.filters.sql import Documents
from store.holders import documents_of_passages, documents_with_terms, documents_with_tokens
from store.view import View

MAX_FACETS = 20
MAX_FACET_VALUES = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Extras:
    """The extras that a search asks for. Raises InvalidQuery for too many or repeated facets, or too many values."""

    highlight: bool = False
    facets: tuple[str, ...] = ()  # metadata fields, at most MAX_FACETS
    facet_values: int = 10  # per facet, those of the most documents; 1 to MAX_FACET_VALUES
    suggest: bool = False

    def __post_init__(self) -> None:
        if len(self.facets) > MAX_FACETS or len(set(self.facets)) < len(self.facets):
            raise InvalidQuery(f"facets must name at most {MAX_FACETS} fields, each once", param="facets")
        if not 1 <= self.facet_values <= MAX_FACET_VALUES:
            raise InvalidQuery(
                f"facet_values is {self.facet_values}; allowed are 1 to {MAX_FACET_VALUES}", param="facet_values"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Facets:
    """Exact counts over all documents that match, not just those that are shown."""

    documents: int  # the number that match
    fields: Mapping[str, FieldCounts]


def count_facets(
    view: View,
    extras: Extras,
    legs: tuple[Leg, ...],
    sparse: Mapping[Leg, SparseTerms],
    allowed: Int64Array | None,
    excluded: Int64Array | None,
) -> Facets:
    """Count the values of the facet fields over the documents that match.

    The dense leg matches every passage. Without it, a document matches if it has any term of a sparse leg.
    `allowed`, `excluded`: int64 ids of the passages that can be hits (None: all), and that cannot (None: none).
    Raises InvalidQuery for a field that no document ever had.
    """
    documents = documents_of_passages(view, allowed, excluded)
    if Leg.DENSE not in legs:
        matching = Documents(np.empty(0, dtype=np.int64))
        for terms in sparse.values():
            matching |= _holders(view, terms)
        documents = documents[matching.holds(documents)]
    most = extras.facet_values
    fields = {name: FieldReader(view, name, param="facets").counts(documents, most) for name in extras.facets}
    return Facets(documents=len(documents), fields=fields)


def _holders(view: View, terms: SparseTerms) -> Documents:
    if isinstance(terms, LearnedTerms):
        return documents_with_tokens(view, terms.vector.ids.tolist())
    assert isinstance(terms, QueryTerms)
    wanted = [term for term, factor in zip(terms.terms, terms.factors, strict=True) if factor > 0]
    return documents_with_terms(view, wanted)
