"""A search's wait for the state that it wants to see, as a part of its own time."""

from __future__ import annotations

import time
from dataclasses import replace

from app.schemas.search_request import QueryBody
from app.wiring import Wiring
from retriever.query import Query


def waited(parts: Wiring, collection: str, body: QueryBody, query: Query, *, begun: float | None = None) -> Query:
    """Wait until what the body wants to see is there; the query then has the time that is left.

    `begun`: by time.monotonic, since when its time runs; None: since now. Raises SeqNotReached, CollectionNotFound.
    """
    begun = time.monotonic() if begun is None else begun
    left = round(body.wait_seconds - (time.monotonic() - begun), 3)
    parts.wait_for(collection, body.min_seq, max(0.0, left))
    if query.timeout_ms is None:
        return query
    return replace(query, timeout_ms=max(1, query.timeout_ms - int((time.monotonic() - begun) * 1000)))
