"""Read-your-writes consistency: wait until a collection has reached a given change."""

from __future__ import annotations

import time

from core.errors import SeqNotReached
from store.catalog import get_collection
from store.changes import current_seq
from store.database import Database

POLL_SECONDS = 0.01


def wait_for_seq(database: Database, name: str, seq: int, timeout_seconds: float) -> None:
    """Return as soon as everything up to the change `seq` of the collection is committed and can be read.

    Within one data directory that is immediate for every `seq` that a write was answered with. It takes time for a copy
    that follows, or for a number from elsewhere. Raises SeqNotReached after `timeout_seconds`, CollectionNotFound.
    """
    until = time.monotonic() + timeout_seconds
    while True:
        with database.read() as session:
            present = current_seq(session, get_collection(session, name).active.id)
        if present >= seq:
            return
        left = until - time.monotonic()
        if left <= 0:
            raise SeqNotReached(
                f"collection {name!r} is at seq {present} and was waited for {timeout_seconds:g} s to come to {seq}; "
                "try again, or use the seq that a write to this collection was answered with",
                param="min_seq",
            )
        time.sleep(min(POLL_SECONDS, left))
