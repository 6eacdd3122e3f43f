"""Query planning: decides what each leg of a search looks for, and among which passages."""

from __future__ import annotations

from dataclasses import replace

from embedder.lexical import Analyzer
from retriever.characters import with_pairs
from retriever.encoding import EncodedQuery, with_examples
from retriever.examples import Examples, blended_terms, read_examples
from retriever.legs import Leg, SparseTerms, learned_leg
from retriever.query import Query
from retriever.ranking import Plan
from retriever.stopwatch import Stopwatch
from retriever.synonyms import SynonymReader
from retriever.terms import query_terms
from retriever.wordconditions import fulfilling
from store.view import View
from store.vocabulary import Vocabularies


class Planner:
    """Plans searches. Thread-safe; caches the analysed synonyms of collections."""

    def __init__(self, analyzer: Analyzer, vocabularies: Vocabularies) -> None:
        self._analyzer = analyzer
        self._vocabularies = vocabularies
        self._synonyms = SynonymReader(analyzer)

    def plan(
        self, view: View, query: Query, legs: tuple[Leg, ...], encoded: EncodedQuery, watch: Stopwatch
    ) -> tuple[EncodedQuery, Plan]:
        """The encoded query, adjusted by its examples, and the plan for the state of `view`.

        Raises DocumentNotFound and HitNotFound for examples, InvalidFilter, InvalidQuery.
        """
        with watch.stage("terms"):
            examples = read_examples(view, query.inputs)
            encoded = with_examples(view, encoded, legs, examples)
            sparse = self.sparse_terms(view, query, legs, encoded, examples)
        with watch.stage("filter"):
            allowed = None if query.filter is None else view.filter(query.filter)
            allowed = fulfilling(view, query.conditions, self._analyzer, self._vocabularies, allowed)
        excluded = None if examples is None else examples.passages
        return encoded, Plan(vector=encoded.vector, sparse=sparse, allowed=allowed, excluded=excluded)

    def sparse_terms(
        self, view: View, query: Query, legs: tuple[Leg, ...], encoded: EncodedQuery, examples: Examples | None = None
    ) -> dict[Leg, SparseTerms]:
        """The terms that each sparse leg looks for."""
        place = learned_leg(view.collection)
        found: dict[Leg, SparseTerms] = {}
        if Leg.SPARSE in legs and place is not Leg.SPARSE:
            required = query.conditions.required
            terms = query_terms(query.text, query.controls, view.languages, self._analyzer, required)
            terms = with_pairs(view, self._synonyms.expanded(view, terms), self._vocabularies)
            terms = terms if examples is None else blended_terms(view, terms, examples)
            found[Leg.SPARSE] = replace(terms, whole=query.inputs.text_alone)
        if place in legs and (learned := encoded.learned_terms) is not None:
            found[place] = learned
        return found


def with_defaults(query: Query, view: View) -> Query:
    """The query, with the collection's alpha if it names none."""
    return replace(query, fusion=query.fusion.settled(view.collection.settings.alpha))


def visible(query: Query, view: View) -> View:
    """The part of `view` that the query's caller may see."""
    return view if query.within is None else view.only(query.within)
