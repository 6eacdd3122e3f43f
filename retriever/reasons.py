"""Explains one hit of a query in full, optionally with a contrast to another hit and advice on emphasis."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from core.errors import DocumentNotFound, HitNotFound, InvalidQuery
from core.reasons import HitExplanation
from core.records import Hit
from retriever.contrast import contrast_pair
from retriever.query import Query
from retriever.result import SearchResult
from retriever.searcher import Searcher
from retriever.stopwatch import Stopwatch
from retriever.trials import advice


def explain_hit(
    searcher: Searcher,
    collection: str,
    query: Query,
    hit: int | str,
    *,
    above: int | str | None = None,
    advise: bool = False,
) -> SearchResult:
    """The result with the hit `hit_id`, explained.

    `above`: id of a lower hit; explains why the first hit is above it, and adds it as the second hit. `advise`: also
    find which emphasis would raise the hit. Both search with changed emphasis until the query's time is over. Raises
    the errors of Searcher.explain, and InvalidQuery if the second hit ranks higher, or the query is too long for so
    many searches.
    """
    watch = Stopwatch(timeout_ms=query.timeout_ms)
    if advise or above is not None:
        query.check_tried()
    result = searcher.explain(collection, query, hit)
    [found] = result.hits
    explanation: HitExplanation | None = found.explanation
    assert explanation is not None  # what was asked for
    search = partial(searcher.search_many, collection)
    left_out = list(result.left_out)
    others = () if above is None else _other(searcher, collection, query, above, than=found.id)
    for other in others:
        explanation = replace(explanation, contrast=contrast_pair(search, result.query, found, other, watch))
        left_out += ["contrast"] if watch.late else []
    if advise:
        explanation = replace(explanation, advice=advice(search, result.query, found, watch))
        left_out += ["advice"] if watch.late else []
    return replace(result, left_out=tuple(left_out), hits=(replace(found, explanation=explanation), *others))


def _other(searcher: Searcher, collection: str, query: Query, above: int | str, *, than: int) -> tuple[Hit, ...]:
    """The hit `above`. Raises InvalidQuery where it is the hit `than`."""
    try:
        others = searcher.explain(collection, query, above).hits
    except (DocumentNotFound, HitNotFound) as error:
        raise type(error)(f"above: {error.message}", param="above") from None
    if others[0].id == than:
        raise InvalidQuery("above: name another hit than the one that is explained", param="above")
    return others
