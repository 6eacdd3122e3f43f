"""Endpoints for searching and for explaining the score of a hit."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Body

from app.api.dependencies import Search, SearchContext
from app.api.links import HITS_FOUND
from app.api.serialized import serialized
from app.errors import log_failures
from app.schemas.batch import AnswerBody, BatchRequest, BatchResponse
from app.schemas.search_request import ExplainRequest, QueryBody, SearchRequest
from app.schemas.search_response import SearchResponse
from app.waiting import waited
from core.errors import SalienceError
from retriever.batch import each
from retriever.query import Query
from retriever.reasons import explain_hit
from retriever.result import SearchResult

router = APIRouter(prefix="/v1/collections/{collection}", tags=["search"])

_SEARCH = {
    "plain": {"summary": "Plain", "value": {"query": "I want to play on my TV.", "k": 1}},
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
@serialized
def search(asked: Search, body: Annotated[SearchRequest, Body(openapi_examples=_SEARCH)]) -> SearchResponse:
    """The best passages, one for each document, steered and explained as asked."""
    query = _ready(asked, body, body.to_search(most=asked.parts.settings.limits.hits))
    return _shown(asked, asked.observed.searched(asked.parts.searcher.search(asked.collection, query)))


@router.post("/search:batch", operation_id="search_batch", summary="Search several times at once")
@serialized
def search_batch(asked: Search, body: Annotated[BatchRequest, Body(openapi_examples=_BATCH)]) -> BatchResponse:
    """Several searches on one state of the collection, encoded together. Each has a result or an error of its own."""
    most = asked.parts.settings.limits.hits
    queries = each(lambda query: _ready(asked, query, query.to_search(most=most)), body.bodies())
    results = asked.observed.all_searched(asked.parts.searcher.search_many(asked.collection, queries))
    log_failures(found for found in results if isinstance(found, SalienceError))
    answers = [
        AnswerBody.failed(asked.caller.told(found), asked.request_id)
        if isinstance(found, SalienceError)
        else AnswerBody(status=200, result=_shown(asked, found), error=None)
        for found in results
    ]
    return BatchResponse(answers=answers, request_id=asked.request_id)


@router.post("/explain", operation_id="explain", summary="Explain a hit")
@serialized
def explain(asked: Search, body: Annotated[ExplainRequest, Body(openapi_examples=_EXPLAIN)]) -> SearchResponse:
    """One candidate of a query, explained down to words; the numbers add up to its score.

    With `above`, the second hit of the answer is the one it is compared with.
    """
    query = _ready(asked, body, body.to_explain())
    found = explain_hit(asked.parts.searcher, asked.collection, query, body.id, above=body.above, advise=body.advise)
    return _shown(asked, asked.observed.searched(found))


def _ready(asked: SearchContext, body: QueryBody, query: Query) -> Query:
    """Limit the query to the rows that the caller may see, and wait until the change `min_seq` asks for is visible."""
    rows = asked.caller.rows
    seen = query if rows is None else replace(query, within=rows)
    return waited(asked.parts, asked.collection, body, seen, begun=asked.arrived)


def _shown(asked: SearchContext, found: SearchResult) -> SearchResponse:
    return SearchResponse.of(asked.caller.shown_result(found), request_id=asked.request_id)
