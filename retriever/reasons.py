"""One hit of a query, and all that can be said about it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from core.errors import InvalidQuery
from core.records import HitExplanation
from retriever.contrast import contrast_pair
from retriever.query import Query
from retriever.result import SearchResult
from retriever.searcher import Searcher
from retriever.trials import advice


def explain_hit(
    searcher: Searcher, collection: str, query: Query, hit_id: int, *, above: int | None = None, advise: bool = False
) -> SearchResult:
    """The result with the hit `hit_id`, and behind it the hit `above`, where it is asked why the first is above it.

    `advise`: also which emphasis would raise the hit. Both are found by searching with changed emphasis. Raises what
    Searcher.explain does, and InvalidQuery where the second hit is the better one.
    """
    if above == hit_id:
        raise InvalidQuery("above: name another hit than the one that is explained", param="above")
    result = searcher.explain(collection, query, hit_id)
    [hit] = result.hits
    explanation: HitExplanation | None = hit.explanation
    assert explanation is not None  # what was asked for
    search = partial(searcher.search_many, collection)
    others = () if above is None else searcher.explain(collection, query, above).hits
    for other in others:
        explanation = replace(explanation, contrast=contrast_pair(search, result.query, hit, other))
    if advise:
        explanation = replace(explanation, advice=advice(search, result.query, hit))
    return replace(result, hits=(replace(hit, explanation=explanation), *others))
