"""Why the hits of a search have their scores: the ledger, the words of the passage, the words of the query."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from core.filters import filter_json
from core.passages import passage_prompt, prompt_title, text_offset
from core.prompts import Prompt
from core.protocols import Encoder
from core.records import (
    Collection,
    Float64Array,
    Hit,
    HitExplanation,
    QueryWordShare,
    Representation,
    TokenTrace,
    WordEffect,
)
from embedder.factors import span_factors
from embedder.lexical import Analyzer
from embedder.lexical.words import units
from retriever.ledger import HitParts, ledger
from retriever.query import Explain, Leg, Query
from retriever.terms import QueryTerms
from retriever.words import (
    DenseWords,
    PassageWords,
    dense_words,
    passage_words,
    sparse_query_words,
    sparse_words,
)
from store.documents import StoredPassage

SIGNIFICANT = 0.02  # of the score: where no word's effect reaches it, no single word made the match


class Explainer:
    """Explains hits. For words it embeds the shown passages and the query once more, in one batch each."""

    def __init__(self, encoder: Encoder, analyzer: Analyzer) -> None:
        self._encoder = encoder
        self._analyzer = analyzer

    def explain(
        self,
        collection: Collection,
        seq: int,
        query: Query,
        terms: QueryTerms | None,
        passages: Sequence[StoredPassage],
        hits: Sequence[Hit],
        parts: Sequence[HitParts],
    ) -> list[Hit]:
        """`hits` with their explanations; the sequences are in one order."""
        provenance = _provenance(collection, seq, query, self._encoder)
        if query.explain is Explain.SCORES:
            return [
                replace(hit, explanation=_by_legs(hit, part, terms, provenance))
                for hit, part in zip(hits, parts, strict=True)
            ]
        texts = [self._passage_words(collection, passage) for passage in passages]
        query_trace, traces = self._traces(query, texts, parts)
        return [
            replace(hit, explanation=self._in_words(query, terms, hit, part, words, query_trace, trace, provenance))
            for hit, part, words, trace in zip(hits, parts, texts, traces, strict=True)
        ]

    def _passage_words(self, collection: Collection, passage: StoredPassage) -> PassageWords:
        title = prompt_title(passage.title, collection.settings, self._encoder)
        return passage_words(passage_prompt(title, passage.text), text_offset(title), passage.language)

    def _traces(
        self, query: Query, texts: Sequence[PassageWords], parts: Sequence[HitParts]
    ) -> tuple[TokenTrace | None, Sequence[TokenTrace | None]]:
        nothing: tuple[None, list[None]] = (None, [None] * len(texts))
        if not parts or parts[0].leg(Leg.DENSE) is None:
            return nothing
        prompt = Prompt.of(query.text, controls=query.controls)
        asked = self._encoder.trace([prompt], Representation.QUERY, options=query.options)
        if asked is None:
            return nothing
        traces = self._encoder.trace([Prompt.of(words.text) for words in texts], Representation.DOCUMENT)
        return nothing if traces is None else (asked[0], traces)

    def _in_words(
        self,
        query: Query,
        terms: QueryTerms | None,
        hit: Hit,
        part: HitParts,
        words: PassageWords,
        query_trace: TokenTrace | None,
        trace: TokenTrace | None,
        provenance: dict[str, Any],
    ) -> HitExplanation:
        dense = None
        if query_trace is not None and trace is not None:
            dense = dense_words(query.text, words, query_trace, trace)
        effects = _word_effects(words, part, dense, sparse_words(words, terms, part.products, self._analyzer))
        shares = _query_word_shares(query, terms, part, dense)
        return HitExplanation(
            ledger=ledger(hit.score, part, terms, words, dense),
            words=effects,
            query_words=shares,
            query_rest=hit.score - math.fsum(share.dense + share.sparse for share in shares),
            significant=any(0 < abs(word.effect) >= SIGNIFICANT * abs(hit.score) for word in effects),
            provenance=provenance,
        )


def _by_legs(hit: Hit, part: HitParts, terms: QueryTerms | None, provenance: dict[str, Any]) -> HitExplanation:
    return HitExplanation(
        ledger=ledger(hit.score, part, terms, None, None),
        words=(),
        query_words=(),
        query_rest=hit.score,
        significant=False,
        provenance=provenance,
    )


def _word_effects(
    words: PassageWords, part: HitParts, dense: DenseWords | None, sparse: Float64Array
) -> tuple[WordEffect, ...]:
    slopes = _slopes(part)
    sparse_values = slopes[Leg.SPARSE] * sparse
    shares = sparse_values if dense is None else slopes[Leg.DENSE] * dense.shares + sparse_values
    effects = sparse_values if dense is None else slopes[Leg.DENSE] * dense.effects + sparse_values
    found = []
    for unit, share, effect in zip(words.units, shares, effects, strict=True):
        in_title = unit.start < words.offset
        shift = 0 if in_title else words.offset
        found.append(
            WordEffect(
                text=words.text[unit.start : unit.end],
                start=unit.start - shift,
                end=unit.end - shift,
                in_title=in_title,
                share=float(share),
                effect=float(effect),
            )
        )
    return tuple(found)


def _query_word_shares(
    query: Query, terms: QueryTerms | None, part: HitParts, dense: DenseWords | None
) -> tuple[QueryWordShare, ...]:
    words = tuple(units(query.text))
    slopes = _slopes(part)
    nothing = np.zeros(len(words))
    by_dense = nothing if dense is None else slopes[Leg.DENSE] * dense.query_shares
    by_sparse = nothing if terms is None else slopes[Leg.SPARSE] * sparse_query_words(query.text, terms, part.products)
    spans = np.array([(word.start, word.end) for word in words], dtype=np.int64).reshape(-1, 2)
    factors = span_factors(query.text, query.controls, spans)
    return tuple(
        QueryWordShare(
            text=query.text[word.start : word.end],
            start=word.start,
            end=word.end,
            factor=float(factor),
            dense=float(dense_share),
            sparse=float(sparse_share),
        )
        for word, factor, dense_share, sparse_share in zip(words, factors, by_dense, by_sparse, strict=True)
    )


def _slopes(part: HitParts) -> dict[Leg, float]:
    found = {leg: part.leg(leg) for leg in Leg}
    return {leg: 0.0 if leg_part is None else leg_part.slope for leg, leg_part in found.items()}


def _provenance(collection: Collection, seq: int, query: Query, encoder: Encoder) -> dict[str, Any]:
    """Everything needed to compute the explanation again."""
    dense = Leg.DENSE in query.legs
    return {
        "method": "token-pair matrix (shares), leave-one-out in the pool (effects)" if dense else "BM25 products",
        "objective": "score of the passage for the query",
        "model": encoder.name if dense else None,
        "fingerprint": encoder.fingerprint if dense else None,
        "collection": collection.name,
        "generation": collection.active.id,
        "seq": seq,
        "query": query.text,
        "controls": [
            {"start": c.start, "length": c.length, "factor": c.factor, "token_overlap": c.token_overlap.value}
            for c in query.controls
        ],
        "control_target": query.options.target.value,
        "control_log_additive": query.options.log_additive,
        "contextual_control_threshold": query.options.contextual_threshold,
        "legs": [leg.value for leg in query.legs],
        "fusion": query.fusion.method,
        "fusion_parameters": query.fusion.parameters,
        "filter": None if query.filter is None else filter_json(query.filter),
    }
