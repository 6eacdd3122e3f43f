"""Attributes a hit's score to the words and sentences of its passage, and to the words of the query, over all legs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.reasons import LegEffect, QueryWordShare, UnitEffect, WordEffect
from core.records import Float64Array, Int64Array
from embedder.factors import span_factors
from embedder.lexical import Analyzer
from embedder.lexical.words import units
from retriever.ledger import HitParts, HitWords
from retriever.legs import Leg, SparseTerms
from retriever.query import Query
from retriever.terms import QueryTerms
from retriever.words import PassageWords, spans_of, sparse_query_words, sparse_words, words_in


@dataclass(frozen=True, kw_only=True, slots=True)
class LegWords:
    """The contributions of a passage's words and sentences to one leg, in the leg's own units."""

    slope: float  # final score per unit of the leg's raw score
    shares: Float64Array  # (words,)
    effects: Float64Array  # (words,)
    sentence_effects: Float64Array  # (sentences,)


def leg_words(
    words: HitWords, parts: HitParts, sparse: Mapping[Leg, SparseTerms], analyzer: Analyzer
) -> dict[Leg, LegWords]:
    """The contributions by leg, for legs that can be split. For BM25, a word's effect equals its share."""
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
    for said in legs.values():
        shares, effects = shares + said.slope * said.shares, effects + said.slope * said.effects
        columns.append(_leg_effects(said.shares.tolist(), said.effects.tolist()))
    names = [leg.value for leg in legs]
    by_leg = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)] or [{} for _ in passage.units]
    return tuple(map(WordEffect, *_places(passage, passage.spans), shares.tolist(), effects.tolist(), by_leg))


def sentence_effects(passage: PassageWords, legs: Mapping[Leg, LegWords]) -> tuple[UnitEffect, ...]:
    """The sentences of title and passage, in text order. A share is the sum of the words' shares, an effect is not."""
    inside = [words_in(passage, *span) for span in passage.sentences]
    effects = {
        leg: _leg_effects([float(said.shares[own].sum()) for own in inside], said.sentence_effects.tolist())
        for leg, said in legs.items()
    }
    return part_effects(passage, passage.sentences, effects, {leg: said.slope for leg, said in legs.items()})


def part_effects(
    passage: PassageWords,
    spans: Sequence[tuple[int, int]],
    effects: Mapping[Leg, Sequence[LegEffect]],
    slopes: Mapping[Leg, float],
) -> tuple[UnitEffect, ...]:
    """The effects of `spans` of the embedded text, as parts of title or passage. `effects`: by leg, one per span."""
    found = []
    places = _places(passage, np.array(spans, dtype=np.int64).reshape(-1, 2))
    for i, (text, start, end, in_title) in enumerate(zip(*places, strict=True)):
        by_leg = {leg: said[i] for leg, said in effects.items()}
        shares = [slopes[leg] * said.share for leg, said in by_leg.items() if said.share is not None]
        found.append(
            UnitEffect(
                text=text,
                start=start,
                end=end,
                in_title=in_title,
                share=sum(shares) if len(shares) == len(by_leg) else None,
                effect=sum(slopes[leg] * said.effect for leg, said in by_leg.items()),
                legs={leg.value: said for leg, said in by_leg.items()},
            )
        )
    return tuple(found)


def query_word_shares(
    query: Query, words: HitWords, parts: HitParts, sparse: Mapping[Leg, SparseTerms]
) -> tuple[QueryWordShare, ...]:
    """The shares of the query's words, in text order."""
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
    factors = span_factors(query.text, query.controls, spans_of(asked)).tolist()
    dense, bm25, learned = (shares[leg].tolist() for leg in (Leg.DENSE, Leg.SPARSE, Leg.LEARNED))
    return tuple(
        QueryWordShare(
            text=query.text[word.start : word.end],
            start=word.start,
            end=word.end,
            factor=factors[i],
            dense=dense[i],
            sparse=bm25[i],
            learned=learned[i],
        )
        for i, word in enumerate(asked)
    )


def _leg_effects(shares: Sequence[float], effects: Sequence[float]) -> list[LegEffect]:
    nothing = LegEffect(0.0, 0.0)  # shared by most words of a sparse leg
    return [LegEffect(*said) if any(said) else nothing for said in zip(shares, effects, strict=True)]


def _places(passage: PassageWords, spans: Int64Array) -> tuple[list[str], list[int], list[int], list[bool]]:
    """For spans of the embedded text: text, start and end in the title or passage, and whether it is the title."""
    in_title = spans[:, 0] < passage.offset
    placed = spans.copy()
    placed[~in_title] = passage.said.origin(spans[~in_title] - passage.offset)
    texts = [passage.text[start:end] for start, end in spans.tolist()]
    return texts, placed[:, 0].tolist(), placed[:, 1].tolist(), in_title.tolist()


def _slope(parts: HitParts, leg: Leg) -> float:
    part = parts.leg(leg)
    return 0.0 if part is None else part.slope
