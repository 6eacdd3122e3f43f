"""Search, and why a hit has its score."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body

from app.api.dependencies import CollectionName, Parts, RequestId
from app.search_request import ExplainRequest, SearchRequest
from app.search_response import SearchResponse

router = APIRouter(prefix="/v1/collections/{collection}", tags=["search"])

_SEARCH = {
    "plain": {"summary": "Plain", "value": {"query": "I want to play on my TV."}},
    "boosted": {"summary": "Steered by boosts in the text", "value": {"query": "I want to play^7 on my TV."}},
    "emphasis": {
        "summary": "Steered by word, explained word by word",
        "value": {"query": "I want to play on my TV.", "emphasis": {"play": 7}, "explain": "words"},
    },
    "controls": {
        "summary": "Steered by spans of characters",
        "value": {
            "query": "I want to play on my TV.",
            "controls": [{"start": 10, "length": 4, "factor": 7}],
            "steering": {"target": "both", "contextual_threshold": 0.8},
        },
    },
    "filtered": {
        "summary": "Filtered, with another fusion",
        "value": {"query": "games", "filter": {"price": {"lt": 400}}, "fusion": {"method": "rrf"}, "k": 5},
    },
}
_EXPLAIN = {
    "hit": {"summary": "A hit of a search", "value": {"query": "I want to play^7 on my TV.", "id": 1}},
}


@router.post("/search", operation_id="search")
def search(
    parts: Parts,
    request_id: RequestId,
    collection: CollectionName,
    body: Annotated[SearchRequest, Body(openapi_examples=_SEARCH)],
) -> SearchResponse:
    """The best passages, one for each document, steered and explained as asked."""
    query = body.to_search(most=parts.settings.limits.hits)
    parts.wait_for(collection, body.min_seq, body.timeout_seconds)
    return SearchResponse.of(parts.searcher.search(collection, query), request_id=request_id)


@router.post("/explain", operation_id="explain")
def explain(
    parts: Parts,
    request_id: RequestId,
    collection: CollectionName,
    body: Annotated[ExplainRequest, Body(openapi_examples=_EXPLAIN)],
) -> SearchResponse:
    """One candidate of a query, explained down to words; the numbers add up to its score."""
    query = body.to_query()
    parts.wait_for(collection, body.min_seq, body.timeout_seconds)
    return SearchResponse.of(parts.searcher.explain(collection, query, body.id), request_id=request_id)
