"""Documents: add, put, get, list, delete, and add any number of them as a job."""

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
    """Add or replace up to 10,000 documents: `text`, and `id`, `title`, `metadata`, `controls` where they have them.

    They are searchable once this returns; those that could not be used are in `errors`. All are embedded before the
    answer: `timeout` is that of this call, in seconds. After a TimedOut they may be sent again.
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
    """The same without waiting: a job, as soon as all are stored."""
    body = {"documents": [plain(document, number) for number, document in enumerate(documents, start=1)]}
    return Call(
        method="POST",
        path=path_of("v1", "collections", collection, "documents"),
        params={"wait": False},
        body=body,
        read=reading(Job),
        repeatable=False,  # it would make a second job
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
    """Add or replace one document; one that cannot be used is an error.

    `controls`: factors on parts of the text; a mapping may give the words themselves, `{"text": ..., "factor": 0}`.
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
    """Merge fields into a document's metadata; None removes one. Its text stays, and nothing is embedded."""
    return Call(
        method="PATCH",
        path=path_of("v1", "collections", collection, "documents", id),
        body={"metadata": dict(metadata)},
        read=reading(DocumentChanged),
        repeatable=False,  # the second one would say that nothing changed
    )


def get_document(
    collection: str, id: str, *, min_seq: int | None = None, timeout_ms: int | None = None
) -> Call[Document]:
    """A document, at least as new as the change `min_seq`."""
    return Call(
        method="GET",
        path=path_of("v1", "collections", collection, "documents", id),
        params={"min_seq": min_seq, "timeout_ms": timeout_ms},
        read=reading(Document),
    )


def list_documents(
    collection: str, *, limit: int | None = None, after: str | None = None, filter: str | None = None
) -> Call[DocumentPage]:
    """One page of documents, in the order of their ids: all, or those that satisfy a filter on metadata.

    `iter_documents` goes through all pages.
    """
    return Call(
        method="GET",
        path=path_of("v1", "collections", collection, "documents"),
        params={"limit": limit, "after": after, "filter": filter},
        read=reading(DocumentPage),
    )


def delete_document(collection: str, id: str) -> Call[int]:
    """Delete a document. The change's seq: a search with this min_seq does not find it."""
    return Call(
        method="DELETE",
        path=path_of("v1", "collections", collection, "documents", id),
        read=_seq,
        repeatable=False,  # the second one would find nothing, and say that there was nothing
    )


def count_documents(collection: str, filter: Filter | None = None) -> Call[int]:
    """How many documents there are, or satisfy a filter on metadata."""
    return Call(
        method="POST",
        path=path_of("v1", "collections", collection, "documents:count"),
        body={"filter": filter},
        read=reading(int, "count"),
    )


def delete_documents(
    collection: str, filter: Filter | None = None, *, ids: Sequence[str] | None = None
) -> Call[Deletion]:
    """Delete every document that satisfies a filter on metadata, or those of `ids`, 1,000 at most."""
    return Call(
        method="POST",
        path=path_of("v1", "collections", collection, "documents:delete"),
        body=given(filter=filter, ids=None if ids is None else list(ids)),
        read=reading(Deletion),
        repeatable=False,  # it would count those that are left
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
    """The request that documents are streamed with. A key makes it safe to repeat: there is always one."""
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
