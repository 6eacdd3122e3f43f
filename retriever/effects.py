"""What the words and sentences of a passage, and the words of the query, did to a hit's score, over all legs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core.reasons import LegEffect, UnitEffect
from core.records import Float64Array, QueryWordShare, WordEffect
from embedder.factors import span_factors
from embedder.lexical import Analyzer
from embedder.lexical.words import units
from retriever.ledger import HitParts, HitWords
from retriever.legs import Leg, SparseTerms
from retriever.query import Query
from retriever.terms import QueryTerms
from retriever.words import PassageWords, sparse_query_words, sparse_words, words_in


@dataclass(frozen=True, kw_only=True, slots=True)
class LegWords:
    """What the words and sentences of one passage did to one leg, in the leg's own units."""

    slope: float  # what a unit of the leg's raw score is worth in the final one
    shares: Float64Array  # (words,)
    effects: Float64Array  # (words,)
    sentence_effects: Float64Array  # (sentences,)


def leg_words(
    words: HitWords, parts: HitParts, sparse: Mapping[Leg, SparseTerms], analyzer: Analyzer
) -> dict[Leg, LegWords]:
    """By leg, those whose model tells. A BM25 word that leaves takes its share along: there both are one."""
    passage = words.passage
    found: dict[Leg, LegWords] = {}
    if words.dense is not None:
        found[Leg.DENSE] = LegWords(
            slope=_slope(parts, Leg.DENSE),
            shares=words.dense.shares,
            effects=words.dense.effects,
            sentence_effects=words.dense.sentence_effects,
        )
    for leg, terms in sparse.items():
        if isinstance(terms, QueryTerms):
            said = sparse_words(passage, terms, parts.values[leg], analyzer)
            sentences = np.array([said[words_in(passage, *span)].sum() for span in passage.sentences])
            found[leg] = LegWords(slope=_slope(parts, leg), shares=said, effects=said, sentence_effects=sentences)
    if words.learned is not None:
        leg = words.learned.leg
        products = sparse[leg].factors * parts.values[leg]
        found[leg] = LegWords(
            slope=_slope(parts, leg),
            shares=words.learned.shares @ products,
            effects=words.learned.losses @ products,
            sentence_effects=words.learned.sentence_losses @ products,
        )
    return found


def word_effects(passage: PassageWords, legs: Mapping[Leg, LegWords]) -> tuple[WordEffect, ...]:
    """The words of title and passage, in text order."""
    shares, effects = np.zeros(len(passage.units)), np.zeros(len(passage.units))
    columns = []
    for leg, said in legs.items():
        shares, effects = shares + said.slope * said.shares, effects + said.slope * said.effects
        columns.append((leg.value, said.shares.tolist(), said.effects.tolist()))
    found = []
    for i, (unit, share, effect) in enumerate(zip(passage.units, shares.tolist(), effects.tolist(), strict=True)):
        in_title, start, end = _place(passage, unit.start, unit.end)
        found.append(
            WordEffect(
                text=passage.text[unit.start : unit.end],
                start=start,
                end=end,
                in_title=in_title,
                share=share,
                effect=effect,
                legs={leg: LegEffect(share=held[i], effect=lost[i]) for leg, held, lost in columns},
            )
        )
    return tuple(found)


def sentence_effects(passage: PassageWords, legs: Mapping[Leg, LegWords]) -> tuple[UnitEffect, ...]:
    """The sentences of title and passage, in text order; a share is the sum of the words', an effect is its own."""
    found = []
    for i, span in enumerate(passage.sentences):
        inside = words_in(passage, *span)
        by_leg = {
            leg: LegEffect(share=float(said.shares[inside].sum()), effect=float(said.sentence_effects[i]))
            for leg, said in legs.items()
        }
        found.append(unit_effect(passage, span, by_leg, {leg: said.slope for leg, said in legs.items()}))
    return tuple(found)


def unit_effect(
    passage: PassageWords, span: tuple[int, int], by_leg: Mapping[Leg, LegEffect], slopes: Mapping[Leg, float]
) -> UnitEffect:
    """A span of the embedded text as a part of title or passage."""
    in_title, start, end = _place(passage, *span)
    shares = [slopes[leg] * said.share for leg, said in by_leg.items() if said.share is not None]
    return UnitEffect(
        text=passage.text[slice(*span)],
        start=start,
        end=end,
        in_title=in_title,
        share=sum(shares) if len(shares) == len(by_leg) else None,
        effect=sum(slopes[leg] * said.effect for leg, said in by_leg.items()),
        legs={leg.value: said for leg, said in by_leg.items()},
    )


def query_word_shares(
    query: Query, words: HitWords, parts: HitParts, sparse: Mapping[Leg, SparseTerms]
) -> tuple[QueryWordShare, ...]:
    """The words of the query, in text order."""
    asked = tuple(units(query.text))
    shares = {leg: np.zeros(len(asked)) for leg in Leg}
    if words.dense is not None and len(words.dense.query_shares):
        shares[Leg.DENSE] = _slope(parts, Leg.DENSE) * words.dense.query_shares
    for leg, terms in sparse.items():
        if isinstance(terms, QueryTerms):
            shares[leg] = _slope(parts, leg) * sparse_query_words(query.text, terms, parts.values[leg])
    if words.learned is not None and len(words.learned.query_shares):
        leg = words.learned.leg
        products = _slope(parts, leg) * sparse[leg].factors * parts.values[leg]
        shares[leg] = words.learned.query_shares @ products
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


def _place(passage: PassageWords, start: int, end: int) -> tuple[bool, int, int]:
    """Whether a span of the embedded text is in the title, and the span in the title or in the passage's text."""
    if start < passage.offset:
        return True, start, end
    return False, *passage.said.origin(start - passage.offset, end - passage.offset)


def _slope(parts: HitParts, leg: Leg) -> float:
    part = parts.leg(leg)
    return 0.0 if part is None else part.slope
