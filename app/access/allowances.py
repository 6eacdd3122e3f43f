"""Limits on what a key may store in total: collections and passages, counted in the database."""

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
    """Raise LimitReached if the caller may not create another collection."""
    limit = caller.rights.limits.collections
    if limit is None:
        return
    collections, _ = holdings(session, caller.among)
    if collections >= limit:
        raise LimitReached(
            f"this key sees {collections} collections, and may have {limit}; delete one, or ask for a higher limit"
        )


def spend_reindex(parts: Wiring, caller: Caller, collection: str) -> None:
    """Charge the caller for the tokens that a reindex of `collection` will read, estimated as for a job's documents."""
    if caller.rights.limits.tokens_per_minute is None:
        return
    with parts.database.read() as session:
        length = characters(session, get_collection(session, collection).id)
    parts.limiter.spend(caller, tokens_of(length))


class PassageRoom:
    """Checks the documents of one request against the caller's limit on passages.

    Every document counts as one passage, the least that it can have. The true number is known only once it is split,
    so the last request may exceed the limit by the passages of its own documents. A document that replaces one at
    least as long needs no room, so a caller that has reached the limit can still correct existing documents. This
    exemption ends at twice the limit, because a text of the same length may have any number of passages.
    """

    def __init__(self, parts: Wiring, caller: Caller, collection: str) -> None:
        """`collection` is a stored name."""
        self._database = parts.database
        self._collection = collection
        self._limit = caller.rights.limits.passages
        self._growing = 0
        if self._limit is not None:
            with self._database.read() as session:
                _, self._passages = holdings(session, caller.among)

    def take(self, lengths: Mapping[str, int]) -> None:
        """Claim room for documents, given the characters of title and text by document id.

        Raises LimitReached if there is not enough room, and CollectionNotFound.
        """
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
    """Raise LimitReached if the caller may not add all of these documents. Raises CollectionNotFound."""
    PassageRoom(parts, caller, collection).take({item.id: length_of(item) for item in documents})


def length_of(document: Document) -> int:
    """Return the number of characters in the document's title and text."""
    return len(document.title) + len(document.text)
