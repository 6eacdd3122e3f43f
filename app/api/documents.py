"""Endpoints for documents: upsert, get, list, count, change, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Response
from starlette.convertors import Convertor, register_url_convertor

from app.access.allowances import check_documents
from app.access.limits import tokens_of
from app.api.dependencies import CollectionName, Known, Parts
from app.api.jobs import accepted
from app.api.links import DOCUMENTS_ADDED, DOCUMENTS_LISTED, JOB_MADE
from app.api.serialized import serialized
from app.schemas.documents import (
    CountDocuments,
    DeleteDocuments,
    DeletionReport,
    DocumentChange,
    DocumentChanged,
    DocumentContent,
    DocumentCount,
    DocumentList,
    StoredDocumentBody,
    UpsertDocuments,
    WriteReport,
)
from app.schemas.jobs import JobBody
from core.errors import DocumentNotFound, InvalidControl, InvalidDocument
from core.filters import parse_filter
from core.protocols import Priority
from core.records import Document
from indexer.deletion import delete_where
from indexer.fields import located_documents, to_document
from indexer.intake import check_room, receive
from indexer.metadata import change_metadata
from indexer.pipeline import delete as delete_documents
from indexer.records import Origin, Record
from store.catalog import get_collection
from store.changes import current_seq
from store.documents import get_document, list_documents
from store.filters.sql import count_where
from store.schema import MAX_ID


class _AnyText(Convertor[str]):
    """A path parameter of any text. Unlike in `:path`, line breaks are part of it.

    With `:path`, "a\\n" would name the document "a", and "a\\nb" would match nothing.
    """

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("any_text", _AnyText())
router = APIRouter(prefix="/v1/collections/{collection}", tags=["documents"])

_UPSERT = {
    "two": {
        "summary": "Two documents with metadata",
        "value": {
            "documents": [
                {"id": "c1", "text": "A console that plays games on your TV.", "metadata": {"price": 299}},
                {"id": "t1", "title": "TV", "text": "A television with a bright screen.", "metadata": {"price": 499}},
            ]
        },
    }
}
_PUT = {
    "one": {"summary": "One document", "value": {"text": "A radio for the kitchen.", "metadata": {"price": 49}}},
    "controls": {
        "summary": "One whose boilerplate counts for nothing",
        "value": {
            "text": "A radio for the kitchen. Subscribe to our newsletter!",
            "controls": [{"text": "Subscribe to our newsletter!", "factor": 0}],
        },
    },
}
_DELETE = {
    "cheap": {"summary": "A filter as text", "value": {"filter": "price < 1 or price > 10000"}},
    "json": {"summary": "A filter as JSON", "value": {"filter": {"price": {"lt": 1}}}},
    "ids": {"summary": "By id", "value": {"ids": ["radio-1", "radio-2"]}},
}
_COUNT = {"cheap": {"summary": "Those that satisfy a filter", "value": {"filter": "price < 100"}}}
_CHANGE = {"price": {"summary": "Another price", "value": {"metadata": {"price": 39}}}}
DocumentId = Annotated[str, Path(description="the document's own id", examples=["radio-1"], min_length=1)]


@router.post(
    "/documents",
    responses={
        200: DOCUMENTS_ADDED,
        202: {"model": JobBody, "description": "without wait: they are in the queue", **JOB_MADE},
    },
    operation_id="upsert_documents",
    summary="Add documents",
)
def upsert(
    parts: Parts,
    caller: Known,
    response: Response,
    collection: CollectionName,
    body: Annotated[UpsertDocuments, Body(openapi_examples=_UPSERT)],
    wait: Annotated[
        bool, Query(description="answer when all are searchable; false: with a job, as soon as all are stored")
    ] = True,
) -> WriteReport | JobBody:
    """Add or replace documents by id. Those that cannot be used are listed under `errors`; the others are stored.

    If a remote model refuses, or gives an unusable answer, that is no document's fault: the answer is 502.
    The report's `seq` identifies the change: a search with this `min_seq` sees it.
    """
    records = [
        Record(
            fields={"id": item.id, **item.to_fields()},
            origin=Origin(path="documents", line=place),
        )
        for place, item in enumerate(body.documents, start=1)
    ]
    located = list(located_documents(records))
    check_documents(parts, caller, collection, (item for _, item in located if isinstance(item, Document)))
    if wait:
        report = parts.pipeline.add(collection, (item for _, item in located), priority=Priority.INTERACTIVE)
        return WriteReport.of(report)
    check_room(parts.database, parts.settings.limits.queued_items)
    found = parts.pipeline.collection(collection)
    job = receive(parts.database, found, located, receiver=parts.worker.name)
    parts.worker.wake()
    parts.limiter.spend(caller, tokens_of(sum(len(item.title or "") + len(item.text) for item in body.documents)))
    response.status_code = 202
    return accepted(caller.shown_work(job), response)


@router.get("/documents", responses={200: DOCUMENTS_LISTED}, operation_id="list_documents", summary="List documents")
@serialized
def list_page(
    parts: Parts,
    caller: Known,
    collection: CollectionName,
    limit: Annotated[int, Query(ge=1, le=1000, description="documents of one page")] = 100,
    after: Annotated[str | None, Query(description="the id behind which to go on")] = None,
    filter: Annotated[
        str | None,
        Query(description="conditions on metadata, as text: those that satisfy it", examples=["price < 100"]),
    ] = None,
) -> DocumentList:
    """Documents in the order of their ids, all of them or those that satisfy a filter."""
    where = None if filter is None else parse_filter(filter)
    with parts.database.read() as session:
        found = get_collection(session, collection)
        page = list_documents(session, found.id, limit=limit + 1, after=after, where=where, within=caller.rows)
    bodies = [StoredDocumentBody.of(stored) for stored in page[:limit]]
    return DocumentList(documents=bodies, next=bodies[-1].id if len(page) > limit else None)


@router.get("/documents/{document_id:any_text}", operation_id="get_document", summary="Get a document")
@serialized
def get(
    parts: Parts,
    caller: Known,
    collection: CollectionName,
    document_id: DocumentId,
    min_seq: Annotated[
        int | None, Query(ge=0, le=MAX_ID, description="see at least this change: the seq of a write's answer")
    ] = None,
    timeout_ms: Annotated[int, Query(ge=1, le=10_000, description="milliseconds to wait for min_seq at most")] = 2000,
) -> StoredDocumentBody:
    """A document with its text and the spans of its passages."""
    parts.wait_for(collection, min_seq, timeout_ms / 1000)
    with parts.database.read() as session:
        found = get_collection(session, collection)
        return StoredDocumentBody.of(get_document(session, found.id, document_id, within=caller.rows))


@router.put("/documents/{document_id:any_text}", operation_id="put_document", summary="Put a document")
def put(
    parts: Parts,
    caller: Known,
    collection: CollectionName,
    document_id: DocumentId,
    body: Annotated[DocumentContent, Body(openapi_examples=_PUT)],
) -> WriteReport:
    """Add or replace one document; one that cannot be used is an error.

    If a remote model refuses, or gives an unusable answer, that is not the document's fault: the answer is 502.
    """
    document = to_document({"id": document_id, **body.to_fields()})
    check_documents(parts, caller, collection, [document])
    report = parts.pipeline.add(collection, [document], priority=Priority.INTERACTIVE)
    if report.failed:
        [failure] = report.failed
        if failure.code == InvalidControl.code:
            raise InvalidControl(failure.reason, param="controls")
        raise InvalidDocument(failure.reason, param="text")
    return WriteReport.of(report)


@router.patch(
    "/documents/{document_id:any_text}", operation_id="change_document", summary="Change a document's metadata"
)
def change(
    parts: Parts,
    collection: CollectionName,
    document_id: DocumentId,
    body: Annotated[DocumentChange, Body(openapi_examples=_CHANGE)],
) -> DocumentChanged:
    """Merge fields into a document's metadata; its text stays, and nothing is embedded again.

    `{"metadata": {"price": null}}` removes a field. Concurrent changes to different fields are both kept.
    """
    receipt = change_metadata(parts.database, collection, document_id, body.metadata)
    return DocumentChanged(seq=receipt.seq, changed=receipt.updated == 1)


@router.delete(
    "/documents/{document_id:any_text}", status_code=204, operation_id="delete_document", summary="Delete a document"
)
def delete(
    parts: Parts, caller: Known, response: Response, collection: CollectionName, document_id: DocumentId
) -> None:
    """Delete a document; it is no longer found once this is answered. The header Salience-Seq has its `seq`."""
    done = delete_documents(parts.database, collection, [document_id], within=caller.rows)
    response.headers["Salience-Seq"] = str(done.seq)
    if done.deleted == 0:
        raise DocumentNotFound(
            f"there is no document {document_id!r:.140} in collection {collection!r}", param="document_id"
        )


@router.post("/documents:count", operation_id="count_documents", summary="Count documents")
def count(
    parts: Parts,
    caller: Known,
    collection: CollectionName,
    body: Annotated[CountDocuments, Body(openapi_examples=_COUNT)],
) -> DocumentCount:
    """The exact number of documents that satisfy a filter: those that `documents:delete` would delete by it."""
    where = None if body.filter is None else parse_filter(body.filter)
    with parts.database.read() as session:
        found = get_collection(session, collection)
        count = count_where(session, found.id, where, within=caller.rows)
        return DocumentCount(count=count, seq=current_seq(session, found.active.id))


@router.post("/documents:delete", operation_id="delete_documents", summary="Delete documents by filter, or by ids")
def delete_several(
    parts: Parts,
    caller: Known,
    collection: CollectionName,
    body: Annotated[DeleteDocuments, Body(openapi_examples=_DELETE)],
) -> DeletionReport:
    """Delete every document that satisfies the filter, or has one of the ids.

    None of them is found once this is answered.
    """
    if body.filter is None:
        return DeletionReport.of(delete_documents(parts.database, collection, body.ids or (), within=caller.rows))
    return DeletionReport.of(delete_where(parts.database, collection, parse_filter(body.filter), within=caller.rows))
