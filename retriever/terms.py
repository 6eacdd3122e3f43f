"""The sparse side of a query: its words, their terms, and the factor of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.prompts import TextControl
from core.records import Float64Array
from embedder.factors import span_factors
from embedder.lexical import Analyzer, QueryWord
from store import TermStatistics
from store.bm25 import idf


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryTerms:
    """Terms to look up. A term that several words give has the sum of their factors: it was asked for that often."""

    words: tuple[QueryWord, ...]
    word_factors: Float64Array  # (words,) >= 0
    terms: tuple[str, ...]  # distinct, in the order of their first word
    factors: Float64Array  # (terms,) >= 0

    @property
    def silent(self) -> bool:
        """Whether nothing can match: there are stop words only, no words at all, or all are suppressed."""
        return not bool((self.factors > 0).any())


def query_terms(text: str, controls: Sequence[TextControl], languages: Sequence[str], analyzer: Analyzer) -> QueryTerms:
    """Analyse a query for documents in `languages`. A word's factor is that of its span, as for a model's token."""
    words = analyzer.analyze_query(text, languages).words
    spans = np.array([(word.start, word.end) for word in words], dtype=np.int64).reshape(-1, 2)
    word_factors = span_factors(text, controls, spans)
    factors: dict[str, float] = {}
    for word, factor in zip(words, word_factors, strict=True):
        for term in word.terms:
            factors[term] = factors.get(term, 0.0) + float(factor)
    return QueryTerms(
        words=words,
        word_factors=word_factors,
        terms=tuple(factors),
        factors=np.array(list(factors.values()), dtype=np.float64),
    )


def synonym_scales(terms: QueryTerms, statistics: TermStatistics) -> Float64Array:
    """(terms,) what to multiply a term's idf by, so that the terms of one word count as one.

    In a collection of several languages a word stands for a term of each. "running" is "run" in English texts and
    "running" in German ones; by itself the second is rare there, and would weigh far more than the word deserves. Every
    passage is analysed in one language, so the passages that hold any of the terms are the sum of those that hold each.
    """
    synonyms: dict[str, set[str]] = {term: {term} for term in terms.terms}
    for word in terms.words:
        for term in word.terms:
            synonyms[term].update(word.terms)
    scales = np.ones(len(terms.terms))
    for i, term in enumerate(terms.terms):
        df = min(sum(statistics.df[other] for other in synonyms[term]), statistics.passages)
        if statistics.df[term] and df > statistics.df[term]:
            scales[i] = idf(statistics.passages, df) / statistics.idf[term]
    return scales
