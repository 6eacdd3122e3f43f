"""The JSON of a search request, and how it becomes a Query."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from app.schemas import RequestModel
from core.errors import InvalidQuery
from core.filters import parse_filter
from core.prompts import ControlOptions, ControlTarget, TextControl, TokenOverlap
from retriever.fusion import Fusion
from retriever.legs import Leg
from retriever.query import Explain, Query, steer

LegName = Literal["dense", "sparse", "learned"]


class ControlBody(RequestModel):
    """Emphasis (factor above 1) or suppression (below 1) of a span of the query's text."""

    start: int = Field(description="first character, in code points of the text without boost marks")
    length: int = Field(description="in code points")
    factor: float = Field(description="0 suppresses fully, 1 changes nothing")
    token_overlap: Literal["partial", "complete"] = Field(
        "partial", description="a token that is touched in part: steered in part, or in full"
    )


class SteeringBody(RequestModel):
    """How controls act on the model."""

    target: Literal["auto", "attention", "pool", "both"] = Field(
        "auto", description="where factors act in the model; auto: the attention and the pool, each where it serves"
    )
    contextual_threshold: float | None = Field(
        None, description="cosine -1 to 1 from which similar tokens are steered along; null: off"
    )
    log_additive: bool = Field(
        True, description="in the attention: log of the factor added to the scores; false: scores multiplied"
    )


class FusionBody(RequestModel):
    method: str = Field(
        "auto", description="auto: a convex combination whose weights are chosen for the query; convex; or rrf"
    )
    alpha: float | None = Field(
        None,
        description="weight of the dense leg, 0 to 1: of convex; where auto starts from; null: the collection's own",
    )
    k: float = Field(60.0, description="rrf: how slowly the ranks fade")
    weights: list[float] = Field([1.0, 1.0], min_length=2, max_length=2, description="rrf: of dense and sparse leg")
    learned: float = Field(
        0.5, description="the learned leg's part of the sparse weight, 0 to 1, where a collection has BM25 beside it"
    )


def _fusion_object(value: Any) -> Any:
    return {"method": value} if isinstance(value, str) else value


class QueryBody(RequestModel):
    """A query and everything that steers it."""

    query: str = Field(
        description='text; with boosts: play^7, "tv show"^0.2, backslash escapes', examples=["play^7 on my TV"]
    )
    boosts: bool = Field(True, description="whether boost marks are read; false: the text is taken as it is")
    emphasis: dict[str, float] = Field(default_factory=dict, description="factor by word of the query")
    controls: list[ControlBody] = Field(default_factory=list, max_length=1000, description="factors by span")
    steering: SteeringBody = SteeringBody()
    filter: dict[str, Any] | str | None = Field(
        None,
        description='conditions on metadata, as JSON or as a line of text: price < 20 and brand in ("HP", "Xerox")',
        examples=[{"price": {"gte": 10, "lt": 20}}],
    )
    fusion: Annotated[FusionBody, BeforeValidator(_fusion_object, json_schema_input_type=FusionBody | str)] = Field(
        FusionBody(), description="how the legs' scores become one; a text stands for the method alone"
    )
    legs: list[LegName] | None = Field(
        None, description="legs to search by, of those that the collection has; null: all of them"
    )

    min_seq: int | None = Field(
        None,
        description="see at least this change of the collection: the seq that a write was answered with",
        ge=0,
        le=2**63 - 1,
    )
    timeout_seconds: float = Field(2.0, description="how long to wait for min_seq at most", ge=0, le=10)

    def to_query(self, *, k: int = 1, offset: int = 0, explain: str = Explain.NONE) -> Query:
        """Raises InvalidQuery, InvalidControl, InvalidFilter."""
        controls = [
            TextControl(
                start=control.start,
                length=control.length,
                factor=control.factor,
                token_overlap=TokenOverlap(control.token_overlap),
            )
            for control in self.controls
        ]
        text, controls_of_text = steer(self.query, emphasis=self.emphasis, controls=controls, boosts=self.boosts)
        return Query(
            text=text,
            controls=controls_of_text,
            options=ControlOptions(
                contextual_threshold=self.steering.contextual_threshold,
                log_additive=self.steering.log_additive,
                target=ControlTarget(self.steering.target),
            ),
            k=k,
            offset=offset,
            legs=None if self.legs is None else tuple(Leg(leg) for leg in self.legs),
            fusion=self._fusion(),
            filter=None if self.filter is None else parse_filter(self.filter),
            explain=Explain(explain),
        )

    def _fusion(self) -> Fusion:
        dense, sparse = self.fusion.weights
        said = self.fusion
        return Fusion(method=said.method, alpha=said.alpha, k=said.k, weights=(dense, sparse), learned=said.learned)


class SearchRequest(QueryBody):
    k: int = Field(10, description="hits, 1 to the server's limit")
    offset: int = Field(0, description="hits to skip")
    explain: Literal["none", "scores", "words"] = Field(
        "none", description="reasons of each hit: none; the ledger down to legs and terms; or down to words"
    )

    def to_search(self, *, most: int) -> Query:
        """The query; `most` is the server's limit of k. Raises InvalidQuery, InvalidControl, InvalidFilter."""
        if not 1 <= self.k <= most:
            raise InvalidQuery(f"k is {self.k}; allowed are 1 to {most}", param="k")
        return self.to_query(k=self.k, offset=self.offset, explain=self.explain)


class ExplainRequest(QueryBody):
    id: int = Field(description="the hit's id")
