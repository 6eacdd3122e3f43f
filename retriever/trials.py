"""Changes of a query's emphasis, tried by searching with each of them: what they do is seen, not predicted."""

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

DEPTH = 100  # documents that are looked at where one hit is in question
MARGIN = 20  # documents that are looked at behind a page
MAX_WORDS = 6  # of the query, that are tried
FACTORS = (1.2, 0.8, 1.5, 0.6, 2.0, 0.4, 3.0, 5.0, 0.2, 10.0, 0.1, 20.0, 0.05)  # the smaller change first
AGAINST = (2.0, 5.0, 20.0)  # of one word, and its inverse of another
OPPOSED = 2  # words on either side
RAISING = (2.0, 0.5, 4.0, 0.2)
SHOWN = 3  # pieces of advice
_NARROWER = (0.75, 0.5, 0.25)  # of the way from the next smaller factor, on the scale of logarithms
_BARE: dict[str, Any] = {  # a plain ranking by score
    "explain": Explain.NONE, "units": None, "offset": 0, "cursor": None, "timeout_ms": None, "profile": False,
    "extras": Extras(),
}  # fmt: skip

SearchMany = Callable[[Sequence[Query]], Sequence[SearchResult | SalienceError]]  # in one state, encoded together


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Words of the query, and the factors that they are steered by on top of what the query says."""

    words: tuple[Word, ...]
    factors: tuple[float, ...]  # (words,)

    def smaller(self) -> list[Change]:
        """The same word by smaller and smaller factors, down to the next one of FACTORS; none for several words."""
        if len(self.words) > 1:
            return []
        [factor] = self.factors
        size = abs(math.log(factor))
        side = [abs(math.log(f)) for f in FACTORS if (f > 1) == (factor > 1)]
        before = max((other for other in side if other < size), default=0.0)
        sizes = [before + share * (size - before) for share in _NARROWER]
        return [replace(self, factors=(_rounded(math.exp(math.copysign(one, factor - 1))),)) for one in sizes]


class Trials:
    """The rankings under changes of one query. What was tried is not searched again; for one thread."""

    def __init__(self, search: SearchMany, query: Query, *, depth: int = DEPTH) -> None:
        """`search`: as Searcher.search_many of the collection. `depth`: documents; those behind rank nowhere."""
        self._search = search
        selection = Selection(min_scores=query.selection.min_scores)  # diversity and groups have orders of their own
        self._query = replace(query, k=depth, selection=selection, **_BARE)
        self._ranks: dict[Change | None, dict[str, int]] = {}

    @property
    def count(self) -> int:
        """Searches that were made."""
        return len(self._ranks)

    def run(self, changes: Sequence[Change | None]) -> None:
        """Search under each; None: the query as it is. One that the query cannot take ranks nothing."""
        new = [change for change in dict.fromkeys(changes) if change not in self._ranks]
        queries = [_steered(self._query, change) for change in new]
        found = iter(self._search([query for query in queries if query is not None]))
        for change, query in zip(new, queries, strict=True):
            result = None if query is None else next(found)
            hits = result.hits if isinstance(result, SearchResult) else ()
            self._ranks[change] = {hit.document_id: place for place, hit in enumerate(hits, start=1)}

    def rank(self, change: Change | None, hit: Hit) -> int | None:
        """Of the hit's document, from 1; None: behind the depth."""
        if change not in self._ranks:
            self.run([change])
        return self._ranks[change].get(hit.document_id)

    def steering(self, change: Change, hit: Hit) -> Steering:
        """The change, and what it does to the hit."""
        return Steering(**self._told(change, hit))

    def swap(self, change: Change, upper: Hit, lower: Hit) -> Swap:
        """The change, which puts `lower` above `upper`, and what it does to both."""
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
    """The changes that raise the hit's document most, of equal ones the smallest first; at most SHOWN.

    Of those that there was time for.
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
    """The words of the query's text that brought the most to any of the hits, at most MAX_WORDS."""
    words = _steerable(query)
    brought = [max((abs(value) for value in values), default=0.0) for values in _brought(words, hits)]
    order = sorted(range(len(words)), key=lambda i: (-brought[i], i))
    return [words[i] for i in order if brought[i]][:MAX_WORDS]


def opposed_words(query: Query, upper: Hit, lower: Hit) -> list[tuple[Word, Word]]:
    """Words that speak for the lower hit, each with one that speaks for the upper; the clearest ones alone."""
    words = _steerable(query)
    leads = [theirs - ours for ours, theirs in _brought(words, [upper, lower])]
    order = sorted(range(len(words)), key=lambda i: (-leads[i], i))
    return [(words[i], words[j]) for i in order[:OPPOSED] for j in reversed(order[-OPPOSED:]) if leads[i] > leads[j]]


def _steerable(query: Query) -> list[Word]:
    """The words that a control may stand on: of a prompt of items none, whose text is theirs and not the query's."""
    return [] if query.inputs.prompt is not None else list(units(query.text))


def _brought(words: Sequence[Word], hits: Sequence[Hit]) -> list[list[float]]:
    """By word, what it brought to each of the hits."""
    shares = [() if hit.explanation is None else hit.explanation.query_words for hit in hits]
    return [[own[i].dense + own[i].sparse + own[i].learned for own in shares] for i in range(len(words))]


def changes(words: Sequence[Word], against: Sequence[tuple[Word, Word]] = ()) -> list[list[Change]]:
    """What to try, by rising size: one word at a time, and last, the first of two words against the second."""
    found = [[Change(words=(word,), factors=(factor,)) for word in words] for factor in FACTORS]
    found += [[Change(words=pair, factors=(factor, _rounded(1 / factor))) for pair in against] for factor in AGAINST]
    return [level for level in found if level]


def _steered(query: Query, change: Change | None) -> Query | None:
    """The query as it is tried; None where it cannot be steered so far."""
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
    """With the factor on the word: in the control that it has, or in one more.

    A control on more than the word is divided, as boosts cannot overlap. The factors of tokens are those of all
    characters, so it makes no difference to them.
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
    """The query with boosts, where these can say all of it."""
    if query.options != ControlOptions():
        return None
    try:
        return render(query.text, query.controls)
    except InvalidControl:
        return None


def _rounded(factor: float) -> float:
    """To two digits."""
    return float(f"{factor:.2g}")
