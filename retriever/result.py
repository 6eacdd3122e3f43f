"""What a search answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.records import Generation, Hit
from retriever.adaptive import Choice
from retriever.extras import Facets
from retriever.grouping import HitGroup
from retriever.legs import Leg
from retriever.query import Query
from retriever.stopwatch import Span
from retriever.suggestions import Suggestion


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchResult:
    """Hits, best first, and what they were found in."""

    hits: tuple[Hit, ...]
    collection: str
    generation: Generation
    seq: int  # the committed change that the search saw as the last
    query: Query
    legs: tuple[Leg, ...]  # that it searched by
    truncated_query: bool  # whether a model read only the beginning of the query
    sparse_silent: bool  # whether sparse legs were asked and none has anything to look for
    stages_ms: dict[str, float]  # milliseconds by stage
    spans: Sequence[Span] = field(default=(), compare=False)  # when each of them ran; of one stage there may be several
    choice: Choice | None = None  # how the auto fusion weighed the legs, and why
    next: str | None = None  # the cursor of the next page; None: there is none
    start: int | None = 0  # place of the first hit (or group) in the ranking, from 0; None: another passage hides it
    changed: bool = False  # whether the collection changed since the page that the query's cursor came with
    left_out: tuple[str, ...] = ()  # for lack of time: legs, "hits" behind those that are here, "explain" and the like
    profile: Profile | None = None
    groups: tuple[HitGroup, ...] | None = None  # in order; None: hits are not grouped
    facets: Facets | None = None
    suggestions: tuple[Suggestion, ...] = ()  # for words that the collection does not hold, or hardly

    @property
    def timed_out(self) -> bool:
        """Whether the answer is less than what was asked for."""
        return bool(self.left_out)


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """What a search had to do."""

    pools: Mapping[Leg, int]  # passages that each leg found by itself
    depth: int  # passages that each leg was asked for
    candidates: int  # passages that any leg found
    documents: int  # of the candidates
    passages: int  # in the collection
    segments: int  # that were searched
    matches: int | None  # passages that the filter lets through; None: there is no filter

    @property
    def selectivity(self) -> float | None:
        """0..1, what share of the passages the filter lets through."""
        return None if self.matches is None else self.matches / self.passages if self.passages else 0.0
