"""The JSON of a search result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Self

from pydantic import Field

from app.schemas import PassageSpan, ResponseModel
from app.search_request import ControlBody, FusionBody
from core.records import Hit, HitExplanation
from retriever.searcher import SearchResult


class LegChoiceBody(ResponseModel):
    weight: float
    decisiveness: float = Field(description="0 to 1: how far its best document stands above the next ones")
    confirmation: float = Field(description="0 to 1: what the other legs say of its first documents")


class ChoiceBody(ResponseModel):
    """The weights that the auto fusion chose, and why: the less the legs agree, the more the decisive one gets."""

    agreement: float = Field(description="0 to 1")
    legs: dict[str, LegChoiceBody]


class LegScoreBody(ResponseModel):
    raw: float = Field(description="cosine, BM25, or dot product of learned weights")
    rank: int | None = Field(description="rank in the leg's own pool; null: not in it")
    norm: float
    weight: float


class PassageBody(PassageSpan):
    text: str


class LineBody(ResponseModel):
    """A line of the ledger; its value is the sum of its details' values."""

    value: float
    kind: str
    description: str
    details: list[LineBody]


class WordBody(ResponseModel):
    text: str
    start: int
    end: int
    in_title: bool
    share: float = Field(description="its part of the score")
    effect: float = Field(description="how far the score falls without it")


class QueryWordBody(ResponseModel):
    text: str
    start: int
    end: int
    factor: float
    dense: float
    sparse: float
    learned: float


class ExplanationBody(ResponseModel):
    ledger: LineBody
    words: list[WordBody]
    query_words: list[QueryWordBody]
    query_rest: float
    significant: bool = Field(description="false: no single word made the match")
    provenance: Mapping[str, Any]

    @classmethod
    def of(cls, explanation: HitExplanation) -> Self:
        return cls.model_validate(asdict(explanation))


class HitBody(ResponseModel):
    id: int
    document_id: str
    title: str
    metadata: Mapping[str, Any]
    score: float
    scores: dict[str, LegScoreBody]
    passage: PassageBody
    explanation: ExplanationBody | None = None

    @classmethod
    def of(cls, hit: Hit) -> Self:
        return cls(
            id=hit.id,
            document_id=hit.document_id,
            title=hit.title,
            metadata=hit.metadata,
            score=hit.score,
            scores={leg: LegScoreBody(**asdict(score)) for leg, score in hit.scores.items()},
            passage=PassageBody(start=hit.passage.start, end=hit.passage.end, text=hit.text),
            explanation=None if hit.explanation is None else ExplanationBody.of(hit.explanation),
        )


class SearchResponse(ResponseModel):
    hits: list[HitBody]
    query: str = Field(description="the text that was searched for, without boost marks")
    controls: list[ControlBody] = Field(description="what the query's boosts, emphasis and controls came to")
    fusion: FusionBody
    choice: ChoiceBody | None = Field(description="null unless the fusion was auto, over several legs")
    legs: list[str]
    collection: str
    generation: int
    model: str
    seq: int = Field(description="the last change that the search saw")
    truncated_inputs: list[str] = Field(description='["query"] where the model read only its beginning')
    sparse_silent: bool = Field(description="true: the sparse leg had no word to look for, stop words only for example")
    took_ms: dict[str, float]
    request_id: str | None

    @classmethod
    def of(cls, result: SearchResult, *, request_id: str | None = None) -> Self:
        query = result.query
        return cls(
            hits=[HitBody.of(hit) for hit in result.hits],
            query=query.text,
            controls=[
                ControlBody(
                    start=control.start,
                    length=control.length,
                    factor=control.factor,
                    token_overlap=control.token_overlap.value,
                )
                for control in query.controls
            ],
            fusion=FusionBody(
                method=query.fusion.method,
                alpha=query.fusion.alpha,
                k=query.fusion.k,
                weights=list(query.fusion.weights),
                learned=query.fusion.learned,
            ),
            choice=None if result.choice is None else ChoiceBody.model_validate(asdict(result.choice)),
            legs=[leg.value for leg in result.legs],
            collection=result.collection,
            generation=result.generation.id,
            model=result.generation.model,
            seq=result.seq,
            truncated_inputs=["query"] if result.truncated_query else [],
            sparse_silent=result.sparse_silent,
            took_ms={stage: round(took, 2) for stage, took in result.stages_ms.items()},
            request_id=request_id,
        )
