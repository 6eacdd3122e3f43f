"""The way of a query: encode, the legs, fuse, fetch, explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from core.errors import ModelMismatch
from core.prompts import Prompt
from core.protocols import Encoder, SparseModels
from core.records import (
    Collection,
    Float32Array,
    Float64Array,
    Generation,
    Hit,
    Int64Array,
    Representation,
    Scoring,
)
from embedder.lexical import Analyzer
from embedder.together import encode_together, sparse_model_of
from retriever.adaptive import Choice
from retriever.candidates import POOL_DEPTH, gather, rank
from retriever.explain import Explainer
from retriever.fusion import collapse
from retriever.hits import hit_of, parts_of
from retriever.learned import LearnedTerms
from retriever.legs import Leg, SparseTerms, learned_leg, legs_of
from retriever.query import Explain, Query
from retriever.ranking import ranked_page
from retriever.stopwatch import Stopwatch
from retriever.terms import query_terms
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
    choice: Choice | None = None  # how the auto fusion weighed the legs, and why


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

    def try_scorings(self, collection: str, query: Query, scorings: Sequence[Scoring]) -> list[Int64Array]:
        """What the collection would answer under other settings: the first `query.k` documents under each.

        As the store's own numbers (`View.documents_of`), best first; the query is encoded once. Raises what `search`
        does.
        """
        found = self._views.collection(collection)
        legs = legs_of(found, query.legs)
        encoded = self._encode(query, found, legs)
        tried: list[Int64Array] = []
        with self._views.open(collection) as view:
            sparse = self._sparse_terms(query, legs, encoded.learned, view)
            for (k1, b), group in groupby(scorings, key=lambda scoring: (scoring.k1, scoring.b)):
                rescored = view.rescored(k1=k1, b=b)
                candidates = gather(rescored, vector=encoded.vector, sparse=sparse, depth=POOL_DEPTH, allowed=None)
                for scoring in group:
                    ranked = rank(candidates, query.fusion.settled(scoring.alpha))
                    best = collapse(candidates.ids, ranked.scores, candidates.documents)[: query.k]
                    tried.append(candidates.documents[best])
        return tried

    def _run(self, name: str, query: Query, only: int | None) -> SearchResult:
        watch = Stopwatch()
        collection = self._views.collection(name)
        query = replace(query, fusion=query.fusion.settled(collection.settings.alpha))
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
                candidates, ranked, shown = ranked_page(view, query, encoded.vector, sparse, allowed, only)
            with watch.stage("fetch"):
                passages = view.fetch(candidates.ids[shown])
                values: dict[Leg, Float64Array] = {}
                if query.explain is not Explain.NONE:
                    values = {leg: terms.values(view, candidates.ids[shown]) for leg, terms in sparse.items()}
            generation, seq = view.generation, view.seq
        parts = [
            parts_of(candidates, ranked, int(at), {leg: table[row] for leg, table in values.items()})
            for row, at in enumerate(shown)
        ]
        hits = [
            hit_of(passage, float(score), part)
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
            choice=ranked.choice,
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
