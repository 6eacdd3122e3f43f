"""Makes a search wait for the change that it must see (`min_seq`), within the search's own timeout."""

from __future__ import annotations

import time
from dataclasses import replace

from app.schemas.search_request import QueryBody
from app.wiring import Wiring
from retriever.query import Query


def waited(parts: Wiring, collection: str, body: QueryBody, query: Query, *, begun: float | None = None) -> Query:
    """Wait until the change that the body requires is visible, and return the query with the time that is left.

    `begun`: start of the search's time, by time.monotonic; None: now. Raises SeqNotReached, CollectionNotFound.
    """
    begun = time.monotonic() if begun is None else begun
    left = round(body.wait_seconds - (time.monotonic() - begun), 3)
    parts.wait_for(collection, body.min_seq, max(0.0, left))
    if query.timeout_ms is None:
        return query
    return replace(query, timeout_ms=max(1, query.timeout_ms - int((time.monotonic() - begun) * 1000)))
