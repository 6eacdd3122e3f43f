"""Query: a validated search request. Its values are checked when it is created."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from core.errors import InvalidControl, InvalidQuery
from core.filters import Filter
from core.prompts import ControlOptions, Prompt, TextControl
from core.records import Float64Array
from embedder.factors import span_factors
from embedder.lexical.words import units
from retriever.emphasis import emphasis_controls
from retriever.extras import Extras
from retriever.fields import check_fields
from retriever.fusion import Fusion
from retriever.inputs import Inputs
from retriever.legs import Leg
from retriever.rerank import Rerank
from retriever.selection import Selection
from retriever.syntax import check_query, parse
from retriever.unit_request import UnitRequest
from retriever.wordconditions import WordConditions

MAX_K = 1000  # hits of one page
MAX_DEPTH = 1000  # offset + k of the last hit that can be requested: below the fused pools, ranks mean little
MAX_CONTROLS = 1000
MAX_TIMEOUT_MS = 600_000
MAX_TRIED_WORDS = 2000  # words of a query for which changes of emphasis are tried, each with a search
MAX_EXPLAINED = 250_000  # hits explained in words, times words and weights of the query: each hit has a share for each


class Explain(StrEnum):
    """How much is said about each hit."""

    NONE = "none"
    SCORES = "scores"  # the ledger down to legs and terms, from numbers that the search has already computed
    WORDS = "words"  # the ledger down to words, and the highlight: embeds the shown passages again
    CONTRAST = "contrast"  # in addition, why each hit is above the next one

    @property
    def in_words(self) -> bool:
        return self in (Explain.WORDS, Explain.CONTRAST)


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """What to search for, and how. `steer` converts a typed query to `text` and `controls`.

    Raises InvalidQuery or InvalidControl for values out of range.
    """

    text: str = ""  # without boost marks; may be empty if there are `inputs`
    controls: tuple[TextControl, ...] = ()  # spans of `text`, for all legs
    options: ControlOptions = field(default_factory=ControlOptions)
    k: int = 10  # 1..MAX_K hits
    offset: int = 0  # hits to skip
    legs: tuple[Leg, ...] | None = None  # None: all that the collection has
    fusion: Fusion = field(default_factory=Fusion)
    rerank: Rerank | None = None  # rerank the first documents by the query's text
    filter: Filter | None = None
    within: Filter | None = None  # the documents that the caller may see; all others are treated as nonexistent
    explain: Explain = Explain.NONE
    units: UnitRequest | None = None  # another method to explain the parts of passages, besides leave-one-out
    inputs: Inputs = field(default_factory=Inputs)
    cursor: str | None = None  # from the previous page; then `offset` is 0
    fields: tuple[str, ...] | None = None  # the parts of a hit's document to show; None: all of it
    timeout_ms: int | None = None  # milliseconds after which no further part of the search is begun
    profile: bool = False  # whether to report the work that the search did
    conditions: WordConditions = field(default_factory=WordConditions)
    selection: Selection = field(default_factory=Selection)
    extras: Extras = field(default_factory=Extras)

    def __post_init__(self) -> None:
        if self.text or not self.inputs.searchable:
            check_query(self.text)
        if not 1 <= self.k <= MAX_K:
            raise InvalidQuery(f"k is {self.k}; allowed are 1 to {MAX_K}", param="k")
        if self.offset < 0 or self.offset + self.k > MAX_DEPTH:
            raise InvalidQuery(
                f"offset {self.offset} with k {self.k}: offset must be 0 or more, their sum at most {MAX_DEPTH}",
                param="offset",
            )
        if self.legs is not None and not 0 < len(set(self.legs)) == len(self.legs):
            raise InvalidQuery(f"legs must name some of {', '.join(Leg)}, each once", param="legs")
        if len(self.controls) > MAX_CONTROLS:
            raise InvalidControl(f"{len(self.controls)} controls; at most {MAX_CONTROLS} are allowed", param="controls")
        if self.cursor is not None and self.offset:
            raise InvalidQuery("a cursor says where to go on: leave offset out", param="offset")
        if self.timeout_ms is not None and not 1 <= self.timeout_ms <= MAX_TIMEOUT_MS:
            raise InvalidQuery(
                f"timeout_ms is {self.timeout_ms}; allowed are 1 to {MAX_TIMEOUT_MS} milliseconds", param="timeout_ms"
            )
        if self.rerank is not None and not self.text.strip():
            raise InvalidQuery(
                "rerank reads the text of the query, and this one has none: give query, or leave rerank out",
                param="rerank",
            )
        check_fields(self.fields)
        self._check_selection()
        if self.explain.in_words:
            self._check_explained()
        if self.controls:
            Prompt.of(self.text, controls=self.controls)  # a control outside the text is refused here
        if self.text and not self.inputs.wordless and not (_word_factors(self.text, self.controls) > 0).any():
            raise InvalidQuery(
                "the controls suppress every word of the query: nothing is left to search for", param="controls"
            )

    def _check_selection(self) -> None:
        group_by = self.selection.group_by
        if group_by is not None and self.k * group_by.hits > MAX_K:
            raise InvalidQuery(
                f"k {self.k} groups of hits_per_group {group_by.hits}: their product may be {MAX_K} at most",
                param="hits_per_group",
            )
        if group_by is not None and self.cursor is not None:
            raise InvalidQuery("groups have no cursor: ask for their next page by offset", param="cursor")
        if self.selection.min_scores and self.extras.facets:
            raise InvalidQuery(
                "facets count all documents that match, and which of them reach min_scores is not known without "
                "scoring all of them: leave one of the two out",
                param="facets",
            )

    def _check_explained(self) -> None:
        if self.explain is Explain.CONTRAST:
            self.check_tried()
        group_by = self.selection.group_by
        hits, words = self.k * (1 if group_by is None else group_by.hits), _count_words(self.text)
        weights = 0 if self.inputs.sparse_vector is None else len(self.inputs.sparse_vector.ids)
        if hits * (words + weights) > MAX_EXPLAINED:
            more = f" and {weights} weights" if weights else ""
            raise InvalidQuery(
                f"explain: {hits} hits, each with a share for each of the query's {words} words{more}: their product "
                f"may be {MAX_EXPLAINED} at most; ask for fewer hits, or explain by scores",
                param="explain",
            )

    def check_tried(self) -> None:
        """Raises InvalidQuery if the text is too long for the many searches of contrasts and advice."""
        words = _count_words(self.text)
        if words > MAX_TRIED_WORDS:
            raise InvalidQuery(
                f"the query has {words} words; contrasts and advice search with it under one change after another, "
                f"which at most {MAX_TRIED_WORDS} words are allowed for: explain in words alone, or shorten it",
                param="query",
            )

    @property
    def muted(self) -> bool:
        """Whether there is a text, but every word of it is suppressed."""
        return bool(self.text) and self.inputs.in_text and not _word_factors(self.text, self.controls).any()

    @property
    def prompt(self) -> Prompt | None:
        """The prompt that the models read; None: there is none."""
        if self.muted:
            return None
        if self.inputs.prompt is not None:
            return self.inputs.prompt
        return Prompt.of(self.text, controls=self.controls) if self.text else None


def steer(
    text: str, *, emphasis: Mapping[str, float] | None = None, controls: Sequence[TextControl] = (), boosts: bool = True
) -> tuple[str, tuple[TextControl, ...]]:
    """The query text, and its controls from boosts, `emphasis` and `controls`.

    Where they overlap, factors multiply (to MAX_FACTOR at most; the encoder refuses more). `boosts`: whether to parse
    `word^7` and `"a phrase"^0.2` in `text`; the spans of `controls` and the words of `emphasis` then refer to the text
    without these marks, which is the text that is returned. Raises InvalidQuery or InvalidControl.
    """
    clean, found = parse(text) if boosts else (text, ())
    check_query(clean)
    return clean, (*found, *emphasis_controls(clean, emphasis or {}), *controls)


def _count_words(text: str) -> int:
    return sum(1 for _ in units(text))


def _word_factors(text: str, controls: Sequence[TextControl]) -> Float64Array:
    """(words,) the words' factors; for a text without words, the factor of the whole text.

    If all controls are above 0, only a single 1, since callers just test for factors of 0 or less.
    """
    if all(control.factor > 0 for control in controls):
        return np.ones(1)  # the common case
    spans = [(word.start, word.end) for word in units(text)] or [(0, len(text))]
    return span_factors(text, controls, np.array(spans, dtype=np.int64))
