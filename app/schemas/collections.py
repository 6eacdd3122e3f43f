"""The JSON of collections and of their settings."""

from __future__ import annotations

from typing import Any, Literal, Self, cast

from pydantic import ConfigDict, Field, model_validator

from app.schemas.base import RequestModel, ResponseModel, without_defaults
from core.filters import Filter
from core.records import Collection, CollectionSettings, FieldKind, IndexKind, SparseScoring
from core.synonyms import of_groups
from store.catalog import counts
from store.database import ReadSession
from store.settings import check_changeable

NEW_COLLECTION = CollectionSettings()  # the default settings
DeclaredKind = Literal["text", "number", "boolean", "date", "geo"]  # core.records.DECLARABLE


SynonymsBody = dict[str, list[str]] | list[list[str]]


def to_synonyms(given: SynonymsBody) -> dict[str, tuple[str, ...]]:
    """Synonyms in the form of CollectionSettings, by word. Raises InvalidSettings."""
    if isinstance(given, dict):
        return {word: tuple(dict.fromkeys(others)) for word, others in given.items()}
    return of_groups(given)


class SettingsBody(RequestModel):
    """How documents become passages, terms and filterable fields."""

    language: str = Field("auto", description="ISO 639-1 code, or auto: detected for each document")
    passage_tokens: int | None = Field(None, description="tokens of a passage at most; null: what the model reads")
    overlap_tokens: int = Field(
        NEW_COLLECTION.overlap_tokens, description="tokens that a passage repeats from the one before, at most"
    )
    whole_documents: bool = Field(False, description="one passage a document, cut where the model stops reading")
    k1: float = Field(NEW_COLLECTION.k1, description="BM25 term frequency saturation, 0 to 10")
    b: float = Field(NEW_COLLECTION.b, description="BM25 length normalisation, 0 to 1")
    title_weight: int = Field(
        NEW_COLLECTION.title_weight, description="how often BM25 counts a word of a title, 0 to 10; models read it once"
    )
    alpha: float = Field(NEW_COLLECTION.alpha, description="weight of the dense leg in searches that name none, 0 to 1")
    fields: dict[str, DeclaredKind] = Field(
        default_factory=dict,
        description="kinds of metadata fields that are fixed beforehand: a value that does not fit makes "
        "its document an error; dates and places must be declared",
    )

    sparse: Literal["bm25", "learned", "both"] | None = Field(
        None,
        description="the sparse leg: BM25, weights of sparse_model in its place, or both legs; null: learned where "
        "a sparse_model is named, else bm25",
    )
    index: Literal["auto", "exact", "hnsw", "milvus"] = Field(
        "auto",
        description="how the nearest vectors are found: all are read while they are few, then short codes of them "
        "(auto); always all (exact); by a graph (hnsw); or both legs by a Milvus elsewhere that the server is told of "
        "(milvus). Scores are exact with each",
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
    settings: SettingsBody = Field(SettingsBody(), description="what is left out has its default")
    model: str | None = Field(None, description="name of a configured model that embeds it; else the main one")
    sparse_model: str | None = Field(None, description="name of a configured model of learned sparse vectors")

    def to_settings(self) -> CollectionSettings:
        return self.settings.to_settings(self.sparse_model)


class SettingsChange(RequestModel):
    """Settings that nothing stored depends on; those that are left out stay."""

    model_config = ConfigDict(json_schema_extra=without_defaults)

    alpha: float = Field(NEW_COLLECTION.alpha, description="weight of the dense leg in searches that name none, 0 to 1")
    k1: float = Field(NEW_COLLECTION.k1, description="BM25 term frequency saturation, 0 to 10")
    b: float = Field(NEW_COLLECTION.b, description="BM25 length normalisation, 0 to 1")
    synonyms: SynonymsBody = Field(default_factory=dict, description="all of them, in place of the present ones")

    @model_validator(mode="before")
    @classmethod
    def _changeable(cls, given: Any) -> Any:
        """Raises InvalidSettings for a setting that cannot be changed."""
        for setting in given if isinstance(given, dict) else ():
            check_changeable(str(setting))
        return given

    def to_changes(self) -> dict[str, Any]:
        changes = {name: getattr(self, name) for name in sorted(self.model_fields_set)}
        return changes | ({"synonyms": to_synonyms(self.synonyms)} if "synonyms" in changes else {})


class ChangeCollection(RequestModel):
    settings: SettingsChange = Field(description="what is to change; what is left out stays")


class CollectionBody(ResponseModel):
    name: str = Field(description="its own name, also where an alias was asked")
    documents: int = Field(description="in the collection")
    passages: int = Field(description="in the collection")
    settings: SettingsBody = Field(description="as they are now")
    generation: int = Field(description="the embedding of the collection that answers its searches")
    model: str = Field(description="name of the model that embeds it")
    dimension: int = Field(description="length of its vectors")
    sparse_model: str | None = Field(description="that the learned weights are made by; null: there are none")
    created_at: str = Field(description="ISO 8601, in UTC")

    @classmethod
    def held(cls, session: ReadSession, collection: Collection, *, within: Filter | None = None) -> Self:
        """The collection with its counts of documents and passages; `within`: count only documents that satisfy it."""
        found = counts(session, collection.id, within)
        return cls.of(collection, documents=found.documents, passages=found.passages)

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
    collections: list[CollectionBody] = Field(description="by name")
