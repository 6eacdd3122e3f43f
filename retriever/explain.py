"""Explains the scores of hits: by a ledger, by the words and sentences of the passage, and by the query's words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from core.passages import kept_text, passage_prompt, prompt_title, text_offset
from core.prompts import Prompt
from core.protocols import DenseModels, Encoder
from core.reasons import HitExplanation
from core.records import Collection, Float32Array, Float64Array, Hit, Representation, SparseTrace, TokenTrace
from embedder.attribution import parts as token_parts
from embedder.lexical import Analyzer
from retriever.effects import leg_words, query_word_shares, sentence_effects, word_effects
from retriever.learned import LearnedTerms
from retriever.ledger import HitParts, HitWords, ledger
from retriever.legs import Leg, SparseTerms
from retriever.lrucache import Audience
from retriever.query import Explain, Query
from retriever.record import hit_record, search_record
from retriever.tracecache import TraceCache
from retriever.unit_effects import unit_effects
from retriever.words import LearnedWords, PassageWords, dense_query, dense_words, learned_words, passage_words
from store.documents import StoredPassage

AT_ONCE = 128  # texts that the models read together: the trace of each takes megabytes
SIGNIFICANT = 0.02  # fraction of the score: if no word's effect reaches it, no single word made the match


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainContext:
    """The search that found the hits, as the explanation needs it."""

    query: Query
    audience: Audience  # callers that may share cached traces
    sparse: Mapping[Leg, SparseTerms]
    vector: Float32Array | None = None  # (dimension,) of the dense leg; None: it takes no part
    trace: TokenTrace | None = None  # of `vector`, if the model provided it when encoding
    as_text: bool = True  # whether the vector and the learned weights are what the models compute from the text
    reranker: str | None = None  # fingerprint of the reranker; None: the hits were not reranked

    @property
    def learned(self) -> tuple[Leg, LearnedTerms] | None:
        """The leg that scores by learned weights, and its terms; None: there is none."""
        return next(((leg, terms) for leg, terms in self.sparse.items() if isinstance(terms, LearnedTerms)), None)


class Explainer:
    """Explains hits. Thread-safe.

    To explain in words, each model of the search reads the shown passages and the query, unless traces are cached.
    """

    def __init__(self, models: DenseModels, analyzer: Analyzer) -> None:
        self._models = models
        self._analyzer = analyzer
        self._trace_cache = TraceCache()

    @property
    def kept_bytes(self) -> int:
        """Memory of the cached traces."""
        return self._trace_cache.bytes

    def explain(
        self,
        collection: Collection,
        seq: int,
        context: ExplainContext,
        passages: Sequence[StoredPassage],
        hits: Sequence[Hit],
        parts: Sequence[HitParts],
    ) -> list[Hit]:
        """`hits` with their explanations. There must be at least one hit; all sequences have the same order."""
        legs = tuple(part.leg for part in parts[0].legs)
        record = search_record(collection, seq, context.query, legs, context.reranker)
        if context.query.explain is Explain.SCORES:
            return [
                replace(hit, explanation=_by_legs(hit, part, context.sparse, record))
                for hit, part in zip(hits, parts, strict=True)
            ]
        encoder = self._models(collection)
        texts = [_passage_words(collection, passage, encoder) for passage in passages]
        towards = self._towards(context, encoder) if Leg.DENSE in legs else None
        words = self._words(context, texts, towards, encoder)
        return [
            replace(hit, explanation=self._in_words(context, hit, part, word, towards, record, encoder))
            for hit, part, word in zip(hits, parts, words, strict=True)
        ]

    def _towards(self, context: ExplainContext, encoder: Encoder) -> TokenTrace | Float32Array | None:
        """The query as the passages are compared with it: its token trace, or its vector if there is no trace."""
        if not context.as_text:
            return context.vector
        if context.trace is not None:
            return context.trace
        query = context.query
        prompt = Prompt.of(query.text, controls=query.controls)
        made = self._trace_cache.dense(encoder, [prompt], Representation.QUERY, context.audience, options=query.options)
        return context.vector if made is None else made[0]

    def _words(
        self,
        context: ExplainContext,
        texts: Sequence[PassageWords],
        towards: TokenTrace | Float32Array | None,
        encoder: Encoder,
    ) -> Iterator[HitWords]:
        """The contributions of each text's words, lazily: only AT_ONCE texts are traced at a time."""
        query = None if towards is None else dense_query(context.query.text, towards)
        learned_query = self._learned_query(context)
        for begin in range(0, len(texts), AT_ONCE):
            batch = texts[begin : begin + AT_ONCE]
            prompts = [words.prompt for words in batch]
            traces = None
            if query is not None:
                traces = self._trace_cache.dense(encoder, prompts, Representation.DOCUMENT, context.audience)
            learned = self._learned(context, batch, prompts, learned_query)
            for i, words in enumerate(batch):
                dense = None if query is None or traces is None else dense_words(words, query, traces[i])
                yield HitWords(passage=words, dense=dense, learned=next(learned, None))

    def _learned(
        self,
        context: ExplainContext,
        texts: Sequence[PassageWords],
        prompts: Sequence[Prompt],
        query: SparseTrace | None,
    ) -> Iterator[LearnedWords]:
        """By passage; nothing if no leg scores by learned weights, or its model provides no traces."""
        if context.learned is None:
            return
        leg, terms = context.learned
        ids = terms.vector.ids
        traces = self._trace_cache.sparse(terms.encoder, prompts, Representation.DOCUMENT, ids, context.audience)
        for words, trace in () if traces is None else zip(texts, traces, strict=True):
            yield learned_words(leg, context.query.text, words, query, trace)

    def _learned_query(self, context: ExplainContext) -> SparseTrace | None:
        """The trace of the query's learned weights; None if they are not made from text, or the model provides none."""
        if context.learned is None or not context.as_text:
            return None
        (_, terms), query = context.learned, context.query
        prompt, options = Prompt.of(query.text, controls=query.controls), query.options
        representation, ids = Representation.QUERY, terms.vector.ids
        made = self._trace_cache.sparse(terms.encoder, [prompt], representation, ids, context.audience, options=options)
        return None if made is None else made[0]

    def _in_words(
        self,
        context: ExplainContext,
        hit: Hit,
        part: HitParts,
        words: HitWords,
        towards: TokenTrace | Float32Array | None,
        record: Mapping[str, Any],
        encoder: Encoder,
    ) -> HitExplanation:
        legs = leg_words(words, part, context.sparse, self._analyzer)
        effects = word_effects(words.passage, legs)
        shares = query_word_shares(context.query, words, part, context.sparse)
        units = context.query.units
        slopes = {one.leg: one.slope for one in part.legs}
        return HitExplanation(
            ledger=ledger(hit.score, part, context.sparse, words, controlled=bool(hit.controls)),
            words=effects,
            query_words=shares,
            query_rest=hit.score - math.fsum(share.dense + share.sparse + share.learned for share in shares),
            significant=any(0 < abs(word.effect) >= SIGNIFICANT * abs(hit.score) for word in effects),
            provenance=hit_record(record, hit),
            sentences=sentence_effects(words.passage, legs),
            units=()
            if units is None
            else unit_effects(units, words.passage, encoder, _vector(towards), context.sparse, legs, slopes),
        )


def _passage_words(collection: Collection, passage: StoredPassage, encoder: Encoder) -> PassageWords:
    title = prompt_title(passage.title, collection.settings, encoder)
    weight = collection.settings.title_weight
    said = kept_text(passage.text, passage.controls)
    return passage_words(passage_prompt(title, said.text), text_offset(title), passage.language, weight, said)


def _vector(towards: TokenTrace | Float32Array | None) -> Float64Array | None:
    """The query's vector, (dimension,) of unit length."""
    if isinstance(towards, TokenTrace):
        unit: Float64Array = token_parts(towards).sum(axis=0)
        return unit
    return None if towards is None else towards.astype(np.float64)


def _by_legs(hit: Hit, part: HitParts, sparse: Mapping[Leg, SparseTerms], record: Mapping[str, Any]) -> HitExplanation:
    return HitExplanation(
        ledger=ledger(hit.score, part, sparse, None, controlled=bool(hit.controls)),
        words=(),
        query_words=(),
        query_rest=hit.score,
        significant=False,
        provenance=hit_record(record, hit),
    )
