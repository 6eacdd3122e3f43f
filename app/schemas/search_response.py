"""The JSON of search results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Self

from pydantic import Field

from app.schemas.base import ResponseModel
from app.schemas.documents import PassageSpan
from app.schemas.explanations import ExplanationBody
from app.schemas.inputs import ControlBody
from app.schemas.search_request import FusionBody, RerankBody
from app.schemas.selection import FacetsBody, GroupBody, HighlightBody, SuggestionsBody
from core.records import Hit, LegScore
from retriever.adaptive import Choice
from retriever.fields import Shown
from retriever.result import Profile, SearchResult


class LegChoiceBody(ResponseModel):
    weight: float = Field(description="the leg's weight in the score, 0 to 1; those of all legs add up to 1")
    prior: float = Field(
        description="the weight that it started from: by alpha, and in a query of fewer than four words less of it for "
        "a leg that does not go by words"
    )
    decisiveness: float = Field(
        description="0 to 1: how far its best document stands above the next ones; of a leg that goes by words less "
        "where it knows few of the query's, and where it knows all no less than another leg's"
    )
    confirmation: float = Field(description="0 to 1: what the other legs say of its first documents")


class ChoiceBody(ResponseModel):
    """The weights that the auto fusion chose, and why: the less the legs agree, the more the decisive one counts."""

    agreement: float = Field(description="0 to 1")
    legs: dict[str, LegChoiceBody] = Field(description="by leg")

    @classmethod
    def of(cls, choice: Choice) -> Self:
        return cls(
            agreement=choice.agreement,
            legs={
                leg.value: LegChoiceBody(
                    weight=seen.weight,
                    prior=seen.prior,
                    decisiveness=seen.decisiveness,
                    confirmation=seen.confirmation,
                )
                for leg, seen in choice.legs.items()
            },
        )


class LegScoreBody(ResponseModel):
    raw: float = Field(description="cosine, BM25, dot product of learned weights; of rerank the relevance, 0 to 1")
    rank: int | None = Field(description="rank in the leg's own pool, of rerank by relevance; null: not in it")
    norm: float = Field(
        description="the raw score as the fusion counts it: 0 to 1; under rrf 1 / (k + rank); of rerank the relevance"
    )
    weight: float = Field(description="its weight in the hit's score")

    @classmethod
    def of(cls, score: LegScore) -> Self:
        return cls(raw=score.raw, rank=score.rank, norm=score.norm, weight=score.weight)


class PassageBody(PassageSpan):
    text: str | None = Field(description="null where fields leave it out")


class HitBody(ResponseModel):
    id: int = Field(description="number of the passage; never used again")
    document_id: str = Field(description="the document's own id")
    title: str | None = Field(description="null where fields leave it out")
    metadata: Mapping[str, Any] = Field(description="the document's metadata, as far as fields show it")
    score: float = Field(description="what hits are ranked by; comparable within one answer only")
    scores: dict[str, LegScoreBody] = Field(
        description="by leg; and under rerank, where the hit was judged. The sum of weight * norm is the score; of "
        "judged hits with a constant added, the same for all of them, that the ledger shows"
    )
    passage: PassageBody = Field(description="the best passage of the document")
    explanation: ExplanationBody | None = Field(None, description="null unless explain was asked for")
    highlight: HighlightBody | None = Field(None, description="null unless it was asked for")

    @classmethod
    def of(cls, hit: Hit, shown: Shown) -> Self:
        return cls(
            id=hit.id,
            document_id=hit.document_id,
            title=hit.title if shown.title else None,
            metadata=shown.metadata(hit.metadata),
            score=hit.score,
            scores={leg: LegScoreBody.of(score) for leg, score in hit.scores.items()},
            passage=PassageBody(start=hit.passage.start, end=hit.passage.end, text=hit.text if shown.text else None),
            explanation=None if hit.explanation is None else ExplanationBody.of(hit.explanation),
            highlight=None if hit.highlight is None else HighlightBody.of(hit.highlight),
        )


class FilterProfileBody(ResponseModel):
    passages: int = Field(description="that the filter lets through")
    selectivity: float = Field(description="0 to 1: their share of the collection")


class ProfileBody(ResponseModel):
    """How much work the search did; took_ms has the times."""

    legs: dict[str, int] = Field(description="passages that each leg found by itself")
    depth: int = Field(description="passages that each leg was asked for")
    candidates: int = Field(description="passages that any leg found")
    documents: int = Field(description="of the candidates")
    passages: int = Field(description="in the collection")
    segments: int = Field(description="that were searched")
    filter: FilterProfileBody | None = Field(description="null: there was no filter")

    @classmethod
    def of(cls, profile: Profile) -> Self:
        matches, selectivity = profile.matches, profile.selectivity
        known = matches is not None and selectivity is not None
        return cls(
            legs={leg.value: found for leg, found in profile.pools.items()},
            depth=profile.depth,
            candidates=profile.candidates,
            documents=profile.documents,
            passages=profile.passages,
            segments=profile.segments,
            filter=FilterProfileBody(passages=matches, selectivity=selectivity) if known else None,
        )


class SearchResponse(ResponseModel):
    hits: list[HitBody] = Field(description="best first")
    groups: list[GroupBody] | None = Field(description="of hits that share a value; null without group_by")
    facets: FacetsBody | None = Field(description="null unless they were asked for")
    suggestions: SuggestionsBody | None = Field(description="did you mean; null: there are none")
    next: str | None = Field(
        description="cursor of the next page; null: there is none, or a leg, hits or rerank are left out"
    )
    changed: bool = Field(description="whether the collection changed since the page that the cursor came with")
    timed_out: bool = Field(description="whether timeout_ms was over before all was done")
    left_out: list[str] = Field(
        description='what is missing because of that: legs, "hits" behind these, "rerank", "explain", "contrast", '
        '"advice", "facets", "suggestions"'
    )
    query: str = Field(description="the text that was searched for, without boost marks")
    controls: list[ControlBody] = Field(description="what the query's boosts, emphasis and controls came to")
    fusion: FusionBody = Field(description="how the scores of the legs became one")
    rerank: RerankBody | None = Field(description="null unless a reranker was asked for")
    choice: ChoiceBody | None = Field(description="null unless the fusion was auto, over several legs")
    legs: list[str] = Field(description="that were searched by")
    collection: str = Field(description="its own name, also where an alias was asked")
    generation: int = Field(description="the embedding that answered; changes with a reindex")
    model: str = Field(description="what the query was embedded by")
    seq: int = Field(description="the last change that the search saw")
    truncated_inputs: list[str] = Field(description='["query"] where the model read only its beginning')
    sparse_silent: bool = Field(description="true: the sparse leg had no word to look for, stop words only for example")
    took_ms: dict[str, float] = Field(description="by stage; those of several queries at once are encoded together")
    profile: ProfileBody | None = Field(description="null unless it was asked for")
    request_id: str | None = Field(description="the answer's X-Request-ID")

    @classmethod
    def of(cls, result: SearchResult, *, request_id: str | None = None) -> Self:
        query, shown = result.query, Shown.of(result.query.fields)
        return cls(
            hits=[HitBody.of(hit, shown) for hit in result.hits],
            groups=None if result.groups is None else [GroupBody.of(group) for group in result.groups],
            facets=None if result.facets is None else FacetsBody.of(result.facets),
            suggestions=SuggestionsBody.of(query.text, result.suggestions) if result.suggestions else None,
            next=result.next,
            changed=result.changed,
            timed_out=result.timed_out,
            left_out=list(result.left_out),
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
            rerank=None if query.rerank is None else RerankBody.model_validate(asdict(query.rerank)),
            choice=None if result.choice is None else ChoiceBody.of(result.choice),
            legs=[leg.value for leg in result.legs],
            collection=result.collection,
            generation=result.generation.id,
            model=result.generation.model,
            seq=result.seq,
            truncated_inputs=["query"] if result.truncated_query else [],
            sparse_silent=result.sparse_silent,
            took_ms={stage: round(took, 2) for stage, took in result.stages_ms.items()},
            profile=None if result.profile is None else ProfileBody.of(result.profile),
            request_id=request_id,
        )
