"""A search's wait for the state that it wants to see, as a part of its own time."""

from __future__ import annotations

import time
from dataclasses import replace

from app.search_request import QueryBody
from app.wiring import Wiring
from retriever.query import Query


def waited(parts: Wiring, collection: str, body: QueryBody, query: Query) -> Query:
    """Wait until what the body wants to see is there; the query then has the time that is left.

    Raises SeqNotReached, CollectionNotFound.
    """
    start = time.monotonic()
    parts.wait_for(collection, body.min_seq, body.wait_seconds)
    if query.timeout_ms is None:
        return query
    return replace(query, timeout_ms=max(1, query.timeout_ms - int((time.monotonic() - start) * 1000)))
