"""What the words of a passage and of the query did to a hit's score, over all legs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from core.records import Float64Array, QueryWordShare, WordEffect
from embedder.factors import span_factors
from embedder.lexical import Analyzer
from embedder.lexical.words import units
from retriever.ledger import HitParts, HitWords
from retriever.legs import Leg, SparseTerms
from retriever.query import Query
from retriever.terms import QueryTerms
from retriever.words import sparse_query_words, sparse_words


def word_effects(
    words: HitWords, parts: HitParts, sparse: Mapping[Leg, SparseTerms], analyzer: Analyzer
) -> tuple[WordEffect, ...]:
    """The words of title and passage, in text order."""
    passage = words.passage
    shares, effects = np.zeros(len(passage.units)), np.zeros(len(passage.units))
    if words.dense is not None:
        slope = _slope(parts, Leg.DENSE)
        shares, effects = shares + slope * words.dense.shares, effects + slope * words.dense.effects
    for leg, terms in sparse.items():
        if isinstance(terms, QueryTerms):
            said = _slope(parts, leg) * sparse_words(passage, terms, parts.values[leg], analyzer)
            shares, effects = shares + said, effects + said
    if words.learned is not None:
        products = _products(parts, words.learned.leg, sparse)
        shares, effects = shares + words.learned.shares @ products, effects + words.learned.losses @ products
    found = []
    for unit, share, effect in zip(passage.units, shares, effects, strict=True):
        in_title = unit.start < passage.offset
        shift = 0 if in_title else passage.offset
        found.append(
            WordEffect(
                text=passage.text[unit.start : unit.end],
                start=unit.start - shift,
                end=unit.end - shift,
                in_title=in_title,
                share=float(share),
                effect=float(effect),
            )
        )
    return tuple(found)


def query_word_shares(
    query: Query, words: HitWords, parts: HitParts, sparse: Mapping[Leg, SparseTerms]
) -> tuple[QueryWordShare, ...]:
    """The words of the query, in text order."""
    asked = tuple(units(query.text))
    shares = {leg: np.zeros(len(asked)) for leg in Leg}
    if words.dense is not None:
        shares[Leg.DENSE] = _slope(parts, Leg.DENSE) * words.dense.query_shares
    for leg, terms in sparse.items():
        if isinstance(terms, QueryTerms):
            shares[leg] = _slope(parts, leg) * sparse_query_words(query.text, terms, parts.values[leg])
    if words.learned is not None:
        shares[words.learned.leg] = words.learned.query_shares @ _products(parts, words.learned.leg, sparse)
    spans = np.array([(word.start, word.end) for word in asked], dtype=np.int64).reshape(-1, 2)
    factors = span_factors(query.text, query.controls, spans)
    return tuple(
        QueryWordShare(
            text=query.text[word.start : word.end],
            start=word.start,
            end=word.end,
            factor=float(factors[i]),
            dense=float(shares[Leg.DENSE][i]),
            sparse=float(shares[Leg.SPARSE][i]),
            learned=float(shares[Leg.LEARNED][i]),
        )
        for i, word in enumerate(asked)
    )


def _slope(parts: HitParts, leg: Leg) -> float:
    part = parts.leg(leg)
    return 0.0 if part is None else part.slope


def _products(parts: HitParts, leg: Leg, sparse: Mapping[Leg, SparseTerms]) -> Float64Array:
    """(terms,) each term's part of the final score."""
    products: Float64Array = _slope(parts, leg) * sparse[leg].factors * parts.values[leg]
    return products
