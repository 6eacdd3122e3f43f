"""The JSON of explanations: their lines, words, contrasts and advice, and the result of replaying one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Self

from pydantic import Field

from app.schemas.base import RequestModel, ResponseModel
from app.schemas.inputs import ControlBody
from core.reasons import HitExplanation
from retriever.replay import Changed, Replay


class LineBody(ResponseModel):
    """A line of the ledger; its value is the sum of its details' values."""

    value: float = Field(description="its part of the score; the details' values add up to it")
    kind: str = Field(
        description="stable name: score, leg, cosine, term, word, context, rerank, constant, residual, difference"
    )
    description: str = Field(description="what the line is, for people")
    details: list[LineBody] = Field(description="the lines that it is the sum of; empty: it is not divided further")


class LegEffectBody(ResponseModel):
    """In the leg's own units: cosine, BM25, dot product of learned weights."""

    share: float | None = Field(description="its part of the leg's raw score; null: the method does not tell")
    effect: float = Field(description="how far the leg's raw score falls without it")


class WordBody(ResponseModel):
    text: str = Field(description="the word as it is written")
    start: int = Field(description="first character, in code points of the passage's text, or of the title")
    end: int = Field(description="one past the last character")
    in_title: bool = Field(description="whether it stands in the title")
    share: float = Field(description="its part of the score")
    effect: float = Field(description="how far the score falls without it")
    legs: dict[str, LegEffectBody] = Field(description="share and effect by leg")


class UnitBody(ResponseModel):
    """A sentence, or another part of title or passage."""

    text: str = Field(description="the part as it is written")
    start: int = Field(description="first character, in code points of the passage's text, or of the title")
    end: int = Field(description="one past the last character")
    in_title: bool = Field(description="whether it stands in the title")
    share: float | None = Field(description="its part of the score; null: the method does not tell")
    effect: float = Field(description="how far the score falls without it")
    legs: dict[str, LegEffectBody] = Field(description="share and effect by leg")


class QueryWordBody(ResponseModel):
    text: str = Field(description="the word as it is written")
    start: int = Field(description="first character, in code points of the query's text")
    end: int = Field(description="one past the last character")
    factor: float = Field(description="what it was steered by; 1: not steered")
    dense: float = Field(description="its part of the score through the dense leg")
    sparse: float = Field(description="its part of the score through the sparse leg")
    learned: float = Field(description="its part of the score through the learned leg")


class SteeringChangeBody(ResponseModel):
    """A change of the query's emphasis, tried out by a search with it."""

    words: list[str] = Field(description="words of the query whose emphasis changes")
    factors: list[float] = Field(description="of the words, on top of those that the query has")
    query: str | None = Field(description="the query with boosts, to search with; null: boosts cannot say it")
    controls: list[ControlBody] = Field(description="the same, as spans of the query's text")
    rank_before: int | None = Field(description="of the hit's document; null: behind those that were looked at")
    rank_after: int | None = Field(
        description="of the hit's document, by searching with the change; null: behind those that were looked at"
    )


class SwapBody(SteeringChangeBody):
    """A change that moves the other hit above this one. Both may fall in rank, the other one by less."""

    rank_before: int | None = Field(description="of the other hit's document; null: behind those that were looked at")
    rank_after: int | None = Field(
        description="of the other hit's document, by searching with the change; larger than before: both have fallen"
    )
    upper_rank_before: int | None = Field(
        description="of the document of the hit that stands above; null: behind those that were looked at"
    )
    upper_rank_after: int | None = Field(
        description="of that document, by searching with the change; null: behind those that were looked at"
    )


class ContrastBody(ResponseModel):
    """Why one hit ranks above another."""

    other: int = Field(description="id of the other hit")
    ledger: LineBody = Field(description="the difference of the two scores, by leg and by word of the query")
    swap: SwapBody | None = Field(
        description="the smallest change of those tried that puts the other hit above without a fall of its own; "
        "where it falls by all of them, the smallest; null: none puts it above"
    )
    tried: int = Field(description="searches that this took, for all hits of the page together")


class ExplanationBody(ResponseModel):
    ledger: LineBody = Field(description="the score, as lines that add up")
    sentences: list[UnitBody] = Field(description="of title and passage, in text order")
    words: list[WordBody] = Field(description="of title and passage, in text order")
    query_words: list[QueryWordBody] = Field(description="words of the query, in text order")
    query_rest: float = Field(
        description="special tokens, prefix and constants: together with the query's words they add up to the score"
    )
    significant: bool = Field(description="false: no single word made the match")
    units: list[UnitBody] = Field(description="the parts by the method that was asked for; else empty")
    contrast: ContrastBody | None = Field(description="why this hit is above another; null unless it was asked for")
    advice: list[SteeringChangeBody] = Field(description="what raises the hit; empty unless it was asked for")
    provenance: Mapping[str, Any] = Field(description="all that is needed to compute this again")

    @classmethod
    def of(cls, explanation: HitExplanation) -> Self:
        return cls.model_validate(explanation, from_attributes=True)


class ReplayRequest(RequestModel):
    explanation: dict[str, Any] = Field(description="an explanation, as a search or /explain gave it")


class ReplayResponse(ResponseModel):
    id: int = Field(description="the hit's id")
    agrees: bool = Field(description="whether all numbers are within 1e-5 of what they were")
    difference: float | None = Field(
        description="the largest one; null: it cannot be computed again, or has other lines"
    )
    changed: list[Changed] = Field(
        description="since then: the model, the generation (embedded again), the document, or the collection around it"
    )
    score: float = Field(description="the one that was explained")
    score_now: float | None = Field(description="null: the hit is gone")
    request_id: str | None = Field(None, description="the answer's X-Request-ID")

    @classmethod
    def of(cls, replayed: Replay, *, request_id: str | None = None) -> Self:
        return cls(**asdict(replayed), request_id=request_id)
