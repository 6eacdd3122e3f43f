"""The way of a query: encode, the legs, fuse, fetch, explain."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from core.errors import HitNotFound, ModelMismatch
from core.prompts import Prompt
from core.protocols import Encoder, SparseModels
from core.records import Collection, Float32Array, Float64Array, Generation, Hit, Int64Array, LegScore, Representation
from embedder.lexical import Analyzer
from embedder.together import encode_together, sparse_model_of
from retriever.candidates import POOL_DEPTH, Candidates, gather, rank
from retriever.explain import Explainer
from retriever.fusion import Fused, FusedLeg, LegScores, collapse
from retriever.learned import LearnedTerms
from retriever.ledger import HitParts, LegPart
from retriever.legs import Leg, SparseTerms, learned_leg, legs_of
from retriever.query import MAX_DEPTH, Explain, Query
from retriever.terms import query_terms
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
    legs: tuple[Leg, ...]  # that it searched by
    truncated_query: bool  # whether a model read only the beginning of the query
    sparse_silent: bool  # whether sparse legs were asked and none has anything to look for
    stages_ms: dict[str, float]  # milliseconds by stage


class Searcher:
    """Answers queries. Thread-safe; holds no state of its own."""

    def __init__(
        self, views: Views, encoder: Encoder, analyzer: Analyzer, sparse_models: SparseModels | None = None
    ) -> None:
        """`sparse_models`: for collections with learned weights; None where there are none."""
        self._views = views
        self._encoder = encoder
        self._analyzer = analyzer
        self._sparse_models = sparse_models
        self._explainer = Explainer(encoder, analyzer)

    def search(self, collection: str, query: Query) -> SearchResult:
        """The hits `query.offset` to `query.offset + query.k` of the collection, one for each document.

        Reads exactly one committed state. Ties break by passage id. Raises CollectionNotFound, InvalidFilter,
        InvalidControl, InvalidQuery for a leg that the collection lacks, ModelMismatch where it was embedded by another
        model, and ModelNotFound where its sparse model is not configured.
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
        collection = self._views.collection(name)
        legs = legs_of(collection, query.legs)
        with watch.stage("encode"):
            encoded = self._encode(query, collection, legs)
        with self._views.open(name) as view:
            if view.generation.id != collection.active.id:  # another collection has taken the name meanwhile
                return self._run(name, query, only)
            sparse = self._sparse_terms(query, legs, encoded.learned, view)
            with watch.stage("filter"):
                allowed = None if query.filter is None else view.filter(query.filter)
            with watch.stage("rank"):
                candidates, ranked, shown = _rank(view, query, encoded.vector, sparse, allowed, only)
            with watch.stage("fetch"):
                passages = view.fetch(candidates.ids[shown])
                values: dict[Leg, Float64Array] = {}
                if query.explain is not Explain.NONE:
                    values = {leg: terms.values(view, candidates.ids[shown]) for leg, terms in sparse.items()}
            generation, seq = view.generation, view.seq
        parts = [
            _parts(candidates, ranked, int(at), {leg: table[row] for leg, table in values.items()})
            for row, at in enumerate(shown)
        ]
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
            legs=legs,
            truncated_query=encoded.truncated,
            sparse_silent=bool(sparse) and all(terms.silent for terms in sparse.values()),
            stages_ms=watch.milliseconds,
        )
        if query.explain is Explain.NONE or not hits:
            return result
        with watch.stage("explain"):
            explained = self._explainer.explain(collection, seq, query, sparse, passages, hits, parts)
        return replace(result, hits=tuple(explained))

    def _encode(self, query: Query, collection: Collection, legs: Sequence[Leg]) -> _Encoded:
        prompt, as_query = [Prompt.of(query.text, controls=query.controls)], Representation.QUERY
        sparse = sparse_model_of(collection, self._sparse_models) if learned_leg(collection) in legs else None
        dense = learned = None
        if Leg.DENSE in legs:
            self._check_model(collection)
        if Leg.DENSE in legs and sparse is not None:
            dense, learned = encode_together(self._encoder, sparse, prompt, as_query, options=query.options)
        elif Leg.DENSE in legs:
            dense = self._encoder.encode(prompt, as_query, options=query.options)
        elif sparse is not None:
            learned = sparse.encode_sparse(prompt, as_query, options=query.options)
        terms = None
        if learned is not None and sparse is not None:
            terms = LearnedTerms(vector=learned.vectors[0], encoder=sparse)
        return _Encoded(
            vector=None if dense is None else dense.vectors[0],
            learned=terms,
            truncated=any(bool(made.truncated[0]) for made in (dense, learned) if made is not None),
        )

    def _sparse_terms(
        self, query: Query, legs: Sequence[Leg], learned: LearnedTerms | None, view: View
    ) -> dict[Leg, SparseTerms]:
        """What the sparse legs look for."""
        found: dict[Leg, SparseTerms] = {}
        place = learned_leg(view.collection)
        if Leg.SPARSE in legs and place is not Leg.SPARSE:
            found[Leg.SPARSE] = query_terms(query.text, query.controls, view.languages, self._analyzer)
        if place is not None and learned is not None:
            found[place] = learned
        return found

    def _check_model(self, collection: Collection) -> None:
        if collection.active.fingerprint != self._encoder.fingerprint:
            raise ModelMismatch(
                f"collection {collection.name!r} was embedded by {collection.active.model} "
                f"(fingerprint {collection.active.fingerprint}), the loaded model is {self._encoder.name} "
                f"({self._encoder.fingerprint}); start Salience with the collection's model, in the precision and with "
                "the settings of then, or index it anew"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Encoded:
    """The query as the models see it; None for a leg that takes no part."""

    vector: Float32Array | None  # (dimension,)
    learned: LearnedTerms | None
    truncated: bool  # whether a model read only its beginning


def _rank(
    view: View,
    query: Query,
    vector: Float32Array | None,
    sparse: Mapping[Leg, SparseTerms],
    allowed: Int64Array | None,
    only: int | None,
) -> tuple[Candidates, Fused, Int64Array]:
    """Candidates, their scores, and the positions of those to show, best first.

    The pools are deepened until they hold enough documents or everything there is, so that passages of few documents at
    the top never leave a page short. For `only`, until they hold it: any page may have shown it.
    """
    wanted = MAX_DEPTH if only is not None else query.offset + query.k
    depth = max(POOL_DEPTH, query.offset + query.k)
    while True:
        candidates = gather(view, vector=vector, sparse=sparse, depth=depth, allowed=allowed)
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
            "replaced or deleted, the filter leaves it out, or no leg found it",
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


def _parts(candidates: Candidates, ranked: Fused, position: int, values: Mapping[Leg, Float64Array]) -> HitParts:
    legs = tuple(_leg_part(leg, scores, ranked.legs[leg], position) for leg, scores in candidates.legs.items())
    return HitParts(legs=legs, values=values)


def _leg_part(leg: Leg, scores: LegScores, fused: FusedLeg, position: int) -> LegPart:
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
