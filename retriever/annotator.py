"""Adds the requested extras to a search result: highlights, facets, suggestions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from embedder.lexical import Analyzer
from retriever.extras import count_facets
from retriever.highlights import highlights
from retriever.legs import Leg, SparseTerms
from retriever.query import Query
from retriever.ranking import Plan
from retriever.result import SearchResult
from retriever.stopwatch import Stopwatch
from retriever.suggestions import suggestions
from retriever.terms import QueryTerms, query_terms
from store.documents import StoredPassage
from store.view import View
from store.vocabulary import Vocabularies


class Annotator:
    """Adds extras to search results. Thread-safe."""

    def __init__(self, analyzer: Analyzer, vocabularies: Vocabularies) -> None:
        self._analyzer = analyzer
        self._vocabularies = vocabularies

    def annotated(
        self,
        view: View,
        result: SearchResult,
        sparse: Mapping[Leg, SparseTerms],
        plan: Plan,
        passages: Sequence[StoredPassage],
        watch: Stopwatch,
    ) -> SearchResult:
        """`result`, whose hits are `passages`, with the extras that its query asks for.

        Facets and suggestions that the timeout leaves no time for are named in `left_out`. Raises InvalidQuery for a
        facet of a field that no document ever had.
        """
        query = result.query
        if query.extras.facets:
            if watch.late:
                result = replace(result, left_out=(*result.left_out, "facets"))
            else:
                with watch.stage("facets"):
                    legs = (*((Leg.DENSE,) if plan.vector is not None else ()), *sparse)
                    facets = count_facets(view, query.extras, legs, sparse, plan.allowed, plan.excluded)
                result = replace(result, facets=facets)
        terms = _leg_terms(sparse)
        if query.extras.suggest and query.text:
            found = None
            if not watch.late:
                with watch.stage("suggest"):
                    terms = terms or self._terms(view, query)
                    found = suggestions(view, query.text, terms, self._analyzer, self._vocabularies, watch)
            if found is None:
                result = replace(result, left_out=(*result.left_out, "suggestions"))
            else:
                result = replace(result, suggestions=found)
        if query.extras.highlight and result.hits:
            with watch.stage("highlight"):
                required = query.conditions.required
                terms = terms or self._terms(view, query)
                marked = highlights(view, passages, terms, required, self._analyzer)
            hits = [replace(hit, highlight=one) for hit, one in zip(result.hits, marked, strict=True)]
            result = replace(result, hits=tuple(hits))
        return result

    def _terms(self, view: View, query: Query) -> QueryTerms:
        required = query.conditions.required
        return query_terms(query.text, query.controls, view.languages, self._analyzer, required)


def _leg_terms(sparse: Mapping[Leg, SparseTerms]) -> QueryTerms | None:
    """The words of the query; None if no leg matches words."""
    terms = sparse.get(Leg.SPARSE)
    return terms if isinstance(terms, QueryTerms) else None
