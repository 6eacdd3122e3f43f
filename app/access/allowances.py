"""What a key may have in all: collections and passages, counted in the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from app.access.caller import Caller
from app.access.limits import tokens_of
from app.wiring import Wiring
from core.errors import LimitReached
from core.records import Document
from store.catalog import characters, get_collection
from store.database import ReadSession
from store.documents import stored_lengths
from store.visibility import holdings


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


class PassageRoom:
    """Whether the documents of one request may be added to a collection: not where the limit of passages is reached.

    A document has one passage at least. How many it has is known when it is split, so that the last request may go
    beyond the limit by the passages of its own documents. What takes the place of a document and is no longer than it
    needs no room: who has reached the limit may still correct what is there. That ends at twice the limit, as a text
    of the same length may have any number of passages.
    """

    def __init__(self, parts: Wiring, caller: Caller, collection: str) -> None:
        """`collection`: its stored name."""
        self._database = parts.database
        self._collection = collection
        self._limit = caller.rights.limits.passages
        self._growing = 0
        if self._limit is not None:
            with self._database.read() as session:
                _, self._passages = holdings(session, caller.among)

    def take(self, lengths: Mapping[str, int]) -> None:
        """`lengths`: characters of documents' titles and texts, by id. Raises LimitReached, and CollectionNotFound."""
        if self._limit is None:
            return
        with self._database.read() as session:
            stored = stored_lengths(session, get_collection(session, self._collection).id, list(lengths))
        correcting = self._passages < 2 * self._limit
        growing = sum(not correcting or length > stored.get(id_, -1) for id_, length in lengths.items())
        self._growing += growing
        left = max(0, self._limit - self._passages)
        if growing and self._growing > left:
            raise LimitReached(
                f"the collections of this key hold {self._passages} passages, those of waiting documents included, and "
                f"may hold {self._limit}: there is room for {left} passages, and {self._growing} documents are new, or "
                "longer than those whose place they take; send fewer, delete some, or ask for a higher limit"
            )


def check_documents(parts: Wiring, caller: Caller, collection: str, documents: Iterable[Document]) -> None:
    """Raises LimitReached where the caller may not add all of these, and CollectionNotFound."""
    PassageRoom(parts, caller, collection).take({item.id: length_of(item) for item in documents})


def length_of(document: Document) -> int:
    """Characters of its title and text."""
    return len(document.title) + len(document.text)
