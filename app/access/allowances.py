"""What a key may have in all: collections and passages, counted in the database."""

from __future__ import annotations

from app.access.caller import Caller
from app.access.limits import tokens_of
from app.wiring import Wiring
from core.errors import LimitReached
from store.among import holdings
from store.catalog import characters, get_collection
from store.database import ReadSession


def check_collections(session: ReadSession, caller: Caller) -> None:
    """Raises LimitReached where the caller may make no further collection."""
    limit = caller.rights.limits.collections
    if limit is None:
        return
    collections, _ = holdings(session, caller.among)
    if collections >= limit:
        raise LimitReached(
            f"this key sees {collections} collections, and may have {limit}; delete one, or ask for a higher limit"
        )


def spend_reindex(parts: Wiring, caller: Caller, collection: str) -> None:
    """Count what models are to read for a reindex, as for documents of a job."""
    if caller.rights.limits.tokens_per_minute is None:
        return
    with parts.database.read() as session:
        length = characters(session, get_collection(session, collection).id)
    parts.limiter.spend(caller, tokens_of(length))


def passages_left(parts: Wiring, caller: Caller) -> int | None:
    """How many passages the caller may still add; None: any number. Raises LimitReached where that is none.

    A document has one passage at least. How many it has is known when it is split, so that the last request may go
    beyond the limit by the passages of its own documents.
    """
    limit = caller.rights.limits.passages
    if limit is None:
        return None
    with parts.database.read() as session:
        _, passages = holdings(session, caller.among)
    if passages >= limit:
        raise LimitReached(
            f"the collections of this key hold {passages} passages, those of waiting documents included, and may hold "
            f"{limit}; delete some documents, or ask for a higher limit"
        )
    return limit - passages


def check_documents(left: int | None, documents: int) -> None:
    """Raises LimitReached where so many documents cannot fit into what is left."""
    if left is not None and documents > left:
        raise LimitReached(
            f"there is room for {left} passages, and these are {documents} documents or more; send fewer"
        )
