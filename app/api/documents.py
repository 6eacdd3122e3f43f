"""Documents: upsert, get, list, delete, and NDJSON in bulk."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from typing import Annotated, Any, BinaryIO, cast

from fastapi import APIRouter, Body, Depends, Path, Query, Request

from app.api.dependencies import CollectionName, Parts, get_wiring
from app.schemas import (
    DocumentContent,
    DocumentList,
    StoredDocumentBody,
    UpsertDocuments,
    WriteReport,
)
from core.errors import DocumentNotFound, InvalidDocument, InvalidInput, TooLarge
from indexer.fields import FieldMapping, documents, to_document
from indexer.pipeline import delete as delete_documents
from indexer.readers import Format, read_stream
from indexer.records import Origin, Record
from store.catalog import get_collection
from store.documents import get_document, list_documents

router = APIRouter(prefix="/v1/collections/{collection}", tags=["documents"])
SPOOL_BYTES = 8 * 2**20  # of a bulk body that are held in memory; the rest goes to a temporary file

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
_BULK_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/x-ndjson": {
            "schema": {"type": "string"},
            "example": '{"id": "r1", "text": "A radio for the kitchen."}\n{"id": "r2", "text": "A record player."}\n',
        }
    },
}


async def bulk_body(request: Request) -> AsyncIterator[BinaryIO]:
    """The body as a file from its start. Raises TooLarge over the limit of bulk bodies."""
    limit = get_wiring(request).settings.limits.bulk_bytes
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as spool:
        async for chunk in request.stream():
            if spool.tell() + len(chunk) > limit:
                raise TooLarge(f"the body is larger than {limit} bytes; send it in parts")
            spool.write(chunk)
        spool.seek(0)
        yield cast(BinaryIO, spool)


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
    return WriteReport.of(parts.pipeline.add(collection, documents(records)))


@router.post(
    "/documents:bulk",
    operation_id="bulk_documents",
    summary="Add documents in bulk",
    openapi_extra={"requestBody": _BULK_BODY},
)
def bulk(
    parts: Parts,
    collection: CollectionName,
    body: Annotated[BinaryIO, Depends(bulk_body)],
    wait: Annotated[bool, Query(description="answer when all is searchable; there is no other way yet")] = True,
    id_field: Annotated[str | None, Query(description="field that holds the id; else id or _id")] = None,
    text_field: Annotated[
        str | None, Query(description="field that holds the text; else text, body or content")
    ] = None,
    title_field: Annotated[str | None, Query(description="field that holds the title; else title or name")] = None,
) -> WriteReport:
    """Add or replace documents from NDJSON, one JSON object a line, gzip too. Answers when all are searchable."""
    if not wait:
        raise InvalidInput("wait=false is not offered yet: the answer comes when all is searchable", param="wait")
    mapping = FieldMapping(id=id_field, text=text_field, title=title_field)
    records = read_stream(body, format=Format.NDJSON, name="body")
    return WriteReport.of(parts.pipeline.add(collection, documents(records, mapping)))


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
    report = parts.pipeline.add(collection, [document])
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
