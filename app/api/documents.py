"""Documents: upsert, get, list, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query

from app.api.dependencies import CollectionName, Parts
from app.schemas import (
    DocumentContent,
    DocumentList,
    StoredDocumentBody,
    UpsertDocuments,
    WriteReport,
)
from core.errors import DocumentNotFound, InvalidDocument
from core.protocols import Priority
from indexer.fields import documents, to_document
from indexer.pipeline import delete as delete_documents
from indexer.records import Origin, Record
from store.catalog import get_collection
from store.documents import get_document, list_documents

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
_PUT = {"one": {"summary": "One document", "value": {"text": "A radio for the kitchen.", "metadata": {"price": 49}}}}
DocumentId = Annotated[str, Path(description="the document's own id", examples=["radio-1"], min_length=1)]


@router.post("/documents", operation_id="upsert_documents", summary="Add documents")
def upsert(
    parts: Parts, collection: CollectionName, body: Annotated[UpsertDocuments, Body(openapi_examples=_UPSERT)]
) -> WriteReport:
    """Add or replace documents by id. One that cannot be used is listed under `errors`; the others go on."""
    records = [
        Record(
            fields={"id": item.id, "title": item.title, "text": item.text, "metadata": item.metadata},
            origin=Origin(path="documents", line=place),
        )
        for place, item in enumerate(body.documents, start=1)
    ]
    return WriteReport.of(parts.pipeline.add(collection, documents(records), priority=Priority.INTERACTIVE))


@router.get("/documents", operation_id="list_documents", summary="List documents")
def list_page(
    parts: Parts,
    collection: CollectionName,
    limit: Annotated[int, Query(ge=1, le=1000, description="documents of one page")] = 100,
    after: Annotated[str | None, Query(description="the id behind which to go on")] = None,
) -> DocumentList:
    """Documents in the order of their ids."""
    with parts.database.read() as session:
        found = get_collection(session, collection)
        page = list_documents(session, found.id, limit=limit + 1, after=after)
    bodies = [StoredDocumentBody.of(stored) for stored in page[:limit]]
    return DocumentList(documents=bodies, next=bodies[-1].id if len(page) > limit else None)


@router.get("/documents/{document_id:path}", operation_id="get_document", summary="Get a document")
def get(parts: Parts, collection: CollectionName, document_id: DocumentId) -> StoredDocumentBody:
    """A document with its text and the spans of its passages."""
    with parts.database.read() as session:
        found = get_collection(session, collection)
        return StoredDocumentBody.of(get_document(session, found.id, document_id))


@router.put("/documents/{document_id:path}", operation_id="put_document", summary="Put a document")
def put(
    parts: Parts,
    collection: CollectionName,
    document_id: DocumentId,
    body: Annotated[DocumentContent, Body(openapi_examples=_PUT)],
) -> WriteReport:
    """Add or replace one document; one that cannot be used is an error."""
    document = to_document({"id": document_id, **body.model_dump()})
    report = parts.pipeline.add(collection, [document], priority=Priority.INTERACTIVE)
    if report.failed:
        raise InvalidDocument(report.failed[0].reason, param="text")
    return WriteReport.of(report)


@router.delete(
    "/documents/{document_id:path}", status_code=204, operation_id="delete_document", summary="Delete a document"
)
def delete(parts: Parts, collection: CollectionName, document_id: DocumentId) -> None:
    """Delete a document; it is no longer found once this is answered."""
    if delete_documents(parts.database, collection, [document_id]).deleted == 0:
        raise DocumentNotFound(
            f"there is no document {document_id!r:.140} in collection {collection!r}", param="document_id"
        )
