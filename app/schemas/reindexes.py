"""The JSON of reindexes and aliases."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from app.schemas.base import RequestModel, ResponseModel, time_text, without_defaults
from app.schemas.collections import NEW_COLLECTION, DeclaredKind
from core.errors import InvalidInput, InvalidQuery
from core.naming import hidden_name
from core.records import FieldKind, IndexKind, SparseScoring
from core.reindexes import Reindex
from retriever.query import Query
from store.aliases import Alias


class ReindexSettings(RequestModel):
    """The settings to change; those that are left out stay as they are."""

    model_config = ConfigDict(json_schema_extra=without_defaults)

    language: str = Field("auto", description="ISO 639-1 code, or auto: detected for each document")
    passage_tokens: int | None = Field(None, description="tokens of a passage at most; null: what the model reads")
    overlap_tokens: int = Field(
        NEW_COLLECTION.overlap_tokens, description="tokens that a passage repeats from the one before, at most"
    )
    whole_documents: bool = Field(False, description="one passage a document, cut where the model stops reading")
    title_weight: int = Field(
        NEW_COLLECTION.title_weight, description="how often BM25 counts a word of a title, 0 to 10"
    )
    fields: dict[str, DeclaredKind] = Field(default_factory=dict, description="kinds of metadata fields, all of them")
    sparse: Literal["bm25", "learned", "both"] = Field("bm25", description="the sparse leg; as when one is created")
    index: Literal["auto", "exact", "hnsw", "milvus"] = Field("auto", description="how passages are found")

    def given(self) -> dict[str, Any]:
        """The settings that were given, by their names in CollectionSettings."""
        values = {name: getattr(self, name) for name in sorted(self.model_fields_set)}
        if "fields" in values:
            values["fields"] = {name: FieldKind(kind) for name, kind in self.fields.items()}
        if "sparse" in values:
            values["sparse"] = SparseScoring(self.sparse)
        if "index" in values:
            values["index"] = IndexKind(self.index)
        return values


Relevance = Annotated[int, Field(ge=-100, le=100)]


class Judgements(RequestModel):
    """Queries with known relevant documents, by which both generations are searched and compared."""

    queries: dict[str, str] = Field(min_length=1, max_length=10_000, description="text by id")
    qrels: dict[str, dict[str, Relevance]] = Field(
        min_length=1, description="relevance by query id and document id, up to 100; 0: not relevant"
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        """Raises InvalidInput for unusable judgements: an invalid query would block the reindex for good."""
        unknown = sorted(self.qrels.keys() - self.queries.keys())
        if unknown:
            raise InvalidInput(f"judgements.qrels: there is no query {unknown[0]!r:.80}", param="judgements")
        for id_, text in self.queries.items():
            try:
                Query(text=text, k=1)
            except InvalidQuery as error:
                raise InvalidInput(f"judgements.queries, {id_!r:.80}: {error.message}", param="judgements") from error
        return self


class ReindexRequest(RequestModel):
    model: str | None = Field(None, description="name of a configured model; null: that of the collection")
    sparse_model: str | None = Field(None, description="name of a configured sparse model; null: the collection's")
    settings: ReindexSettings = Field(
        ReindexSettings(),
        description="what is to change; what is left out stays",
        json_schema_extra={"default": {}},  # not the fields' defaults: if sent, they would count as changes
    )
    share: float = Field(0.5, description="of the time that it may work, 0.05 to 1; queries go first in any case")
    auto_switch: bool = Field(True, description="let the new generation answer as soon as it is ready")
    grace_seconds: float = Field(3600.0, description="for which the old generation is kept for a rollback")
    min_recall: float = Field(
        0.95, description="of the nearest passages, what the new index must find in a sample of searches"
    )
    judgements: Judgements | None = Field(None, description="to compare both generations by")
    min_gain: float | None = Field(
        None, description="of nDCG@10 by the judgements, what the new one must gain to answer; 0: no loss"
    )


class ReindexBody(ResponseModel):
    id: int = Field(description="number of the reindex")
    collection: str = Field(description="the name that it is for")
    state: Literal["building", "validating", "ready", "switched", "done", "rolled back", "cancelled", "failed"] = Field(
        description="how far it is"
    )
    reason: str | None = Field(description="why it waits, or failed")
    other_generation: str | None = Field(
        description="the name under which the one that does not answer can be searched, to try it; null: it is gone"
    )
    documents: int = Field(description="in the collection when it began, and some that came since")
    done: int = Field(description="of these, brought over")
    waiting: int = Field(description="documents that were written meanwhile, and are still to be brought over")
    passages: int = Field(description="that were embedded")
    tokens: int = Field(description="that the model read")
    share: float = Field(description="of the time that it may work, 0.05 to 1")
    seconds_left: float | None = Field(description="until all is brought over; null: unknown, or it is")
    auto_switch: bool = Field(description="whether the new generation answers as soon as it is ready")
    grace_seconds: float = Field(description="for which the old generation is kept after the switch")
    report: dict[str, Any] | None = Field(description="what comparing both generations found")
    created_at: str = Field(description="ISO 8601, in UTC")
    switched_at: str | None = Field(description="ISO 8601, in UTC; null: not yet")
    ended_at: str | None = Field(description="ISO 8601, in UTC; null: it has not ended")

    @classmethod
    def of(cls, found: Reindex, *, waiting: int) -> Self:
        return cls(
            id=found.id,
            collection=found.collection,
            state=found.state.value,
            reason=found.reason,
            other_generation=None if found.hidden_id is None else hidden_name(found.collection, found.id),
            documents=max(found.total, found.done),
            done=found.done,
            waiting=waiting,
            passages=found.passages,
            tokens=found.tokens,
            share=found.share,
            seconds_left=found.seconds_left,
            auto_switch=found.auto_switch,
            grace_seconds=found.grace_seconds,
            report=None if found.report is None else json.loads(found.report),
            created_at=time_text(found.created_at),
            switched_at=None if found.switched_at is None else time_text(found.switched_at),
            ended_at=None if found.ended_at is None else time_text(found.ended_at),
        )


class ReindexList(ResponseModel):
    reindexes: list[ReindexBody] = Field(description="the newest of each collection, the newest first")


class SetAlias(RequestModel):
    collection: str = Field(description="name of the collection that it stands for")


class AliasBody(ResponseModel):
    alias: str = Field(description="the second name")
    collection: str = Field(description="what it stands for")

    @classmethod
    def of(cls, found: Alias) -> Self:
        return cls(alias=found.name, collection=found.collection)


class AliasList(ResponseModel):
    aliases: list[AliasBody] = Field(description="by name")
