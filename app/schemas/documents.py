"""The JSON of documents, and of the reports on writing and deleting them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from app.schemas.base import RequestModel, ResponseModel, printable
from indexer.deletion import Deletion
from indexer.records import RecordError
from indexer.report import AddReport
from store.batch import Receipt
from store.documents import StoredDocument


class DocumentControlBody(RequestModel):
    """The weight of a part of the document's text, which is given by start and length or by its words."""

    factor: float = Field(description="0 leaves the part out, 1 changes nothing, at most 1000")
    start: int | None = Field(None, description="first character, in code points")
    length: int | None = Field(None, description="in code points")
    text: str | None = Field(None, description="in place of start and length: every occurrence, to the letter")


class DocumentContent(RequestModel):
    text: str = Field("", description="what is split into passages and searched")
    title: str = Field("", description="read before the text of each passage, and counted title_weight times by BM25")
    metadata: dict[str, Any] = Field(default_factory=dict, description="any JSON values; filterable where scalar")
    controls: list[DocumentControlBody] = Field(
        default_factory=list, description="factors on parts of the text: 1,000 at most, each occurrence counted"
    )

    def to_fields(self) -> dict[str, Any]:
        """The fields of a record (indexer.records)."""
        controls = [control.model_dump(exclude_none=True) for control in self.controls]
        return {"title": self.title, "text": self.text, "metadata": self.metadata, "controls": controls}


def _id_text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise PydanticCustomError("not_an_id", "an id must be a text or an integer")
    return str(value)


DocumentIdText = Annotated[str, BeforeValidator(_id_text, json_schema_input_type=str | int)]


class DocumentBody(DocumentContent):
    id: DocumentIdText | None = Field(None, description="unique in the collection; null: derived from the content")


class UpsertDocuments(RequestModel):
    documents: list[DocumentBody] = Field(
        min_length=1,
        max_length=10_000,
        description="in order: of several with one id the last that can be stored stays",
    )


class DocumentChange(RequestModel):
    metadata: dict[str, Any] = Field(
        description="a JSON Merge Patch (RFC 7396): null removes a field, objects are merged, and anything else takes "
        "the place of what was there"
    )


_ByFilter = dict[str, Any] | str  # conditions on metadata, as in a search


class CountDocuments(RequestModel):
    filter: _ByFilter | None = Field(
        None, description="conditions on metadata, as in a search; null: all are counted", examples=["price < 20"]
    )


class DocumentCount(ResponseModel):
    count: int = Field(description="documents that satisfy the filter")
    seq: int = Field(description="the change up to which they were counted; 0 before the first")


class DeleteDocuments(RequestModel):
    """Either `filter` or `ids`."""

    filter: _ByFilter | None = Field(
        None,
        description="conditions on metadata, as in a search: documents that satisfy it are deleted",
        examples=[{"price": {"lt": 20}}],
    )
    ids: list[DocumentIdText] | None = Field(
        None, min_length=1, max_length=1000, description="of documents; those that are not there count for nothing"
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.filter is None) == (self.ids is None):
            raise ValueError("give either filter or ids")
        return self


class DocumentChanged(ResponseModel):
    seq: int = Field(description="a search that says this seq or a higher one has seen the change")
    changed: bool = Field(description="false: the metadata was so before")


class DeletionReport(ResponseModel):
    seq: int = Field(description="a search that says this seq or a higher one has seen the change")
    deleted: int = Field(description="documents")

    @classmethod
    def of(cls, deletion: Deletion | Receipt) -> Self:
        return cls(seq=deletion.seq, deleted=deletion.deleted)


class PassageSpan(ResponseModel):
    start: int = Field(description="first character, in code points")
    end: int = Field(description="one past the last character")


class StoredControlBody(ResponseModel):
    start: int = Field(description="first character, in code points")
    length: int = Field(description="in code points")
    factor: float = Field(description="0 leaves the part out, 1 changes nothing")


class StoredDocumentBody(ResponseModel):
    id: str = Field(description="the document's own id")
    title: str = Field(description="as it was sent")
    text: str = Field(description="as it was sent")
    metadata: Mapping[str, Any] = Field(description="as it was sent")
    controls: list[StoredControlBody] = Field(description="on parts of the text, in order of their starts")
    language: str = Field(description="ISO 639-1 code by which its words were analysed")
    passages: list[PassageSpan] = Field(description="spans of the text, in its order")

    @classmethod
    def of(cls, stored: StoredDocument) -> Self:
        document = stored.document
        return cls(
            id=document.id,
            title=document.title,
            text=document.text,
            metadata=document.metadata,
            controls=[
                StoredControlBody(start=control.start, length=control.length, factor=control.factor)
                for control in document.controls
            ],
            language=stored.language,
            passages=[PassageSpan(start=passage.start, end=passage.end) for passage in stored.passages],
        )


class DocumentList(ResponseModel):
    documents: list[StoredDocumentBody] = Field(description="in the order of their ids")
    next: str | None = Field(description="pass it as `after` for the next page; null: this is the last one")


class RecordFailure(ResponseModel):
    code: str = Field(description="of the error; see the table of errors")
    reason: str = Field(description="what was wrong, and what is allowed")
    id: str | None = Field(description="the document's id; null: it has none that can be read")
    path: str | None = Field(description="the file, or the part of the request, that it came from")
    line: int | None = Field(description="1-based place in what was sent")

    @classmethod
    def of(cls, error: RecordError) -> Self:
        return cls(
            code=error.code,
            reason=printable(error.reason),
            id=error.id and printable(error.id),
            path=error.origin and printable(error.origin.path),
            line=error.origin and error.origin.line,
        )


class WriteReport(ResponseModel):
    """The outcome of a write. The documents are searchable once this is answered."""

    seq: int = Field(
        description="a search that says this seq or a higher one has seen the change; 0: nothing was written"
    )
    created: int = Field(description="documents that were new")
    replaced: int = Field(description="documents whose content changed: they have new passages")
    updated: int = Field(description="only metadata changed; nothing was embedded")
    unchanged: int = Field(description="documents that were there already, word for word")
    failed: int = Field(description="documents that could not be used; see errors")
    errors: list[RecordFailure] = Field(description="the first 1,000 failures")
    truncated: list[str] = Field(description="ids of documents of which the model did not read all; the first 1,000")
    truncated_count: int = Field(description="how many of these documents there are")
    duplicates: list[str] = Field(
        description="ids that were sent before in the same request, each time that they came again; the last document "
        "that can be stored counts; the first 1,000"
    )
    duplicate_count: int = Field(description="how often an id came again")
    passages: int = Field(description="passages that had to be embedded")
    tokens: int = Field(description="tokens that the model read")

    @classmethod
    def of(cls, report: AddReport) -> Self:
        return cls(
            seq=report.seq,
            created=report.created,
            replaced=report.replaced,
            updated=report.updated,
            unchanged=report.unchanged,
            failed=report.failed_count,
            errors=[RecordFailure.of(error) for error in report.failed],
            truncated=list(report.truncated),
            truncated_count=report.truncated_count,
            duplicates=list(report.duplicates),
            duplicate_count=report.duplicate_count,
            passages=report.passages,
            tokens=report.tokens,
        )
