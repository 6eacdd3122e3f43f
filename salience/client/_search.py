"""Calls for searches, explanations and replays. Omitted options have the server's defaults, documented in the API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, TypedDict, Unpack

from salience.client._calls import Answer, Call, path_of, reading
from salience.client.errors import RequestFailed, UnexpectedAnswer, failure
from salience.client.search_results import Control, Explanation, Replay, SearchResult

Filter = str | Mapping[str, Any]  # 'price < 20', or {"price": {"lt": 20}}
Json = Mapping[str, Any]


class QueryOptions(TypedDict, total=False):
    """The options of a query."""

    boosts: bool  # whether marks such as play^7 are parsed
    emphasis: Mapping[str, float]  # factor by word
    controls: Sequence[Control | Json]  # factors by span
    steering: Json
    filter: Filter | None
    fusion: str | Json
    legs: Sequence[Literal["dense", "sparse", "learned"]] | None
    prompt: Sequence[Json] | None
    vector: Iterable[float] | None  # such as a list or an array
    sparse_vector: Json | None
    like: Sequence[str | int]  # ids of documents (str) or of hits (int)
    unlike: Sequence[str | int]
    operators: bool  # whether +word, -word and "phrases" in the query are conditions
    must: Sequence[str]
    must_not: Sequence[str]
    phrases: Sequence[str]
    min_scores: Mapping[str, float]  # by leg, the raw score that a hit must reach
    rerank: str | Json | None  # rerank the first documents with a cross-encoder
    min_seq: int | None  # the seq of a write that the search must see
    timeout_ms: int | None  # milliseconds, for the whole answer


class SearchOptions(QueryOptions, total=False):
    """The options of a query and its result."""

    k: int  # number of hits
    offset: int
    cursor: str | None  # `next` of the previous page
    diversity: float
    group_by: str | None
    hits_per_group: int
    highlight: bool
    facets: Sequence[str]
    facet_values: int
    suggest: bool
    fields: Sequence[str] | None
    profile: bool
    explain: Literal["none", "scores", "words", "contrast"]


class ExplainOptions(QueryOptions, total=False):
    method: Literal["leave_one_out", "atman", "integrated_gradients"]
    granularity: Literal["token", "word", "sentence", "paragraph"] | None
    control_factor: float
    above: int | str | None  # another hit, or another document: why is this one above it?
    advise: bool  # which emphasis would raise the hit


class SearchQuery(SearchOptions, total=False):
    """One of several searches."""

    query: str | None


def search(collection: str, query: str | None = None, **options: Unpack[SearchOptions]) -> Call[SearchResult]:
    """Search a collection: the best passages, one for each document."""
    return Call(
        method="POST",
        path=path_of("v1", "collections", collection, "search"),
        body=_body(query, options),
        read=reading(SearchResult),
    )


def search_many(
    collection: str, queries: Sequence[str | SearchQuery]
) -> Call[tuple[SearchResult | RequestFailed, ...]]:
    """Up to 64 searches in the same state of the collection. Each has its own result or its own error."""
    bodies = [_body(one, {}) if isinstance(one, str) else _body(None, one) for one in queries]
    return Call(
        method="POST",
        path=path_of("v1", "collections", collection, "search:batch"),
        body={"queries": bodies},
        read=partial(_answers, len(bodies)),
    )


def explain(collection: str, query: str | None, id: int | str, **options: Unpack[ExplainOptions]) -> Call[SearchResult]:
    """A hit of this query, explained down to words. With `above` the second hit is the one that it is held against.

    `id`: the hit's (a number), or that of a document (a text).
    """
    return Call(
        method="POST",
        path=path_of("v1", "collections", collection, "explain"),
        body={**_body(query, options), "id": id},
        read=reading(SearchResult),
    )


def replay(explanation: Explanation | Json) -> Call[Replay]:
    """Check whether an explanation still holds: the numbers are the same, or what has changed since it was made."""
    kept = asdict(explanation) if isinstance(explanation, Explanation) else dict(explanation)
    return Call(method="POST", path="/v1/replay", body={"explanation": kept}, read=reading(Replay))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Refusal:
    code: str
    message: str
    param: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _OneAnswer:
    status: int
    result: SearchResult | None = None
    error: _Refusal | None = None


def _answers(queries: int, answer: Answer) -> tuple[SearchResult | RequestFailed, ...]:
    found: list[SearchResult | RequestFailed] = []
    answers = reading(tuple[_OneAnswer, ...], "answers")(answer)
    if len(answers) != queries:
        raise UnexpectedAnswer(f"the answer has {len(answers)} results, and not one for each of {queries} queries")
    for one in answers:
        if one.error is not None:
            said = one.error
            found.append(failure(one.status, said.code, said.message, param=said.param, request_id=said.request_id))
        elif one.result is not None:
            found.append(one.result)
        else:
            raise UnexpectedAnswer("the answer to one of the queries has neither a result nor an error")
    return tuple(found)


def _body(query: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    body = dict(options) if query is None else {"query": query, **options}
    if body.get("vector") is not None:
        body["vector"] = [float(value) for value in body["vector"]]  # from any kind of array
    if "controls" in body:
        body["controls"] = [asdict(one) if isinstance(one, Control) else dict(one) for one in body["controls"]]
    return body
