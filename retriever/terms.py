"""The sparse side of a query: its words, their terms, and the factor of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.prompts import TextControl
from core.records import Float64Array
from embedder.factors import span_factors
from embedder.lexical import Analyzer, QueryWord


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

    def weights(self) -> dict[str, float]:
        return {term: float(factor) for term, factor in zip(self.terms, self.factors, strict=True)}


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
