"""Tries changes of a query's emphasis by searching with each of them, so that effects are measured, not predicted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from core.errors import InvalidControl, SalienceError
from core.prompts import MAX_FACTOR, MIN_FACTOR, ControlOptions, TextControl, TokenOverlap
from core.reasons import Steering, Swap
from core.records import Hit
from embedder.lexical.sentences import without_space
from embedder.lexical.words import Word, units
from retriever.extras import Extras
from retriever.query import MAX_CONTROLS, Explain, Query
from retriever.result import SearchResult
from retriever.selection import Selection
from retriever.stopwatch import Stopwatch
from retriever.syntax import render

DEPTH = 100  # documents examined when a single hit is in question
MARGIN = 20  # documents examined behind a page
MAX_WORDS = 6  # words of the query that are tried
FACTORS = (1.2, 0.8, 1.5, 0.6, 2.0, 0.4, 3.0, 5.0, 0.2, 10.0, 0.1, 20.0, 0.05)  # smaller changes first
AGAINST = (2.0, 5.0, 20.0)  # factors for one word; the other word gets the inverse
OPPOSED = 2  # words on either side
RAISING = (2.0, 0.5, 4.0, 0.2)  # factors tried for advice
SHOWN = 3  # maximum number of pieces of advice
_NARROWER = (0.75, 0.5, 0.25)  # fractions of the way from the next smaller factor, on a logarithmic scale
_BARE: dict[str, Any] = {  # a plain ranking by score
    "explain": Explain.NONE, "units": None, "offset": 0, "cursor": None, "timeout_ms": None, "profile": False,
    "extras": Extras(),
}  # fmt: skip

SearchMany = Callable[[Sequence[Query]], Sequence[SearchResult | SalienceError]]  # in one state, encoded together


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Words of the query, and factors for them in addition to the query's own."""

    words: tuple[Word, ...]
    factors: tuple[float, ...]  # (words,)

    def smaller(self) -> list[Change]:
        """Smaller changes of the same word, down towards the next one of FACTORS; none for several words."""
        if len(self.words) > 1:
            return []
        [factor] = self.factors
        size = abs(math.log(factor))
        side = [abs(math.log(f)) for f in FACTORS if (f > 1) == (factor > 1)]
        before = max((other for other in side if other < size), default=0.0)
        sizes = [before + share * (size - before) for share in _NARROWER]
        return [replace(self, factors=(_rounded(math.exp(math.copysign(one, factor - 1))),)) for one in sizes]


class Trials:
    """The rankings under changes of one query. Results are cached. Not thread-safe."""

    def __init__(self, search: SearchMany, query: Query, *, depth: int = DEPTH) -> None:
        """`search`: Searcher.search_many for the collection. `depth`: documents to rank; those below have no rank."""
        self._search = search
        selection = Selection(min_scores=query.selection.min_scores)  # without diversity and groups: ordered by score
        self._query = replace(query, k=depth, selection=selection, **_BARE)
        self._ranks: dict[Change | None, dict[str, int]] = {}

    @property
    def count(self) -> int:
        """The number of searches made."""
        return len(self._ranks)

    def run(self, changes: Sequence[Change | None]) -> None:
        """Search with each change; None: the unchanged query. A change that cannot be applied ranks nothing."""
        new = [change for change in dict.fromkeys(changes) if change not in self._ranks]
        queries = [_steered(self._query, change) for change in new]
        found = iter(self._search([query for query in queries if query is not None]))
        for change, query in zip(new, queries, strict=True):
            result = None if query is None else next(found)
            hits = result.hits if isinstance(result, SearchResult) else ()
            self._ranks[change] = {hit.document_id: place for place, hit in enumerate(hits, start=1)}

    def rank(self, change: Change | None, hit: Hit) -> int | None:
        """The rank of the hit's document under a change, from 1; None: below `depth`."""
        if change not in self._ranks:
            self.run([change])
        return self._ranks[change].get(hit.document_id)

    def steering(self, change: Change, hit: Hit) -> Steering:
        """The change and its effect on the hit's rank."""
        return Steering(**self._told(change, hit))

    def swap(self, change: Change, upper: Hit, lower: Hit) -> Swap:
        """The change, which puts `lower` above `upper`, and its effect on both ranks."""
        upper_ranks: dict[str, Any] = {
            "upper_rank_before": self.rank(None, upper),
            "upper_rank_after": self.rank(change, upper),
        }
        return Swap(**self._told(change, lower), **upper_ranks)

    def _told(self, change: Change, hit: Hit) -> dict[str, Any]:
        query = _steered(self._query, change)
        assert query is not None  # it was searched with
        return {
            "words": tuple(self._query.text[word.start : word.end] for word in change.words),
            "factors": change.factors,
            "query": _written(query),
            "controls": query.controls,
            "rank_before": self.rank(None, hit),
            "rank_after": self.rank(change, hit),
        }


def advice(search: SearchMany, query: Query, hit: Hit, watch: Stopwatch) -> tuple[Steering, ...]:
    """The changes that raise the hit's document most, at most SHOWN; ties are ordered by size, the smallest first.

    Only changes that there was time to try are considered.
    """
    trials = Trials(search, query)
    words = words_to_try(query, [hit])
    tried: list[Change] = []
    for factor in RAISING:
        if watch.late:
            break
        same = [Change(words=(word,), factors=(factor,)) for word in words]
        trials.run([None, *same])
        tried += same
    if not tried:
        return ()
    before = trials.rank(None, hit) or math.inf
    ranks = {change: trials.rank(change, hit) or math.inf for change in tried}
    better = [change for change in tried if ranks[change] < before]
    better.sort(key=lambda change: (ranks[change], abs(math.log(change.factors[0]))))
    return tuple(trials.steering(change, hit) for change in better[:SHOWN])


def words_to_try(query: Query, hits: Sequence[Hit]) -> list[Word]:
    """The words of the query's text that contribute most to any of the hits, at most MAX_WORDS."""
    words = _steerable(query)
    brought = [max((abs(value) for value in values), default=0.0) for values in _brought(words, hits)]
    order = sorted(range(len(words)), key=lambda i: (-brought[i], i))
    return [words[i] for i in order if brought[i]][:MAX_WORDS]


def opposed_words(query: Query, upper: Hit, lower: Hit) -> list[tuple[Word, Word]]:
    """Pairs of a word that favours the lower hit and one that favours the upper hit; only the strongest ones."""
    words = _steerable(query)
    leads = [theirs - ours for ours, theirs in _brought(words, [upper, lower])]
    order = sorted(range(len(words)), key=lambda i: (-leads[i], i))
    return [(words[i], words[j]) for i in order[:OPPOSED] for j in reversed(order[-OPPOSED:]) if leads[i] > leads[j]]


def _steerable(query: Query) -> list[Word]:
    """The words that controls may be placed on; none if the query is a prompt of items, which has its own text."""
    return [] if query.inputs.prompt is not None else list(units(query.text))


def _brought(words: Sequence[Word], hits: Sequence[Hit]) -> list[list[float]]:
    """By word, its contribution to each of the hits."""
    shares = [() if hit.explanation is None else hit.explanation.query_words for hit in hits]
    return [[own[i].dense + own[i].sparse + own[i].learned for own in shares] for i in range(len(words))]


def changes(words: Sequence[Word], against: Sequence[tuple[Word, Word]] = ()) -> list[list[Change]]:
    """The changes to try, by ascending size: single words first, then pairs, the first word against the second."""
    found = [[Change(words=(word,), factors=(factor,)) for word in words] for factor in FACTORS]
    found += [[Change(words=pair, factors=(factor, _rounded(1 / factor))) for pair in against] for factor in AGAINST]
    return [level for level in found if level]


def _steered(query: Query, change: Change | None) -> Query | None:
    """The query with the change applied; None if it exceeds the limits of controls or factors."""
    if change is None:
        controls: tuple[TextControl, ...] = query.controls
    else:
        controls = query.controls
        for word, factor in zip(change.words, change.factors, strict=True):
            controls = _multiplied(query.text, controls, word, factor)
    if len(controls) > MAX_CONTROLS or any(control.factor > MAX_FACTOR for control in controls):
        return None
    return replace(query, controls=controls)


def _multiplied(text: str, controls: tuple[TextControl, ...], word: Word, factor: float) -> tuple[TextControl, ...]:
    """The controls with the factor applied to the word: multiplied into its control, or as a new one.

    A control that covers more than the word is split, because boosts cannot overlap. A token's factor depends on the
    factors of its characters, so splitting does not change it.
    """
    for i, control in enumerate(controls):
        if (control.start, control.end) == (word.start, word.end):
            own = [control]
        elif control.start <= word.start and word.end <= control.end and control.token_overlap is TokenOverlap.PARTIAL:
            borders = pairwise((control.start, word.start, word.end, control.end))
            spans = [span for start, end in borders if (span := without_space(text, start, end)) is not None]
            own = [replace(control, start=start, length=end - start) for start, end in spans]
        else:
            continue
        product = _rounded(max(MIN_FACTOR, min(control.factor * factor, MAX_FACTOR)))
        own = [replace(one, factor=product) if one.start == word.start else one for one in own]
        return (*controls[:i], *own, *controls[i + 1 :])
    return (*controls, TextControl(start=word.start, length=word.end - word.start, factor=factor))


def _written(query: Query) -> str | None:
    """The query written with boosts; None if boosts cannot express all of it."""
    if query.options != ControlOptions():
        return None
    try:
        return render(query.text, query.controls)
    except InvalidControl:
        return None


def _rounded(factor: float) -> float:
    """The factor rounded to two significant digits."""
    return float(f"{factor:.2g}")
