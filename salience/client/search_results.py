"""The results of searches and explanations, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from salience.client.results import Span, Value


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """A factor on a span of the query's text without boost marks."""

    start: int
    length: int
    factor: float
    token_overlap: str = "partial"


@dataclass(frozen=True, kw_only=True, slots=True)
class LegScore:
    raw: float  # cosine, BM25, dot product of learned weights; for rerank the relevance
    norm: float
    weight: float
    rank: int | None = None  # in the leg's own pool; None: not in it


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    start: int
    end: int
    text: str | None = None  # None if `fields` leaves it out


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """An entry of the ledger; if it has details, its value is the sum of theirs."""

    value: float
    kind: str
    description: str
    details: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LegEffect:
    effect: float
    share: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """A word, a sentence, or another part of title or passage."""

    text: str
    start: int
    end: int
    in_title: bool
    effect: float  # how far the score falls without it
    legs: Mapping[str, LegEffect]
    share: float | None = None  # its part of the score; None: the method does not give it


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryWord:
    text: str
    start: int
    end: int
    factor: float
    dense: float
    sparse: float
    learned: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SteeringChange:
    """A change of emphasis that was tried by searching with it."""

    words: tuple[str, ...]
    factors: tuple[float, ...]
    controls: tuple[Control, ...]
    query: str | None = None
    rank_before: int | None = None
    rank_after: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Swap(SteeringChange):
    """A change that swaps two hits. The inherited ranks are the lower hit's, `upper_rank_*` those of the upper one."""

    upper_rank_before: int | None = None
    upper_rank_after: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast:
    """Why a hit is above another."""

    other: int
    ledger: Line
    tried: int
    swap: Swap | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """Why a hit has its score. `dataclasses.asdict` converts it to JSON for storage; `replay` accepts both."""

    ledger: Line
    sentences: tuple[Unit, ...]
    words: tuple[Unit, ...]
    query_words: tuple[QueryWord, ...]
    query_rest: float
    significant: bool  # False: no single word made the match
    units: tuple[Unit, ...]
    advice: tuple[SteeringChange, ...]
    provenance: Mapping[str, Any]
    contrast: Contrast | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Highlight:
    passage: tuple[Span, ...]
    title: tuple[Span, ...]
    sentence: Span | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    id: int  # the argument of `explain`
    document_id: str
    score: float
    scores: Mapping[str, LegScore]  # by leg; and "rerank" if it was reranked
    passage: Passage
    metadata: Mapping[str, Any]
    title: str | None = None
    explanation: Explanation | None = None
    highlight: Highlight | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    hits: tuple[int, ...]  # ids, best first
    value: Value = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FacetValue:
    value: Value
    documents: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Facet:
    values: tuple[FacetValue, ...]
    distinct: int
    without: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Facets:
    documents: int  # documents that match
    fields: Mapping[str, Facet]


@dataclass(frozen=True, kw_only=True, slots=True)
class Meant:
    text: str
    passages: int
    edits: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Suggestion:
    word: str
    start: int
    end: int
    passages: int
    meant: tuple[Meant, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Suggestions:
    query: str  # the query with the likeliest words
    words: tuple[Suggestion, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LegChoice:
    weight: float
    prior: float  # the starting weight
    decisiveness: float
    confirmation: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The weights that the auto fusion chose, and why."""

    agreement: float
    legs: Mapping[str, LegChoice]


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchResult:
    hits: tuple[Hit, ...]
    query: str  # without boost marks
    controls: tuple[Control, ...]
    fusion: Mapping[str, Any]
    legs: tuple[str, ...]
    collection: str
    generation: int
    model: str
    seq: int  # the last change that the search saw
    changed: bool  # whether the collection changed since the page that the cursor came from
    timed_out: bool
    left_out: tuple[str, ...]
    truncated_inputs: tuple[str, ...]
    sparse_silent: bool
    took_ms: Mapping[str, float]
    groups: tuple[Group, ...] | None = None
    facets: Facets | None = None
    suggestions: Suggestions | None = None
    next: str | None = None  # cursor of the next page
    choice: Choice | None = None
    rerank: Mapping[str, Any] | None = None
    profile: Mapping[str, Any] | None = None
    request_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """Whether an explanation still holds."""

    id: int
    agrees: bool
    changed: tuple[str, ...]
    score: float
    difference: float | None = None
    score_now: float | None = None
    request_id: str | None = None
