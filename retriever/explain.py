"""Why the hits of a search have their scores: the ledger, the words of the passage, the words of the query."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.filters import filter_json
from core.passages import passage_prompt, prompt_title, text_offset
from core.prompts import Prompt
from core.protocols import Encoder
from core.records import Collection, Hit, HitExplanation, Representation, SparseScoring
from embedder.lexical import Analyzer
from retriever.effects import query_word_shares, word_effects
from retriever.learned import LearnedTerms
from retriever.ledger import HitParts, HitWords, ledger
from retriever.legs import Leg, SparseTerms, learned_leg
from retriever.query import Explain, Query
from retriever.words import DenseWords, LearnedWords, PassageWords, dense_words, learned_words, passage_words
from store.documents import StoredPassage

SIGNIFICANT = 0.02  # of the score: where no word's effect reaches it, no single word made the match


class Explainer:
    """Explains hits. For words each model of the search embeds the shown passages and the query once more."""

    def __init__(self, encoder: Encoder, analyzer: Analyzer) -> None:
        self._encoder = encoder
        self._analyzer = analyzer

    def explain(
        self,
        collection: Collection,
        seq: int,
        query: Query,
        sparse: Mapping[Leg, SparseTerms],
        passages: Sequence[StoredPassage],
        hits: Sequence[Hit],
        parts: Sequence[HitParts],
    ) -> list[Hit]:
        """`hits` with their explanations, at least one; the sequences are in one order."""
        legs = tuple(part.leg for part in parts[0].legs)
        provenance = _provenance(collection, seq, query, legs, self._encoder)
        if query.explain is Explain.SCORES:
            return [
                replace(hit, explanation=_by_legs(hit, part, sparse, provenance))
                for hit, part in zip(hits, parts, strict=True)
            ]
        texts = [self._passage_words(collection, passage) for passage in passages]
        dense = self._dense(query, texts) if Leg.DENSE in legs else None
        learned = _learned(query, sparse, texts)
        explained = []
        for i, (hit, part) in enumerate(zip(hits, parts, strict=True)):
            words = HitWords(
                passage=texts[i],
                dense=None if dense is None else dense[i],
                learned=None if learned is None else learned[i],
            )
            explained.append(replace(hit, explanation=self._in_words(query, sparse, hit, part, words, provenance)))
        return explained

    def _passage_words(self, collection: Collection, passage: StoredPassage) -> PassageWords:
        title = prompt_title(passage.title, collection.settings, self._encoder)
        return passage_words(passage_prompt(title, passage.text), text_offset(title), passage.language)

    def _dense(self, query: Query, texts: Sequence[PassageWords]) -> list[DenseWords] | None:
        """By passage; None where the model does not tell."""
        prompt = Prompt.of(query.text, controls=query.controls)
        asked = self._encoder.trace([prompt], Representation.QUERY, options=query.options)
        if asked is None:
            return None
        traces = self._encoder.trace([Prompt.of(words.text) for words in texts], Representation.DOCUMENT)
        if traces is None:
            return None
        return [dense_words(query.text, words, asked[0], trace) for words, trace in zip(texts, traces, strict=True)]

    def _in_words(
        self,
        query: Query,
        sparse: Mapping[Leg, SparseTerms],
        hit: Hit,
        part: HitParts,
        words: HitWords,
        provenance: dict[str, Any],
    ) -> HitExplanation:
        effects = word_effects(words, part, sparse, self._analyzer)
        shares = query_word_shares(query, words, part, sparse)
        return HitExplanation(
            ledger=ledger(hit.score, part, sparse, words),
            words=effects,
            query_words=shares,
            query_rest=hit.score - math.fsum(share.dense + share.sparse + share.learned for share in shares),
            significant=any(0 < abs(word.effect) >= SIGNIFICANT * abs(hit.score) for word in effects),
            provenance=provenance,
        )


def _learned(
    query: Query, sparse: Mapping[Leg, SparseTerms], texts: Sequence[PassageWords]
) -> list[LearnedWords] | None:
    """By passage; None where no leg scores by learned weights, or its model does not tell."""
    for leg, terms in sparse.items():
        if not isinstance(terms, LearnedTerms):
            continue
        encoder, ids = terms.encoder, terms.vector.ids
        prompt = Prompt.of(query.text, controls=query.controls)
        asked = encoder.trace_sparse([prompt], Representation.QUERY, [ids], options=query.options)
        prompts = [Prompt.of(words.text) for words in texts]
        traces = encoder.trace_sparse(prompts, Representation.DOCUMENT, [ids] * len(texts))
        if asked is None or traces is None:
            return None
        return [
            learned_words(leg, query.text, words, asked[0], trace) for words, trace in zip(texts, traces, strict=True)
        ]
    return None


def _by_legs(hit: Hit, part: HitParts, sparse: Mapping[Leg, SparseTerms], provenance: dict[str, Any]) -> HitExplanation:
    return HitExplanation(
        ledger=ledger(hit.score, part, sparse, None),
        words=(),
        query_words=(),
        query_rest=hit.score,
        significant=False,
        provenance=provenance,
    )


def _provenance(
    collection: Collection, seq: int, query: Query, legs: Sequence[Leg], encoder: Encoder
) -> dict[str, Any]:
    """Everything needed to compute the explanation again."""
    dense, learned = Leg.DENSE in legs, learned_leg(collection) in legs
    methods = {
        "token-pair matrix (shares), leave-one-out in the pool (effects)": dense,
        "BM25 products": collection.settings.sparse is not SparseScoring.LEARNED and Leg.SPARSE in legs,
        "products of learned weights, by the tokens that made them (shares), leave-one-out in the pool (effects)": (
            learned
        ),
    }
    return {
        "method": "; ".join(method for method, used in methods.items() if used),
        "objective": "score of the passage for the query",
        "model": encoder.name if dense else None,
        "fingerprint": encoder.fingerprint if dense else None,
        "sparse_model": collection.active.sparse_model if learned else None,
        "sparse_fingerprint": collection.active.sparse_fingerprint if learned else None,
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
        "legs": [leg.value for leg in legs],
        "fusion": query.fusion.method,
        "fusion_parameters": query.fusion.parameters(legs),
        "filter": None if query.filter is None else filter_json(query.filter),
    }
