"""Search, and why a hit has its score."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Body

from app.access.caller import Caller
from app.access.limits import tokens_of
from app.api.dependencies import Arrived, CollectionName, Known, Observed, Parts, RequestId
from app.api.links import HITS_FOUND
from app.schemas.batch import AnswerBody, BatchRequest, BatchResponse
from app.schemas.search_request import ExplainRequest, SearchRequest
from app.schemas.search_response import SearchResponse
from app.waiting import waited
from app.wiring import Wiring
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


@router.post("/search", responses={200: HITS_FOUND}, operation_id="search")
def search(
    parts: Parts,
    request_id: RequestId,
    caller: Known,
    arrived: Arrived,
    observed: Observed,
    collection: CollectionName,
    body: Annotated[SearchRequest, Body(openapi_examples=_SEARCH)],
) -> SearchResponse:
    """The best passages, one for each document, steered and explained as asked."""
    asked = _seen(parts, caller, body.to_search(most=parts.settings.limits.hits))
    query = waited(parts, collection, body, asked, begun=arrived)
    found = observed.searched(parts.searcher.search(collection, query))
    return SearchResponse.of(caller.shown_result(found), request_id=request_id)


@router.post("/search:batch", operation_id="search_batch")
def search_batch(
    parts: Parts,
    request_id: RequestId,
    caller: Known,
    arrived: Arrived,
    observed: Observed,
    collection: CollectionName,
    body: Annotated[BatchRequest, Body(openapi_examples=_BATCH)],
) -> BatchResponse:
    """Several searches in one state of the collection, encoded together. Each has its own answer or its own error."""
    most = parts.settings.limits.hits

    def ready(query: SearchRequest) -> Query:
        asked = _seen(parts, caller, query.to_search(most=most))
        return waited(parts, collection, query, asked, begun=arrived)

    queries = each(ready, body.bodies())
    answers = [
        AnswerBody.failed(caller.told(found), request_id)
        if isinstance(found, SalienceError)
        else AnswerBody(
            status=200, result=SearchResponse.of(caller.shown_result(found), request_id=request_id), error=None
        )
        for found in observed.all_searched(parts.searcher.search_many(collection, queries))
    ]
    return BatchResponse(answers=answers, request_id=request_id)


@router.post("/explain", operation_id="explain")
def explain(
    parts: Parts,
    request_id: RequestId,
    caller: Known,
    arrived: Arrived,
    observed: Observed,
    collection: CollectionName,
    body: Annotated[ExplainRequest, Body(openapi_examples=_EXPLAIN)],
) -> SearchResponse:
    """One candidate of a query, explained down to words; the numbers add up to its score.

    With `above`, the second hit of the answer is the one that it is held against.
    """
    query = waited(parts, collection, body, _seen(parts, caller, body.to_explain()), begun=arrived)
    found = explain_hit(parts.searcher, collection, query, body.id, above=body.above, advise=body.advise)
    return SearchResponse.of(caller.shown_result(observed.searched(found)), request_id=request_id)


def _seen(parts: Wiring, caller: Caller, query: Query) -> Query:
    """Over what the caller may see; its tokens are counted."""
    parts.limiter.spend(caller, tokens_of(len(query.text)))
    return replace(query, within=caller.rows)
