"""Calls for collections, the server's health, embeddings and reranking."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from salience.client._attempts import NoAnswer, Steps
from salience.client._calls import Answer, Call, failed, given, nothing, path_of, reading
from salience.client.errors import UnexpectedAnswer
from salience.client.results import Collection, CollectionStats, Embeddings, Ranked, Readiness, Reranking


def create_collection(
    name: str,
    *,
    settings: Mapping[str, Any] | None = None,
    model: str | None = None,
    sparse_model: str | None = None,
) -> Call[Collection]:
    """Create an empty collection, which uses the server's main model or the named ones."""
    body = {"name": name, "settings": dict(settings or {}), **given(model=model, sparse_model=sparse_model)}
    return Call(method="POST", path="/v1/collections", body=body, read=reading(Collection), repeatable=False)


def list_collections() -> Call[tuple[Collection, ...]]:
    """Every collection, by name."""
    return Call(method="GET", path="/v1/collections", read=reading(tuple[Collection, ...], "collections"))


def get_collection(name: str) -> Call[Collection]:
    return Call(method="GET", path=path_of("v1", "collections", name), read=reading(Collection))


def change_collection(name: str, **settings: Any) -> Call[Collection]:
    """Change settings that no stored data depends on: alpha, k1, b, synonyms."""
    return Call(
        method="PATCH",
        path=path_of("v1", "collections", name),
        body={"settings": settings},
        read=reading(Collection),
    )


def delete_collection(name: str) -> Call[None]:
    """Delete a collection and everything in it."""
    return Call(method="DELETE", path=path_of("v1", "collections", name), read=nothing, repeatable=False)


def collection_stats(name: str) -> Call[CollectionStats]:
    """Statistics of a collection's contents and storage."""
    return Call(method="GET", path=path_of("v1", "collections", name, "stats"), read=reading(CollectionStats))


def readiness() -> Steps[Readiness]:
    """A single request, without retries: for a server that is not ready, that is the answer."""
    outcome = yield Call(method="GET", path="/readyz", read=_ready)
    if isinstance(outcome, NoAnswer):
        raise outcome.error
    assert outcome is not None
    return _ready(outcome)


def embed(
    texts: Sequence[str],
    *,
    representation: Literal["document", "query", "symmetric"] = "symmetric",
    dimensions: int | None = None,
    model: str | None = None,
) -> Call[Embeddings]:
    """Embed up to 2,048 texts as unit vectors, with the server's main model or the named one.

    Texts that are too long for the model are truncated, and listed in `truncated`.
    """
    body = {
        "model": model,
        "input": list(texts),
        "representation": representation,
        "encoding_format": "base64",
        **given(dimensions=dimensions),
    }
    return Call(method="POST", path="/v1/embeddings", body=body, read=partial(_embeddings, len(texts)))


def rerank(
    query: str, documents: Sequence[str], *, top_n: int | None = None, model: str | None = None
) -> Call[Reranking]:
    """Rank up to 1,000 texts by relevance to a query, best first.

    Texts that are too long for the model are truncated, and listed in `truncated`.
    """
    body = {"query": query, "documents": list(documents), **given(top_n=top_n, model=model)}
    return Call(method="POST", path="/v1/rerank", body=body, read=partial(_reranking, len(documents)))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Vector:
    index: int
    embedding: str  # base64 of little-endian float32


@dataclass(frozen=True, kw_only=True, slots=True)
class _Usage:
    total_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Made:
    data: tuple[_Vector, ...]
    model: str
    usage: _Usage
    truncated_inputs: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Judged:
    results: tuple[Ranked, ...]
    usage: _Usage
    truncated_documents: tuple[int, ...] = ()


def _ready(answer: Answer) -> Readiness:
    if answer.status not in (200, 503):
        raise failed(answer)
    details = reading(dict[str, Any])(answer)
    return Readiness(ready=answer.status == 200 and details.get("status") == "ready", details=details)


def _embeddings(texts: int, answer: Answer) -> Embeddings:
    made = reading(_Made)(answer)
    ordered = sorted(made.data, key=lambda vector: vector.index)
    if [vector.index for vector in ordered] != list(range(texts)):
        raise UnexpectedAnswer(f"the answer does not have one vector for each of {texts} texts")
    return Embeddings(
        vectors=tuple(_numbers(vector.embedding) for vector in ordered),
        model=made.model,
        tokens=made.usage.total_tokens,
        truncated=made.truncated_inputs,
    )


def _reranking(documents: int, answer: Answer) -> Reranking:
    judged = reading(_Judged)(answer)
    places = {ranked.index for ranked in judged.results}
    if len(places) < len(judged.results) or not places <= set(range(documents)):
        raise UnexpectedAnswer(f"the answer does not rank each of {documents} documents once at most")
    return Reranking(results=judged.results, tokens=judged.usage.total_tokens, truncated=judged.truncated_documents)


def _numbers(encoded: str) -> tuple[float, ...]:
    try:
        content = base64.b64decode(encoded, validate=True)
        return struct.unpack(f"<{len(content) // 4}f", content)
    except (ValueError, struct.error) as error:
        raise UnexpectedAnswer(f"a vector is no base64 of float32: {error}") from error
