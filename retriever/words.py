"""Aggregates the scores of model tokens and index terms by the words and sentences that a reader sees.

A word is a unit of the lexical analysis: a run of letters and digits, or one character of
Chinese, Japanese, Korean, Thai, Lao, Khmer or Burmese.
A title is a sentence of its own.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from core.passages import KeptText, kept_text
from core.prompts import Prompt, TextControl
from core.records import Float32Array, Float64Array, Int64Array, SparseTrace, TokenAttributions, TokenTrace
from embedder.attribution import Units, leave_one_out, parts, sums, term_losses, term_shares
from embedder.factors import span_factors
from embedder.lexical import Analyzer, Term
from embedder.lexical.sentences import sentence_ends, without_space
from embedder.lexical.words import Word, units
from retriever.legs import Leg
from retriever.terms import QueryTerms


@dataclass(frozen=True, kw_only=True, slots=True)
class PassageWords:
    """The embedded text of a passage and its words."""

    text: str  # title and passage as embedded, without the parts that the document's controls leave out
    offset: int  # where the passage's own text begins
    language: str
    units: tuple[Word, ...]
    spans: Int64Array  # (words, 2) of the units
    sentences: tuple[tuple[int, int], ...]  # spans of `text`, in order, without surrounding white space
    title_weight: int  # how often BM25 counts a word of the title
    said: KeptText  # the passage's own part of `text`, and its places in the stored passage
    factors: Float64Array  # (words,) of the units, from the controls

    @property
    def sentence_spans(self) -> Int64Array:
        """(sentences, 2) `sentences` as an array."""
        return np.array(self.sentences, dtype=np.int64).reshape(-1, 2)

    @property
    def controls(self) -> tuple[TextControl, ...]:
        """The document's controls, on spans of `text`."""
        return self.said.shifted(self.offset)

    @property
    def prompt(self) -> Prompt:
        """The prompt that the models read."""
        return Prompt.of(self.text, self.controls)


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseQuery:
    """The query that passages are compared with by cosine."""

    vector: Float64Array  # (dimension,) of unit length
    words: Float64Array  # (words of the query, dimension) their parts of the vector; no rows if it is not from text


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseWords:
    """The cosine of a query and a passage, by word."""

    cosine: float
    shares: Float64Array  # (words of the passage,) together with `context` they sum to the cosine
    context: float  # special tokens, prefix and punctuation of the passage
    effects: Float64Array  # (words of the passage,) leave-one-out in the pool
    sentence_effects: Float64Array  # (sentences of the passage,) the same, for all tokens of a sentence at once
    query_shares: Float64Array  # (words of the query,) together with the query's own context they sum to the cosine


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnedWords:
    """The learned weights that a query and a passage share, by word."""

    leg: Leg  # the leg that scores by them
    shares: Float64Array  # (words of the passage, terms) together with `context`, each term's sum to 1
    context: Float64Array  # (terms,) special tokens, prefix and punctuation of the passage
    losses: Float64Array  # (words of the passage, terms) fraction of the weight lost when the word leaves the pool
    sentence_losses: Float64Array  # (sentences of the passage, terms) the same, for all tokens of a sentence at once
    query_shares: Float64Array  # (words of the query, terms) together with the query's own context they sum to 1


def passage_words(
    text: str, offset: int, language: str, title_weight: int = 1, said: KeptText | None = None
) -> PassageWords:
    """The words and sentences of a text. `said`: the passage's own part of it; None: there are no controls."""
    words = tuple(units(text))
    spans = spans_of(words)
    said = kept_text(text[offset:], ()) if said is None else said
    return PassageWords(
        text=text,
        offset=offset,
        language=language,
        units=words,
        spans=spans,
        sentences=_sentences(text, offset, language),
        title_weight=title_weight,
        said=said,
        factors=span_factors(text, said.shifted(offset), spans),
    )


def dense_query(text: str, query: TokenTrace | Float32Array) -> DenseQuery:
    """The query's vector and its words' parts of it.

    `query`: its trace, or a vector, (dimension,) of unit length, if it has none; then words have no shares.
    """
    if not isinstance(query, TokenTrace):
        vector = query.astype(np.float64)
        return DenseQuery(vector=vector, words=np.zeros((0, len(vector))))
    held = parts(query)
    return DenseQuery(vector=held.sum(axis=0), words=sums(held, tokens_of(spans_of(tuple(units(text))), query)))


def dense_words(passage: PassageWords, query: DenseQuery, trace: TokenTrace) -> DenseWords:
    """Aggregate the token matrix (embedder.attribution) by the words of query and passage."""
    held, members = parts(trace), tokens_of(passage.spans, trace)
    by_token = held @ query.vector  # the sums of the matrix's columns
    cosine, shares = float(by_token.sum()), sums(by_token[:, None], members)[:, 0]
    query_shares = query.words @ held.sum(axis=0)
    effects = leave_one_out(held, query.vector, members + tokens_of(passage.sentence_spans, trace))
    return DenseWords(
        cosine=cosine,
        shares=shares,
        context=cosine - float(shares.sum()),
        effects=effects[: len(members)],
        sentence_effects=effects[len(members) :],
        query_shares=query_shares,
    )


def learned_words(
    leg: Leg, query_text: str, passage: PassageWords, query: SparseTrace | None, trace: SparseTrace
) -> LearnedWords:
    """Aggregate the tokens' contributions (embedder.attribution) by word; both traces must have the same terms.

    `query`: None if its weights were not computed from text; then its words have no shares.
    """
    members = tokens_of(passage.spans, trace)
    shares = sums(term_shares(trace), members)
    query_shares = np.zeros((0, shares.shape[1]))
    if query is not None:
        query_shares = sums(term_shares(query), tokens_of(spans_of(tuple(units(query_text))), query))
    return LearnedWords(
        leg=leg,
        shares=shares,
        context=1 - shares.sum(axis=0),
        losses=term_losses(trace, members),
        sentence_losses=term_losses(trace, tokens_of(passage.sentence_spans, trace)),
        query_shares=query_shares,
    )


def words_in(passage: PassageWords, start: int, end: int) -> slice:
    """The words of the passage's text that begin in a span."""
    return slice(*passage.spans[:, 0].searchsorted((start, end)).tolist())


def sparse_words(
    passage: PassageWords, terms: QueryTerms | None, products: Float64Array, analyzer: Analyzer
) -> Float64Array:
    """(words,) each word's part of the BM25 score: a term's product is divided among its weighted occurrences."""
    shares = np.zeros(len(passage.units))
    if terms is None or not products.any():
        return shares
    worth = dict(zip(terms.terms, terms.factors * products, strict=True))
    terms_said = analyzer.analyze(passage.text, passage.language, passage.units)
    found = [term for term in terms_said if worth.get(term.text)]
    factors = span_factors(passage.text, passage.controls, spans_of(found)).tolist()
    counted = [
        passage.title_weight if term.start < passage.offset else factor
        for term, factor in zip(found, factors, strict=True)
    ]
    occurrences: dict[str, float] = {}
    for term, count in zip(found, counted, strict=True):
        occurrences[term.text] = occurrences.get(term.text, 0.0) + count
    for term, count in zip(found, counted, strict=True):
        if count:
            _spread(shares, passage.units, term.start, term.end, worth[term.text] * count / occurrences[term.text])
    return shares


def sparse_query_words(query_text: str, terms: QueryTerms, products: Float64Array) -> Float64Array:
    """(words of the query,) each word's part of the BM25 score: the products of its terms times its own factor."""
    words = tuple(units(query_text))
    shares = np.zeros(len(words))
    worth = dict(zip(terms.terms, products, strict=True))
    for word, factor in zip(terms.words, terms.word_factors, strict=True):
        value = float(factor) * sum(worth[term] for term in word.terms)
        _spread(shares, words, word.start, word.end, value)
    return shares


def _sentences(text: str, offset: int, language: str) -> tuple[tuple[int, int], ...]:
    borders = [0, *(offset + end for end in (0, *sentence_ends(text[offset:], language)) if offset + end)]
    return tuple(span for start, end in pairwise(borders) if (span := without_space(text, start, end)) is not None)


def spans_of(words: Sequence[Word | Term]) -> Int64Array:
    """(words, 2) the spans of the words."""
    return np.array([[word.start for word in words], [word.end for word in words]], dtype=np.int64).T


def _spread(shares: Float64Array, words: Sequence[Word], start: int, end: int, value: float) -> None:
    """Add `value` in equal parts to the words in the span: one word, or the two characters of a pair."""
    # Words are in text order and do not overlap, except for compatibility characters that share one span.
    first = bisect.bisect_right(words, start, key=lambda word: word.end)
    last = bisect.bisect_left(words, end, key=lambda word: word.start)
    shares[first:last] += value / max(last - first, 1)


def tokens_of(spans: Int64Array, trace: TokenTrace | SparseTrace | TokenAttributions) -> Units:
    """The tokens of each word; a token is divided equally among the words that it overlaps.

    `spans`: (words, 2), of words or other parts; ascending, and not overlapping unless they are equal.
    """
    starts, ends = trace.spans[:, 0], trace.spans[:, 1]
    first = spans[:, 1].searchsorted(starts, side="right")  # (tokens,) the first word that ends after the token's start
    behind = spans[:, 0].searchsorted(ends, side="left")
    covered = np.where(~trace.special & (starts < ends), np.maximum(behind - first, 0), 0)  # (tokens,) how many words
    tokens = np.repeat(np.arange(len(covered)), covered)
    words = np.arange(len(tokens)) - np.repeat(covered.cumsum() - covered - first, covered)
    order = np.argsort(words, kind="stable")
    tokens = tokens[order]
    return Units(tokens, 1 / covered[tokens], np.bincount(words, minlength=len(spans)))
