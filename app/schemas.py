"""The JSON of collections and documents: what comes in, strictly checked, and what goes out."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from core.records import Collection, CollectionSettings, FieldKind, IndexKind, SparseScoring
from core.synonyms import of_groups
from indexer.deletion import Deletion
from indexer.records import RecordError
from indexer.report import AddReport
from store.documents import StoredDocument
from store.settings import check_changeable

DeclaredKind = Literal["text", "number", "boolean", "date", "geo"]  # core.records.DECLARABLE


class RequestModel(BaseModel):
    """Unknown keys, wrong types, NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        """`extra="forbid"` would refuse an unknown key, too, but not say which ones are known."""
        for key in value if isinstance(value, dict) else ():
            if key not in cls.model_fields:
                near = difflib.get_close_matches(str(key), cls.model_fields, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                message = f"unknown key {printable(str(key))!r:.80}; {hint}allowed are {', '.join(cls.model_fields)}"
                raise PydanticCustomError("unknown_key", "{message}", {"message": message})
        return value


class ResponseModel(BaseModel):
    model_config = ConfigDict(frozen=True)


class ErrorDetail(ResponseModel):
    code: str = Field(description="stable name of the kind of error", examples=["collection_not_found"])
    message: str
    param: str | None = Field(description="the input that is at fault")
    request_id: str | None


class ErrorResponse(ResponseModel):
    error: ErrorDetail


SynonymsBody = dict[str, list[str]] | list[list[str]]


def to_synonyms(given: SynonymsBody) -> dict[str, tuple[str, ...]]:
    """Raises InvalidSettings."""
    if isinstance(given, dict):
        return {word: tuple(dict.fromkeys(others)) for word, others in given.items()}
    return of_groups(given)


class SettingsBody(RequestModel):
    """How documents become passages, terms and filterable fields."""

    language: str = Field("auto", description="ISO 639-1 code, or auto: detected for each document")
    passage_tokens: int | None = Field(None, description="tokens of a passage at most; null: what the model reads")
    overlap_tokens: int = Field(32, description="tokens that a passage repeats from the one before, at most")
    whole_documents: bool = Field(False, description="one passage a document, cut where the model stops reading")
    k1: float = Field(1.2, description="BM25 term frequency saturation")
    b: float = Field(0.75, description="BM25 length normalisation, 0 to 1")
    title_weight: int = Field(2, description="how often BM25 counts a word of a title, 0 to 10; models read it once")
    alpha: float = Field(0.5, description="weight of the dense leg in searches that name none, 0 to 1")
    fields: dict[str, DeclaredKind] = Field(
        default_factory=dict,
        description="kinds of metadata fields, where they shall be fixed beforehand: a value that does not fit makes "
        "its document an error; date and geo fields are only those that are declared",
    )

    sparse: Literal["bm25", "learned", "both"] | None = Field(
        None,
        description="the sparse leg: BM25, weights of sparse_model in its place, or both legs; null: learned where "
        "a sparse_model is named, else bm25",
    )
    index: Literal["auto", "exact", "hnsw"] = Field(
        "auto",
        description="how the nearest vectors are found: all are read while they are few, then short codes of them "
        "(auto); always all (exact); by a graph (hnsw). Scores are exact with each",
    )

    synonyms: SynonymsBody = Field(
        default_factory=dict,
        description="what BM25 looks for beside the words of a query: by word, or groups of words that mean the same",
        examples=[{"tv": ["television"]}, [["laptop", "notebook"]]],
    )

    def to_settings(self, sparse_model: str | None = None) -> CollectionSettings:
        kinds = {name: FieldKind(kind) for name, kind in self.fields.items()}
        sparse = SparseScoring(self.sparse) if self.sparse else SparseScoring.meant_by(sparse_model)
        index = IndexKind(self.index)
        synonyms = to_synonyms(self.synonyms)
        given = {**dict(self), "fields": kinds, "sparse": sparse, "index": index, "synonyms": synonyms}
        return CollectionSettings(**given)

    @classmethod
    def of(cls, settings: CollectionSettings) -> Self:
        return cls(
            language=settings.language,
            passage_tokens=settings.passage_tokens,
            overlap_tokens=settings.overlap_tokens,
            whole_documents=settings.whole_documents,
            k1=settings.k1,
            b=settings.b,
            title_weight=settings.title_weight,
            alpha=settings.alpha,
            fields={name: cast(DeclaredKind, kind.value) for name, kind in settings.fields.items()},
            sparse=settings.sparse.value,
            index=settings.index.value,
            synonyms={word: list(others) for word, others in settings.synonyms.items()},
        )


class CreateCollection(RequestModel):
    name: str = Field(description="1 to 128 of the characters A-Z a-z 0-9 . _ -")
    settings: SettingsBody = SettingsBody()
    model: str | None = Field(None, description="name of a configured model that embeds it; else the main one")
    sparse_model: str | None = Field(None, description="name of a configured model of learned sparse vectors")

    def to_settings(self) -> CollectionSettings:
        return self.settings.to_settings(self.sparse_model)


class SettingsChange(RequestModel):
    """Settings that nothing stored depends on; those that are left out stay."""

    alpha: float = Field(0.5, description="weight of the dense leg in searches that name none, 0 to 1")
    k1: float = Field(1.2, description="BM25 term frequency saturation")
    b: float = Field(0.75, description="BM25 length normalisation, 0 to 1")
    synonyms: SynonymsBody = Field(default_factory=dict, description="all of them, in place of those of before")

    @model_validator(mode="before")
    @classmethod
    def _changeable(cls, given: Any) -> Any:
        """Raises InvalidSettings for what cannot be changed."""
        for setting in given if isinstance(given, dict) else ():
            check_changeable(str(setting))
        return given

    def to_changes(self) -> dict[str, Any]:
        changes = {name: getattr(self, name) for name in sorted(self.model_fields_set)}
        return changes | ({"synonyms": to_synonyms(self.synonyms)} if "synonyms" in changes else {})


class ChangeCollection(RequestModel):
    settings: SettingsChange


class CollectionBody(ResponseModel):
    name: str
    documents: int
    passages: int
    settings: SettingsBody
    generation: int = Field(description="the embedding of the collection that answers its searches")
    model: str
    dimension: int
    sparse_model: str | None = Field(description="that the learned weights are made by; null: there are none")
    created_at: str

    @classmethod
    def of(cls, collection: Collection, *, documents: int, passages: int) -> Self:
        return cls(
            name=collection.name,
            documents=documents,
            passages=passages,
            settings=SettingsBody.of(collection.settings),
            generation=collection.active.id,
            model=collection.active.model,
            dimension=collection.active.dimension,
            sparse_model=collection.active.sparse_model,
            created_at=collection.created_at,
        )


class CollectionList(ResponseModel):
    collections: list[CollectionBody]


class DocumentContent(RequestModel):
    text: str = ""
    title: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict, description="any JSON values; filterable where scalar")


def _id_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class DocumentBody(DocumentContent):
    id: Annotated[str | None, BeforeValidator(_id_text, json_schema_input_type=str | int | None)] = Field(
        None, description="unique in the collection; null: derived from the content"
    )


class UpsertDocuments(RequestModel):
    documents: list[DocumentBody] = Field(min_length=1, max_length=10_000)


class DeleteDocuments(RequestModel):
    filter: dict[str, Any] | str = Field(
        description="conditions on metadata, as in a search: documents that satisfy it are deleted",
        examples=[{"price": {"lt": 20}}],
    )


class DeletionReport(ResponseModel):
    seq: int = Field(description="a search that says this seq or a higher one has seen the change")
    deleted: int

    @classmethod
    def of(cls, deletion: Deletion) -> Self:
        return cls(seq=deletion.seq, deleted=deletion.deleted)


class PassageSpan(ResponseModel):
    start: int = Field(description="first character, in code points")
    end: int = Field(description="one past the last character")


class StoredDocumentBody(ResponseModel):
    id: str
    title: str
    text: str
    metadata: Mapping[str, Any]
    language: str
    passages: list[PassageSpan]

    @classmethod
    def of(cls, stored: StoredDocument) -> Self:
        document = stored.document
        return cls(
            id=document.id,
            title=document.title,
            text=document.text,
            metadata=document.metadata,
            language=stored.language,
            passages=[PassageSpan(start=passage.start, end=passage.end) for passage in stored.passages],
        )


class DocumentList(ResponseModel):
    documents: list[StoredDocumentBody]
    next: str | None = Field(description="pass it as `after` for the next page; null: this is the last one")


class RecordFailure(ResponseModel):
    code: str
    reason: str
    id: str | None
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
    """What became of the documents. They can be searched for once this is answered."""

    seq: int = Field(description="a search that says this seq or a higher one has seen the change; 0: nothing was sent")
    created: int
    replaced: int
    updated: int = Field(description="only metadata changed; nothing was embedded")
    unchanged: int
    failed: int
    errors: list[RecordFailure] = Field(description="the first 1,000 failures")
    truncated: list[str] = Field(description="ids of documents of which the model did not read all; the first 1,000")
    duplicates: list[str] = Field(description="ids that were sent more than once: the last one counts")
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
            duplicates=list(report.duplicates),
            passages=report.passages,
            tokens=report.tokens,
        )


def printable(text: str) -> str:
    """`text` with lone surrogates spelt out: UTF-8 cannot carry them."""
    return text.encode("utf-8", "backslashreplace").decode()
