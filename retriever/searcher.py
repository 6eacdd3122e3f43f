"""The way of a query: encode, two legs, fuse, fetch, explain."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from core.errors import HitNotFound, ModelMismatch
from core.prompts import Prompt
from core.protocols import Encoder
from core.records import Collection, Float32Array, Float64Array, Generation, Hit, Int64Array, LegScore, Representation
from embedder.lexical import Analyzer
from retriever.candidates import POOL_DEPTH, Candidates, Ranked, gather, rank, term_products
from retriever.explain import Explainer
from retriever.fusion import FusedLeg, LegScores, collapse
from retriever.ledger import HitParts, LegPart
from retriever.query import MAX_DEPTH, Explain, Leg, Query
from retriever.terms import QueryTerms, query_terms
from store.documents import StoredPassage
from store.view import View, Views


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchResult:
    """Hits, best first, and what they were found in."""

    hits: tuple[Hit, ...]
    collection: str
    generation: Generation
    seq: int  # the committed change that the search saw as the last
    query: Query
    truncated_query: bool  # whether the model read only the beginning of the query
    sparse_silent: bool  # whether the sparse leg was asked but has no word to look for
    stages_ms: dict[str, float]  # milliseconds by stage


class Searcher:
    """Answers queries. Thread-safe; holds no state of its own."""

    def __init__(self, views: Views, encoder: Encoder, analyzer: Analyzer) -> None:
        self._views = views
        self._encoder = encoder
        self._analyzer = analyzer
        self._explainer = Explainer(encoder, analyzer)

    def search(self, collection: str, query: Query) -> SearchResult:
        """The hits `query.offset` to `query.offset + query.k` of the collection, one for each document.

        Reads exactly one committed state. Ties break by passage id. Raises CollectionNotFound, InvalidFilter,
        InvalidControl, and ModelMismatch where the collection was embedded by another model.
        """
        return self._run(collection, query, only=None)

    def explain(self, collection: str, query: Query, hit_id: int) -> SearchResult:
        """The result with the one hit `hit_id` of the query, explained in words whatever the query says.

        Any candidate can be asked for, also one that another passage of its document hides. Raises HitNotFound where
        the passage is gone, or is no candidate of this query.
        """
        return self._run(collection, replace(query, explain=Explain.WORDS), only=hit_id)

    def _run(self, name: str, query: Query, only: int | None) -> SearchResult:
        watch = _Stopwatch()
        vector, truncated = None, False
        if Leg.DENSE in query.legs:
            with watch.stage("encode"):
                vector, truncated = self._encode(query)
        with self._views.open(name) as view:
            if vector is not None:
                self._check_model(view.collection)
            terms = None
            if Leg.SPARSE in query.legs:
                terms = query_terms(query.text, query.controls, view.languages, self._analyzer)
            with watch.stage("filter"):
                allowed = None if query.filter is None else view.filter(query.filter)
            with watch.stage("rank"):
                candidates, ranked, shown = _rank(view, query, vector, terms, allowed, only)
            with watch.stage("fetch"):
                passages = view.fetch(candidates.ids[shown])
                products = np.empty((len(shown), 0))
                if terms is not None and query.explain is not Explain.NONE:
                    products = term_products(view, terms, candidates.ids[shown])
            collection, generation, seq = view.collection, view.generation, view.seq
        parts = [_parts(candidates, ranked, int(at), row) for at, row in zip(shown, products, strict=True)]
        hits = [
            _hit(passage, float(score), part)
            for passage, score, part in zip(passages, ranked.scores[shown], parts, strict=True)
        ]
        result = SearchResult(
            hits=tuple(hits),
            collection=name,
            generation=generation,
            seq=seq,
            query=query,
            truncated_query=truncated,
            sparse_silent=terms is not None and terms.silent,
            stages_ms=watch.milliseconds,
        )
        if query.explain is Explain.NONE or not hits:
            return result
        with watch.stage("explain"):
            explained = self._explainer.explain(collection, seq, query, terms, passages, hits, parts)
        return replace(result, hits=tuple(explained))

    def _encode(self, query: Query) -> tuple[Float32Array, bool]:
        prompt = Prompt.of(query.text, controls=query.controls)
        found = self._encoder.encode([prompt], Representation.QUERY, options=query.options)
        vector: Float32Array = found.vectors[0]
        return vector, bool(found.truncated[0])

    def _check_model(self, collection: Collection) -> None:
        if collection.active.fingerprint != self._encoder.fingerprint:
            raise ModelMismatch(
                f"collection {collection.name!r} was embedded by {collection.active.model} "
                f"(fingerprint {collection.active.fingerprint}), the loaded model is {self._encoder.name} "
                f"({self._encoder.fingerprint}); start Salience with the collection's model, or index it anew"
            )


def _rank(
    view: View,
    query: Query,
    vector: Float32Array | None,
    terms: QueryTerms | None,
    allowed: Int64Array | None,
    only: int | None,
) -> tuple[Candidates, Ranked, Int64Array]:
    """Candidates, their scores, and the positions of those to show, best first.

    The pools are deepened until they hold enough documents or everything there is, so that passages of few documents at
    the top never leave a page short. For `only`, until they hold it: any page may have shown it.
    """
    wanted = MAX_DEPTH if only is not None else query.offset + query.k
    depth = max(POOL_DEPTH, query.offset + query.k)
    while True:
        candidates = gather(view, vector=vector, terms=terms, depth=depth, allowed=allowed)
        ranked = rank(candidates, query.fusion)
        best = collapse(candidates.ids, ranked.scores, candidates.documents)
        if len(best) >= wanted or candidates.complete or (only is not None and only in candidates.ids):
            shown = best[query.offset : wanted] if only is None else _position(candidates, only)
            return candidates, ranked, shown
        depth *= 4


def _position(candidates: Candidates, hit_id: int) -> Int64Array:
    found = np.flatnonzero(candidates.ids == hit_id)
    if not len(found):
        raise HitNotFound(
            f"passage {hit_id} is not among the {len(candidates.ids)} candidates of this query: its document was "
            "replaced or deleted, the filter leaves it out, or neither leg found it",
            param="id",
        )
    return found


def _hit(passage: StoredPassage, score: float, parts: HitParts) -> Hit:
    scores = {
        part.leg.value: LegScore(raw=part.raw, rank=part.rank, norm=part.norm, weight=part.weight)
        for part in parts.legs
    }
    return Hit(
        id=passage.id,
        document_id=passage.document_id,
        title=passage.title,
        metadata=passage.metadata,
        passage=passage.passage,
        text=passage.text,
        score=score,
        scores=scores,
    )


def _parts(candidates: Candidates, ranked: Ranked, position: int, products: Float64Array) -> HitParts:
    legs = (
        _leg_part(Leg.DENSE, candidates.dense, ranked.dense, position),
        _leg_part(Leg.SPARSE, candidates.sparse, ranked.sparse, position),
    )
    return HitParts(legs=tuple(leg for leg in legs if leg is not None), products=products)


def _leg_part(leg: Leg, scores: LegScores | None, fused: FusedLeg | None, position: int) -> LegPart | None:
    if scores is None or fused is None:
        return None
    norm = float(fused.norm[position])
    outside = norm == 0 and fused.scale is not None  # at or below the pool's lowest: the value is 0, not on the line
    return LegPart(
        leg=leg,
        raw=float(scores.raw[position]),
        rank=int(scores.rank[position]) or None,
        norm=norm,
        weight=fused.weight,
        scale=0.0 if outside else fused.scale,
        constant=0.0 if outside else fused.constant,
    )


@dataclass(slots=True)
class _Stopwatch:
    milliseconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.milliseconds[name] = (time.perf_counter() - start) * 1000
