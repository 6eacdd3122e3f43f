"""The JSON of conditions on hits, their selection, highlights, groups, facets and suggestions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal, Self

from pydantic import Field

from app.schemas.base import RequestModel, ResponseModel
from app.schemas.documents import PassageSpan
from core.errors import InvalidQuery
from core.records import Highlight
from retriever.extras import MAX_FACETS, Extras, Facets
from retriever.grouping import HitGroup
from retriever.legs import Leg
from retriever.operators import read_operators
from retriever.query import MAX_K
from retriever.selection import GROUP_HITS, MAX_GROUP_HITS, GroupBy, Selection
from retriever.suggestions import Suggestion, corrected
from retriever.wordconditions import MAX_CONDITIONS, WordConditions
from store.fieldvalues import FieldCounts

LegName = Literal["dense", "sparse", "learned"]
Value = str | int | float | bool | None


class ConditionsBody(RequestModel):
    """Words and phrases that documents must or must not have, whichever leg finds them."""

    operators: bool = Field(
        False, description='whether +word, -word, "a phrase" and -"a phrase" in query are conditions; false: text'
    )
    must: list[str] = Field(
        default_factory=list,
        description="words that the document has; an entry of several words is a phrase",
        max_length=MAX_CONDITIONS,
    )
    must_not: list[str] = Field(
        default_factory=list, description="words and phrases that it does not have", max_length=MAX_CONDITIONS
    )
    phrases: list[str] = Field(
        default_factory=list,
        description="phrases that it has: their words one behind the other, in any grammatical form",
        max_length=MAX_CONDITIONS,
    )

    def to_conditions(self, query: str | None, *, boosts: bool) -> tuple[str | None, WordConditions]:
        """The query's text without operators, and the conditions. Raises InvalidQuery."""
        found = WordConditions()
        if self.operators and query is not None:
            query, found = read_operators(query, boosts=boosts)
        return query, WordConditions(
            must=(*found.must, *self.must),
            must_not=(*found.must_not, *self.must_not),
            phrases=(*found.phrases, *self.phrases),
        )


class ThresholdsBody(RequestModel):
    """Minimum scores of a hit; they also decide which documents a reranker judges."""

    min_scores: dict[LegName, float] = Field(
        default_factory=dict,
        description="raw scores that a hit reaches in each leg named: a cosine, a BM25 score",
        examples=[{"dense": 0.3}],
    )

    @property
    def thresholds(self) -> dict[Leg, float]:
        return {Leg(leg): score for leg, score in self.min_scores.items()}


class SelectionBody(ThresholdsBody):
    """Which of the ranked documents are shown, and what is returned with them."""

    diversity: float = Field(0.0, description="0 to 1: how much a hit loses by being like those above it (MMR)")
    group_by: str | None = Field(
        None, description="a metadata field: hits come in groups that share its value, and k and offset count groups"
    )
    hits_per_group: int | None = Field(
        None,
        description=f"with group_by: hits of a group at most, 1 to {MAX_GROUP_HITS}; k times this: {MAX_K} at most. "
        f"null: {GROUP_HITS}",
    )
    highlight: bool = Field(False, description="mark the query's words in each hit, and its best sentence")
    facets: list[str] = Field(
        default_factory=list,
        description="metadata fields: how many of all documents that match have each of their values",
        max_length=MAX_FACETS,
    )
    facet_values: int = Field(10, description="values of each facet, those of most documents, 1 to 1000")
    suggest: bool = Field(True, description="say which words may have been meant where the collection lacks one")

    def to_selection(self) -> Selection:
        """The Selection. Raises InvalidQuery."""
        if self.group_by is None and self.hits_per_group is not None:
            raise InvalidQuery("hits_per_group needs group_by", param="hits_per_group")
        hits = GROUP_HITS if self.hits_per_group is None else self.hits_per_group
        return Selection(
            min_scores=self.thresholds,
            diversity=self.diversity,
            group_by=None if self.group_by is None else GroupBy(field=self.group_by, hits=hits),
        )

    def to_extras(self) -> Extras:
        """What to return with the hits. Raises InvalidQuery."""
        return Extras(
            highlight=self.highlight,
            facets=tuple(self.facets),
            facet_values=self.facet_values,
            suggest=self.suggest,
        )


class HighlightBody(ResponseModel):
    """Where the hit has words of the query: spans of characters."""

    passage: list[PassageSpan] = Field(description="in the passage's text")
    title: list[PassageSpan] = Field(description="in the title")
    sentence: PassageSpan | None = Field(description="of the passage, the one that says most; null: it says none")

    @classmethod
    def of(cls, highlight: Highlight) -> Self:
        return cls(
            passage=_spans(highlight.passage),
            title=_spans(highlight.title),
            sentence=None if highlight.sentence is None else _spans([highlight.sentence])[0],
        )


class GroupBody(ResponseModel):
    value: Value = Field(description="null: of the documents without a value")
    hits: list[int] = Field(description="ids of hits, best first")

    @classmethod
    def of(cls, group: HitGroup) -> Self:
        return cls(value=None if group.value is None else group.value.json, hits=list(group.hits))


class FacetValueBody(ResponseModel):
    value: Value = Field(description="of the field")
    documents: int = Field(description="that match and have the value")


class FacetBody(ResponseModel):
    values: list[FacetValueBody] = Field(description="those of most documents first")
    distinct: int = Field(description="how many values there are, with those that are not listed")
    without: int = Field(description="documents with no value: it is missing, null, or too long to compare")

    @classmethod
    def of(cls, counts: FieldCounts) -> Self:
        listed = [FacetValueBody(value=value.json, documents=count) for value, count in counts.counts]
        return cls(values=listed, distinct=counts.distinct, without=counts.without)


class FacetsBody(ResponseModel):
    """Exact counts over all matching documents, not only over the hits."""

    documents: int = Field(description="that match")
    fields: dict[str, FacetBody] = Field(description="by name of the field")

    @classmethod
    def of(cls, facets: Facets) -> Self:
        fields = {name: FacetBody.of(counts) for name, counts in facets.fields.items()}
        return cls(documents=facets.documents, fields=fields)


class MeantBody(ResponseModel):
    text: str = Field(description="the word of the collection")
    passages: int = Field(description="that hold it, in any form")
    edits: int = Field(description="characters that were left out, put in, exchanged or swapped")


class SuggestionBody(ResponseModel):
    """A word of the query that no passage, or hardly any, contains."""

    word: str = Field(description="as it was typed")
    start: int = Field(description="first character, in code points of the query's text")
    end: int = Field(description="one past the last character")
    passages: int = Field(description="that hold it")
    meant: list[MeantBody] = Field(description="words of the collection, the likeliest first")


class SuggestionsBody(ResponseModel):
    query: str = Field(description="the query with the likeliest words; the search was by what was typed")
    words: list[SuggestionBody] = Field(description="in text order")

    @classmethod
    def of(cls, text: str, found: Sequence[Suggestion]) -> Self:
        return cls(query=corrected(text, found), words=[SuggestionBody.model_validate(asdict(one)) for one in found])


def _spans(spans: Sequence[tuple[int, int]]) -> list[PassageSpan]:
    return [PassageSpan(start=start, end=end) for start, end in spans]
