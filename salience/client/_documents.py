"""Calls for documents: add, put, get, list, delete, and add any number of them as a job."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from salience.client._bulk import BulkBody, plain
from salience.client._calls import Answer, Call, given, header_value, nothing, path_of, reading
from salience.client._search import Filter
from salience.client.errors import UnexpectedAnswer
from salience.client.results import (
    Deletion,
    Document,
    DocumentChanged,
    DocumentControl,
    DocumentPage,
    Job,
    WriteReport,
)


def add_documents(
    collection: str, documents: Sequence[Mapping[str, Any]], *, timeout: float | None = None
) -> Call[WriteReport]:
    """Add or replace up to 10,000 documents: `text`, and optionally `id`, `title`, `metadata`, `controls`.

    They are searchable once this returns; documents that could not be used are in `errors`. All are embedded before the
    answer, so a longer `timeout` (seconds, for this call) may be needed. After a TimedOut they may be sent again.
    """
    body = {"documents": [plain(document, number) for number, document in enumerate(documents, start=1)]}
    return Call(
        method="POST",
        path=path_of("v1", "collections", collection, "documents"),
        body=body,
        read=reading(WriteReport),
        timeout=timeout,
        after_timeout=(
            "some of the documents may be stored, and sending them again is safe; "
            "give this call a longer timeout, or use add_bulk, which does not wait for the model"
        ),
    )


def queue_documents(collection: str, documents: Sequence[Mapping[str, Any]]) -> Call[Job]:
    """Like `add_documents`, but returns a job as soon as all documents are stored, without waiting for embedding."""
    body = {"documents": [plain(document, number) for number, document in enumerate(documents, start=1)]}
    return Call(
        method="POST",
        path=path_of("v1", "collections", collection, "documents"),
        params={"wait": False},
        body=body,
        read=reading(Job),
        repeatable=False,  # it would create a second job
    )


def put_document(
    collection: str,
    id: str,
    text: str = "",
    *,
    title: str = "",
    metadata: Mapping[str, Any] | None = None,
    controls: Sequence[DocumentControl | Mapping[str, Any]] = (),
) -> Call[WriteReport]:
    """Add or replace one document. Raises an error if it cannot be used.

    `controls`: factors on parts of the text; a mapping may quote the part itself, `{"text": ..., "factor": 0}`.
    """
    body: dict[str, Any] = {"text": text, "title": title, "metadata": dict(metadata or {})}
    if controls:
        body["controls"] = [asdict(one) if isinstance(one, DocumentControl) else dict(one) for one in controls]
    return Call(
        method="PUT",
        path=path_of("v1", "collections", collection, "documents", id),
        body=body,
        read=reading(WriteReport),
        after_timeout="the document may be stored, and sending it again is safe",
    )


def change_document(collection: str, id: str, metadata: Mapping[str, Any]) -> Call[DocumentChanged]:
    """Merge fields into a document's metadata; None removes a field. The text stays, and nothing is embedded."""
    return Call(
        method="PATCH",
        path=path_of("v1", "collections", collection, "documents", id),
        body={"metadata": dict(metadata)},
        read=reading(DocumentChanged),
        repeatable=False,  # a repetition would report that nothing changed
    )


def get_document(
    collection: str, id: str, *, min_seq: int | None = None, timeout_ms: int | None = None
) -> Call[Document]:
    """A document, in a state that includes the change `min_seq`."""
    return Call(
        method="GET",
        path=path_of("v1", "collections", collection, "documents", id),
        params={"min_seq": min_seq, "timeout_ms": timeout_ms},
        read=reading(Document),
    )


def list_documents(
    collection: str, *, limit: int | None = None, after: str | None = None, filter: str | None = None
) -> Call[DocumentPage]:
    """One page of documents, ordered by id: all, or those that match a filter on metadata.

    `iter_documents` iterates over all pages.
    """
    return Call(
        method="GET",
        path=path_of("v1", "collections", collection, "documents"),
        params={"limit": limit, "after": after, "filter": filter},
        read=reading(DocumentPage),
    )


def delete_document(collection: str, id: str) -> Call[int]:
    """Delete a document. Returns the change's seq: a search with this min_seq does not find the document."""
    return Call(
        method="DELETE",
        path=path_of("v1", "collections", collection, "documents", id),
        read=_seq,
        repeatable=False,  # a repetition would report that there is no such document
    )


def count_documents(collection: str, filter: Filter | None = None) -> Call[int]:
    """The number of documents, or of those that match a filter on metadata."""
    return Call(
        method="POST",
        path=path_of("v1", "collections", collection, "documents:count"),
        body={"filter": filter},
        read=reading(int, "count"),
    )


def delete_documents(
    collection: str, filter: Filter | None = None, *, ids: Sequence[str] | None = None
) -> Call[Deletion]:
    """Delete every document that matches a filter on metadata, or up to 1,000 documents by `ids`."""
    return Call(
        method="POST",
        path=path_of("v1", "collections", collection, "documents:delete"),
        body=given(filter=filter, ids=None if ids is None else list(ids)),
        read=reading(Deletion),
        repeatable=False,  # a repetition would count only what was left
    )


def bulk(
    collection: str,
    documents: BulkBody[Any],
    *,
    key: str | None,
    id_field: str | None,
    text_field: str | None,
    title_field: str | None,
) -> Call[Job]:
    """The request of `add_bulk`. It always has an idempotency key, which makes it safe to repeat."""
    return Call(
        method="POST",
        path=path_of("v1", "collections", collection, "documents:bulk"),
        params={"id_field": id_field, "text_field": text_field, "title_field": title_field},
        stream=documents,
        headers={
            "Idempotency-Key": uuid.uuid4().hex if key is None else header_value(key, "the idempotency key"),
            "Content-Type": "application/x-ndjson",
            "Content-Encoding": "gzip",
        },
        read=reading(Job),
    )


def _seq(answer: Answer) -> int:
    nothing(answer)
    said = answer.headers.get("salience-seq", "")
    if not (said.isascii() and said.isdigit() and len(said) < 20):
        raise UnexpectedAnswer(f"the answer's header Salience-Seq is {said!r:.40}, and not a number; is this Salience?")
    return int(said)
