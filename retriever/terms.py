"""The BM25 side of a query: its words, their terms, and the factor of each. Implements retriever.legs.SparseTerms."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from core.prompts import TextControl
from core.records import Float64Array, Int64Array
from embedder.factors import span_factors
from embedder.lexical import Analyzer, QueryWord
from embedder.lexical.words import has_spaces, units
from retriever.legs import Wording
from store import Pool, TermStatistics, View
from store.bm25 import idf

TERMS_AT_ONCE = 256  # a query may have 100,000 terms: a table of all terms and candidates would be too large


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryTerms:
    """Terms to look up. A term that comes from several words has the sum of their factors."""

    words: tuple[QueryWord, ...]
    word_factors: Float64Array  # (words,) >= 0
    terms: tuple[str, ...]  # distinct, in the order of their first word
    factors: Float64Array  # (terms,) >= 0
    typed: int | None = None  # the first so many words were typed, the rest are synonyms; None: all were typed
    origins: Mapping[str, str] = field(default_factory=dict)  # by synonym term: the words that it is a synonym of
    characters: Mapping[str, str] = field(default_factory=dict)  # by pair: the lone character that it stands for
    whole: bool = True  # whether the words are the entire query, without a vector, image or example

    @property
    def silent(self) -> bool:
        """Whether nothing can match: there are only stop words, no words at all, or all are suppressed."""
        return not bool((self.factors > 0).any())

    def label(self, term: str) -> str:
        character = self.characters.get(term)
        origin = self.origins.get(character or term)
        shown = repr(term) if character is None else f"{character!r} in {term!r}"
        return shown if origin is None else f"{shown} (synonym of {origin!r})"

    @property
    def formula(self) -> str:
        return "factor {factor:g} * BM25 {value:.6f}"

    def wording(self, view: View) -> Wording | None:
        df = view.term_statistics([term for word in self.words for term in word.terms]).df
        typed = list(zip(self.words, self.word_factors, strict=True))[: self.typed]
        words = [word for word, factor in typed if factor]
        known = [any(df[term] for term in word.terms) for word in words]
        # Stop words of one language that occur in no text of the others do not count as missing, nor do function
        # words: they were left out.
        asked = [found for word, found in zip(words, known, strict=True) if found or not word.stopped]
        counted = self.whole and all(has_spaces(word.text) for word in words)
        return Wording(words=len(words) if counted else None, known=sum(asked) / len(asked)) if asked else None

    def best(self, view: View, depth: int, allowed: Int64Array | None) -> Pool:
        factors = self.factors * self._scales(view)
        wanted = {term: float(factor) for term, factor in zip(self.terms, factors, strict=True)}
        return view.matching(wanted, depth, allowed)

    def scores(self, view: View, ids: Int64Array) -> Float64Array:
        scales = self._scales(view)
        df = view.term_statistics(self.terms).df
        known = [i for i, term in enumerate(self.terms) if df[term] and self.factors[i]]
        scores = np.zeros(len(ids))
        for begin in range(0, len(known), TERMS_AT_ONCE):
            block = known[begin : begin + TERMS_AT_ONCE]
            products = view.sparse_products([self.terms[i] for i in block], ids)
            # vecdot sums row by row. In BLAS's matrix product the result depends on the row's place: ties would break
            scores += np.vecdot(products, self.factors[block] * scales[block])
        return scores

    def values(self, view: View, ids: Int64Array) -> Float64Array:
        """(n, terms) idf * weight; the synonyms of a word share one idf."""
        return view.sparse_products(self.terms, ids) * self._scales(view)

    def _scales(self, view: View) -> Float64Array:
        return synonym_scales(self, view.term_statistics(self.terms))


def query_terms(
    text: str,
    controls: Sequence[TextControl],
    languages: Sequence[str],
    analyzer: Analyzer,
    required: Iterable[str] = (),
) -> QueryTerms:
    """Analyse a query for documents in `languages`. A word's factor is that of its span, as for a model's token.

    Function words are left out, unless they are emphasised or in one of the `required` entries.
    """
    words = analyzer.analyze_query(text, languages)
    spans = np.array([(word.start, word.end) for word in words], dtype=np.int64).reshape(-1, 2)
    # Words with a factor below 0 are not looked up, as with 0: only vectors can be pushed away; words can be excluded.
    factors = np.maximum(span_factors(text, controls, spans), 0.0)
    kept = {word.text for entry in required for word in units(entry)}
    return assembled(without_function_words(words, factors.tolist(), kept), factors)


def without_function_words(
    words: Sequence[QueryWord], factors: Sequence[float], kept: Collection[str] = ()
) -> tuple[QueryWord, ...]:
    """Turn function words into stop words, without terms: in short texts they are rare, and would weigh the most.

    Function words with a factor above 1 keep their terms, and so do those in `kept`. If the query has no other words,
    all keep their terms: "the who".
    """
    pairs = list(zip(words, factors, strict=True))
    if not any(word.terms and factor > 0 and not (word.function or word.stopped) for word, factor in pairs):
        return tuple(words)
    return tuple(
        replace(word, terms=(), stopped=True) if word.function and factor <= 1 and word.text not in kept else word
        for word, factor in pairs
    )


def assembled(
    words: Sequence[QueryWord],
    word_factors: Float64Array,
    *,
    typed: int | None = None,
    origins: Mapping[str, str] | None = None,
) -> QueryTerms:
    """QueryTerms from words and their (words,) factors."""
    factors: dict[str, float] = {}
    for word, factor in zip(words, word_factors, strict=True):
        for term in word.terms:
            factors[term] = factors.get(term, 0.0) + float(factor)
    return QueryTerms(
        words=tuple(words),
        word_factors=word_factors,
        terms=tuple(factors),
        factors=np.array(list(factors.values()), dtype=np.float64),
        typed=typed,
        origins=origins or {},
    )


def synonym_scales(terms: QueryTerms, statistics: TermStatistics) -> Float64Array:
    """(terms,) factors for the terms' idf, such that the terms of one word count as one.

    In a collection of several languages, a word has a term for each. "running" is "run" in English texts and "running"
    in German ones; the latter is rare, and by itself would weigh far more than the word deserves. Every passage is
    analysed in one language, so the number of passages with any of the terms is the sum of their document frequencies.
    """
    if all(len(word.terms) <= 1 for word in terms.words):
        return np.ones(len(terms.terms))
    synonyms: dict[str, frozenset[str]] = {}
    for word in terms.words:
        together = frozenset(word.terms)
        for term in word.terms:
            synonyms[term] = synonyms[term] | together if term in synonyms else together
    joint = {
        each: min(sum(statistics.df[term] for term in each), statistics.passages) for each in set(synonyms.values())
    }
    scales = np.ones(len(terms.terms))
    for i, term in enumerate(terms.terms):
        df = joint[synonyms[term]] if term in synonyms else statistics.df[term]
        if statistics.df[term] and df > statistics.df[term]:
            scales[i] = idf(statistics.passages, df) / statistics.idf[term]
    return scales
