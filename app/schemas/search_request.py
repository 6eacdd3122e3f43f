"""The JSON of a search request, and how it becomes a Query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from app.schemas.base import RequestModel
from app.schemas.inputs import ControlBody, DocumentOrHit, InputsBody
from app.schemas.selection import ConditionsBody, LegName, SelectionBody, ThresholdsBody
from core.errors import InvalidControl, InvalidQuery
from core.filters import parse_filter
from core.prompts import ControlOptions, ControlTarget, TextControl
from embedder.explaining.request import DEFAULT_FACTOR, Granularity
from retriever.extras import Extras
from retriever.fields import MAX_FIELDS
from retriever.fusion import Fusion
from retriever.inputs import text_of
from retriever.legs import Leg
from retriever.query import MAX_CONTROLS, MAX_TIMEOUT_MS, Explain, Query, steer
from retriever.rerank import Rerank
from retriever.selection import Selection
from retriever.unit_request import UnitMethod, UnitRequest
from store.schema import MAX_ID

WAIT_SECONDS = 2.0  # for min_seq, if no timeout is given
MAX_WAIT_SECONDS = 10.0


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
        description="weight of the dense leg, 0 to 1: of convex; where auto starts from in queries of four words or "
        "more, and from less of it in shorter ones; null: the collection's own",
    )
    k: float = Field(60.0, description="rrf: how slowly the ranks fade, 1 to 1e6")
    weights: list[float] = Field(
        [1.0, 1.0], min_length=2, max_length=2, description="rrf: of dense and sparse leg, 0 to 1e15, not both 0"
    )
    learned: float = Field(
        0.5, description="the learned leg's part of the sparse weight, 0 to 1, where a collection has BM25 beside it"
    )


class RerankBody(RequestModel):
    model: str = Field(description="a reranker of the settings")
    depth: int = Field(50, description="documents that it judges, the first of the fused ranking: 1 to 200")
    weight: float = Field(
        1.0, description="of its judgement in their scores, 0 to 1; the fused score, brought to 0..1, has the rest"
    )


def _fusion_object(value: Any) -> Any:
    return {"method": value} if isinstance(value, str) else value


def _rerank_object(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


class QueryBody(ConditionsBody, InputsBody):
    """A query and everything that steers it."""

    query: str | None = Field(
        None,
        description='text; with boosts: play^7, "tv show"^0.2, backslash escapes; may be left out where prompt, '
        "vector, sparse_vector or like say what to look for",
        examples=["play^7 on my TV"],
    )
    boosts: bool = Field(True, description="whether boost marks are read; false: the text is taken as it is")
    emphasis: dict[str, float] = Field(default_factory=dict, description="factor by word of the query")
    controls: list[ControlBody] = Field(default_factory=list, max_length=MAX_CONTROLS, description="factors by span")
    steering: SteeringBody = Field(SteeringBody(), description="how factors act on the model")
    filter: dict[str, Any] | str | None = Field(
        None,
        description='conditions on metadata, as JSON or as a line of text: price < 20 and brand in ("HP", "Xerox")',
        examples=[{"price": {"gte": 10, "lt": 20}}],
    )
    fusion: Annotated[FusionBody, BeforeValidator(_fusion_object, json_schema_input_type=FusionBody | str)] = Field(
        FusionBody(),
        description="how the legs' scores become one; a text stands for the method alone",
        json_schema_extra={"default": "auto"},  # client generators cannot write an object as a default
    )
    rerank: Annotated[
        RerankBody | None, BeforeValidator(_rerank_object, json_schema_input_type=RerankBody | str | None)
    ] = Field(
        None,
        description="a cross-encoder judges the first documents again, by query and passage; a text stands for the "
        "model alone; null: it does not",
    )
    legs: list[LegName] | None = Field(
        None, description="legs to search by, of those that the collection has; null: all of them"
    )

    min_seq: int | None = Field(
        None,
        description="see at least this change of the collection: the seq that a write was answered with",
        ge=0,
        le=MAX_ID,
    )
    timeout_ms: int | None = Field(
        None,
        description="milliseconds for the whole answer, waiting for min_seq included; what could not be done by then "
        "is left out, and named in left_out. null: any number, of which 2000 to wait for min_seq",
        ge=1,
        le=MAX_TIMEOUT_MS,
    )

    def to_query(
        self,
        *,
        k: int = 1,
        offset: int = 0,
        explain: str = Explain.NONE,
        cursor: str | None = None,
        fields: Sequence[str] | None = None,
        profile: bool = False,
        selection: Selection | None = None,
        extras: Extras | None = None,
    ) -> Query:
        """The Query. Raises InvalidInput and its subclasses InvalidQuery, InvalidControl and InvalidFilter."""
        said, conditions = self.to_conditions(self.query, boosts=self.boosts)
        text, controls = self._text(said)
        return Query(
            conditions=conditions,
            selection=selection or Selection(),
            extras=extras or Extras(),
            text=text,
            controls=controls,
            inputs=self.to_inputs(),
            cursor=cursor,
            fields=None if fields is None else tuple(fields),
            timeout_ms=self.timeout_ms,
            profile=profile,
            options=ControlOptions(
                contextual_threshold=self.steering.contextual_threshold,
                log_additive=self.steering.log_additive,
                target=ControlTarget(self.steering.target),
            ),
            k=k,
            offset=offset,
            legs=None if self.legs is None else tuple(Leg(leg) for leg in self.legs),
            fusion=self._fusion(),
            rerank=None if self.rerank is None else Rerank(**self.rerank.model_dump()),
            filter=None if self.filter is None else parse_filter(self.filter),
            explain=Explain(explain),
        )

    @property
    def wait_seconds(self) -> float:
        """Seconds to wait for min_seq at most."""
        return WAIT_SECONDS if self.timeout_ms is None else min(self.timeout_ms / 1000, MAX_WAIT_SECONDS)

    def _text(self, said: str | None) -> tuple[str, tuple[TextControl, ...]]:
        """The text of the query's words, and the controls that steer them. `said`: `query` without operators."""
        if self.query is not None and self.prompt is not None:
            raise InvalidQuery("give query or prompt, not both: a prompt's texts are the query's words", param="prompt")
        if said is not None:
            controls = [control.to_control() for control in self.controls]
            return steer(said, emphasis=self.emphasis, controls=controls, boosts=self.boosts)
        if self.emphasis or self.controls:
            raise InvalidControl(
                "emphasis and controls steer the text of query; those of a prompt stand with its items",
                param="emphasis" if self.emphasis else "controls",
            )
        prompt = self.to_prompt()
        return ("", ()) if prompt is None else text_of(prompt)

    def _fusion(self) -> Fusion:
        dense, sparse = self.fusion.weights
        said = self.fusion
        return Fusion(method=said.method, alpha=said.alpha, k=said.k, weights=(dense, sparse), learned=said.learned)


_ELSEWHERE = {  # in Elasticsearch, Qdrant, Weaviate, Vespa and others
    "k": ("size", "limit", "top_k", "topk", "top", "hits", "num_results", "n_results"),
    "offset": ("from", "skip"),
    "cursor": ("search_after", "after"),
    "query": ("q", "text", "query_text", "query_string"),
    "filter": ("where", "filters", "query_filter", "post_filter"),
    "facets": ("aggs", "aggregations"),
    "fields": ("_source", "with_payload", "include", "select", "return_properties"),
    "group_by": ("collapse", "group", "group_field"),
    "hits_per_group": ("group_size",),
    "min_scores": ("min_score", "score_threshold"),
    "like": ("more_like_this", "positive"),
    "unlike": ("negative",),
    "legs": ("search_type", "mode"),
    "timeout_ms": ("timeout",),
}


class SearchRequest(SelectionBody, QueryBody):
    elsewhere: ClassVar[Mapping[str, str]] = {name: here for here, names in _ELSEWHERE.items() for name in names}

    k: int = Field(10, description="hits, 1 to the server's limit")
    offset: int = Field(0, description="hits to skip")
    cursor: str | None = Field(
        None, description="the text of `next` of the page before, in place of offset", max_length=200
    )
    fields: list[str] | None = Field(
        None,
        description="what to return of a hit's document: title, text, metadata, metadata.PATH; null: all of it; []: "
        "ids and scores alone",
        max_length=MAX_FIELDS,
        examples=[["title", "metadata.price"]],
    )
    profile: bool = Field(False, description="say what the search had to do")
    explain: Literal["none", "scores", "words", "contrast"] = Field(
        "none",
        description="reasons of each hit: none; the ledger down to legs and terms; or down to words and sentences; "
        "contrast: also why it is above the next one, and what swaps the two",
    )

    def to_search(self, *, most: int) -> Query:
        """The Query; `most` is the server's limit of k. Raises InvalidQuery, InvalidControl, InvalidFilter."""
        if not 1 <= self.k <= most:
            raise InvalidQuery(f"k is {self.k}; allowed are 1 to {most}", param="k")
        return self.to_query(
            k=self.k,
            offset=self.offset,
            explain=self.explain,
            cursor=self.cursor,
            fields=self.fields,
            profile=self.profile,
            selection=self.to_selection(),
            extras=self.to_extras(),
        )


class ExplainRequest(ThresholdsBody, QueryBody):
    id: DocumentOrHit = Field(
        description="the hit's id (a number), or that of a document (a text), of which the passage is explained that a "
        "search shows"
    )
    method: Literal["leave_one_out", "atman", "integrated_gradients"] = Field(
        "leave_one_out",
        description="how the parts of the passage are judged: words and sentences by leave-one-out in the pool, "
        "always; beside it units, suppressed one by one in the whole network (atman), or by its gradients",
    )
    granularity: Literal["token", "word", "sentence", "paragraph"] | None = Field(
        None, description="what a unit is; null: what cuts the passage into about 30"
    )
    control_factor: float | None = Field(
        None, description=f"atman: the factor on the unit that is suppressed, 0 to below 1; null: {DEFAULT_FACTOR}"
    )
    above: DocumentOrHit | None = Field(
        None, description="another hit, or another document: explain why this one is above it"
    )
    advise: bool = Field(False, description="also say which emphasis would raise the hit")

    def to_explain(self) -> Query:
        """The Query for an explanation of words. Raises as `to_query`."""
        if self.control_factor is not None and self.method != "atman":
            raise InvalidQuery(
                f"control_factor goes with the method atman; {self.method} suppresses nothing by a factor",
                param="control_factor",
            )
        query = self.to_query(explain=Explain.WORDS, selection=Selection(min_scores=self.thresholds))
        if self.method == "leave_one_out":
            if self.granularity is not None:
                raise InvalidQuery(
                    "granularity goes with the methods atman and integrated_gradients; leave_one_out always tells "
                    "words and sentences",
                    param="granularity",
                )
            return query
        units = UnitRequest(
            method=UnitMethod(self.method),
            granularity=None if self.granularity is None else Granularity(self.granularity),
            control_factor=DEFAULT_FACTOR if self.control_factor is None else self.control_factor,
        )
        return replace(query, units=units)
