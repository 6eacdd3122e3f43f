"""The result of a search."""

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
    """Hits, best first, and how they were found."""

    hits: tuple[Hit, ...]
    collection: str
    generation: Generation
    seq: int  # the last committed change that the search saw
    query: Query
    legs: tuple[Leg, ...]  # the legs that were searched
    truncated_query: bool  # whether a model read only the beginning of the query
    sparse_silent: bool  # whether there were sparse legs, but none had a term to search for
    stages_ms: dict[str, float]  # milliseconds by stage
    spans: Sequence[Span] = field(default=(), compare=False)  # when the stages ran; a stage may have several spans
    choice: Choice | None = None  # how the auto fusion weighted the legs, and why
    next: str | None = None  # the cursor of the next page; None: there is none
    start: int | None = 0  # place of the first hit (or group) in the ranking, from 0; None: another passage hides it
    changed: bool = False  # whether the collection changed since the page that the query's cursor came with
    left_out: tuple[str, ...] = ()  # for lack of time: legs, "hits" behind those that are here, "explain" and the like
    profile: Profile | None = None
    groups: tuple[HitGroup, ...] | None = None  # in order; None: hits are not grouped
    facets: Facets | None = None
    suggestions: tuple[Suggestion, ...] = ()  # for words that do not, or hardly, occur in the collection

    @property
    def timed_out(self) -> bool:
        """Whether something that was requested is missing for lack of time."""
        return bool(self.left_out)


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """The amount of work that a search did."""

    pools: Mapping[Leg, int]  # number of passages that each leg found
    depth: int  # passages that were requested of each leg
    candidates: int  # passages that any leg found
    documents: int  # of the candidates
    passages: int  # in the collection
    segments: int  # segments searched
    matches: int | None  # passages that match the filter; None: there is no filter

    @property
    def selectivity(self) -> float | None:
        """The fraction (0..1) of the passages that match the filter; None: there is no filter."""
        return None if self.matches is None else self.matches / self.passages if self.passages else 0.0
