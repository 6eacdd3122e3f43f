"""Search, and why a hit has its score."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Body

from app.api.dependencies import CollectionName, Parts, RequestId
from app.batch_schemas import AnswerBody, BatchRequest, BatchResponse
from app.search_request import ExplainRequest, SearchRequest
from app.search_response import SearchResponse
from app.waiting import waited
from core.errors import SalienceError
from retriever.many import each
from retriever.query import Query
from retriever.reasons import explain_hit

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
    "conditions": {
        "summary": "With a word that must not be there, and the query's words marked",
        "value": {"query": "games", "must_not": ["radio"], "highlight": True, "diversity": 0.2},
    },
    "filtered": {
        "summary": "Filtered, with another fusion",
        "value": {"query": "games", "filter": {"price": {"lt": 400}}, "fusion": {"method": "rrf"}, "k": 5},
    },
    "lean": {
        "summary": "Some fields alone, in 200 ms, with what it took",
        "value": {"query": "games", "fields": ["title", "metadata.price"], "timeout_ms": 200, "profile": True},
    },
}
_BATCH = {
    "two": {
        "summary": "Two queries",
        "value": {"queries": [{"query": "games for my TV", "k": 3}, {"query": "a radio", "fields": ["title"]}]},
    },
}
_EXPLAIN = {
    "hit": {"summary": "A hit of a search", "value": {"query": "I want to play^7 on my TV.", "id": 1}},
    "contrast": {
        "summary": "Why a hit is above another, and what would raise it",
        "value": {"query": "I want to play on my TV.", "id": 1, "above": 2, "advise": True},
    },
    "atman": {
        "summary": "Its sentences, each suppressed once",
        "value": {"query": "I want to play on my TV.", "id": 1, "method": "atman", "granularity": "sentence"},
    },
}


@router.post("/search", operation_id="search")
def search(
    parts: Parts,
    request_id: RequestId,
    collection: CollectionName,
    body: Annotated[SearchRequest, Body(openapi_examples=_SEARCH)],
) -> SearchResponse:
    """The best passages, one for each document, steered and explained as asked."""
    query = waited(parts, collection, body, body.to_search(most=parts.settings.limits.hits))
    return SearchResponse.of(parts.searcher.search(collection, query), request_id=request_id)


@router.post("/search:batch", operation_id="search_batch")
def search_batch(
    parts: Parts,
    request_id: RequestId,
    collection: CollectionName,
    body: Annotated[BatchRequest, Body(openapi_examples=_BATCH)],
) -> BatchResponse:
    """Several searches in one state of the collection, encoded together. Each has its own answer or its own error."""
    most, begun = parts.settings.limits.hits, time.monotonic()

    def ready(query: SearchRequest) -> Query:
        return waited(parts, collection, query, query.to_search(most=most), begun=begun)

    queries = each(ready, body.bodies())
    answers = [
        AnswerBody.failed(found, request_id)
        if isinstance(found, SalienceError)
        else AnswerBody(status=200, result=SearchResponse.of(found, request_id=request_id), error=None)
        for found in parts.searcher.search_many(collection, queries)
    ]
    return BatchResponse(answers=answers, request_id=request_id)


@router.post("/explain", operation_id="explain")
def explain(
    parts: Parts,
    request_id: RequestId,
    collection: CollectionName,
    body: Annotated[ExplainRequest, Body(openapi_examples=_EXPLAIN)],
) -> SearchResponse:
    """One candidate of a query, explained down to words; the numbers add up to its score.

    With `above`, the second hit of the answer is the one that it is held against.
    """
    query = waited(parts, collection, body, body.to_explain())
    found = explain_hit(parts.searcher, collection, query, body.id, above=body.above, advise=body.advise)
    return SearchResponse.of(found, request_id=request_id)
