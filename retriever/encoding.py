"""Encodes queries: determines the legs that a query can be searched by, and computes its dense and sparse vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from core.context import models_read
from core.errors import InvalidInput, InvalidQuery
from core.prompts import ControlOptions, Prompt
from core.protocols import DenseModels, Encoder, SparseEncoder, SparseModels, TracingEncoder
from core.records import (
    Collection,
    Embeddings,
    Float32Array,
    Representation,
    SparseEmbeddings,
    SparseVector,
    TokenTrace,
)
from embedder.combined import encode_together, sparse_model_of
from retriever.examples import Examples, blended_tokens, blended_vector
from retriever.inputs import without_images
from retriever.learned import LearnedTerms
from retriever.legs import Leg, learned_leg, legs_of
from retriever.lrucache import audience
from retriever.query import Query
from retriever.querycache import Made, QueryCache
from store.view import View


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedQuery:
    """The vectors of a query, computed by the models or given with the query; None for a leg that has neither."""

    vector: Float32Array | None = None  # (dimension,)
    learned: SparseVector | None = None
    sparse_model: SparseEncoder | None = None  # of the learned weights; None: no leg uses them
    trace: TokenTrace | None = None  # of `vector`, if words will be explained and the model provides it
    as_text: bool = True  # whether `vector` and `learned` are what the models compute from the query's text
    truncated: bool = False  # whether a model read only the beginning of the query
    late: tuple[Leg, ...] = ()  # legs whose model did not answer in time

    @property
    def learned_terms(self) -> LearnedTerms | None:
        if self.learned is None or self.sparse_model is None:
            return None
        return LearnedTerms(vector=self.learned, encoder=self.sparse_model)


def searchable_legs(collection: Collection, query: Query) -> tuple[Leg, ...]:
    """The legs that the query can be searched by, out of those requested, or all.

    Raises InvalidQuery if the query has no input for a requested leg, or an input that no leg can use.
    """
    present, learned, inputs = legs_of(collection, query.legs), learned_leg(collection), query.inputs
    prompt = query.prompt
    readable = None if prompt is None else without_images(prompt)
    has = {Leg.DENSE: prompt is not None or inputs.vector is not None or bool(inputs.like)}
    has[Leg.SPARSE] = (bool(query.text) and not query.muted) or bool(inputs.like)
    if learned is not None:
        has[learned] = readable is not None or inputs.sparse_vector is not None or bool(inputs.like)
    if inputs.vector is not None and inputs.vector.shape != (collection.active.dimension,):
        raise InvalidQuery(
            f"vector has {len(inputs.vector)} numbers; the collection {collection.name!r} holds vectors of "
            f"{collection.active.dimension} dimensions, made by {collection.active.model}",
            param="vector",
        )
    if inputs.sparse_vector is not None and learned is None:
        raise InvalidQuery(
            f"collection {collection.name!r} has no learned weights that a sparse_vector could be compared with; "
            "make one with a sparse_model",
            param="sparse_vector",
        )
    silent = [leg for leg in query.legs or () if not has[leg]]
    if silent:
        wants = "a text" if silent[0] is not learned else "a text or a sparse_vector"
        wants = "a text, a prompt or a vector" if silent[0] is Leg.DENSE else wants
        raise InvalidQuery(f"legs: the {silent[0].value} leg needs {wants}, or documents to like", param="legs")
    found = tuple(leg for leg in present if has[leg])
    if not found:
        raise InvalidQuery("the query has nothing for any of the collection's legs; write a text", param="query")
    return found


class QueryEncoder:
    """Encodes queries with the models, and caches recent results. Thread-safe."""

    def __init__(self, models: DenseModels, sparse_models: SparseModels | None) -> None:
        self._models = models
        self._sparse_models = sparse_models
        self._query_cache = QueryCache()

    @property
    def kept_bytes(self) -> int:
        """Memory that the cache uses."""
        return self._query_cache.kept_bytes

    def encode(
        self,
        collection: Collection,
        asked: Sequence[tuple[Query, tuple[Leg, ...]]],
        gather: Callable[[], None] = lambda: None,
    ) -> list[EncodedQuery]:
        """Encode queries, each given with the legs to search by; in order. Compatible queries form one batch.

        `gather`: called before the first call of a model, if there is any.

        Raises ModelMismatch if the collection was embedded by another model, ModelNotFound if its sparse model is not
        configured, InvalidQuery for a sparse vector with tokens that this model lacks, and the errors of the encoders.
        """
        tasks = [self._task(collection, query, legs) for query, legs in asked]
        encoded = [task.given for task in tasks]
        groups: dict[object, dict[int, bytes]] = {}  # queries that are not cached: their keys by place
        for place, ((query, _), task) in enumerate(zip(asked, tasks, strict=True)):
            if task.dense is None and task.learned is None:
                continue
            sharing = audience(collection.active, query.within)
            key = self._query_cache.key(sharing, task.dense, task.learned, query.options, traced=task.traced)
            known = self._query_cache.get(key)
            if known is None:
                groups.setdefault((query.options, task.shape), {})[place] = key
            else:
                models_read(known.tokens)  # counted as if read: usage must not reveal what others searched for
                encoded[place] = task.with_made(known)
        if groups:
            gather()
        for keys in groups.values():
            options = asked[next(iter(keys))][0].options
            made = _made([tasks[place] for place in keys], options)
            for (place, key), one in zip(keys.items(), made, strict=True):
                self._query_cache.put(key, one)
                encoded[place] = tasks[place].with_made(one)
        return encoded

    def _task(self, collection: Collection, query: Query, legs: tuple[Leg, ...]) -> _Task:
        inputs, prompt, learned = query.inputs, query.prompt, learned_leg(collection) in legs
        dense = prompt if Leg.DENSE in legs and inputs.vector is None else None
        readable = prompt if learned and inputs.sparse_vector is None else None
        # Loaded first, so that a missing model is reported before anything is searched; explanations need it as well.
        encoder = self._models(collection) if dense is not None or query.explain.in_words else None
        model = sparse_model_of(collection, self._sparse_models) if learned else None
        if model is not None and inputs.sparse_vector is not None:
            _check_tokens(inputs.sparse_vector, model)
        return _Task(
            encoder=encoder,
            dense=dense,
            learned=None if readable is None else without_images(readable),
            traced=query.explain.in_words,
            given=EncodedQuery(
                vector=inputs.vector if Leg.DENSE in legs else None,
                learned=inputs.sparse_vector if learned else None,
                sparse_model=model,
                as_text=inputs.prompt is None and inputs.vector is None and inputs.sparse_vector is None,
            ),
        )


def without_models(collection: Collection, query: Query, legs: Sequence[Leg]) -> EncodedQuery:
    """The query without the models' results, if no model answers in time: only its own vector and its words remain."""
    vector = query.inputs.vector if Leg.DENSE in legs else None
    of_models = {learned_leg(collection)} | ({Leg.DENSE} if vector is None else set())
    return EncodedQuery(vector=vector, as_text=False, late=tuple(leg for leg in legs if leg in of_models))


def with_examples(view: View, encoded: EncodedQuery, legs: Sequence[Leg], examples: Examples | None) -> EncodedQuery:
    """The query moved towards the liked examples and away from the others: see retriever.examples."""
    if examples is None:
        return encoded
    vector, learned = encoded.vector, encoded.learned
    if Leg.DENSE in legs:
        vector = blended_vector(view, vector, examples)
    if learned_leg(view.collection) in legs:
        learned = blended_tokens(view, learned, examples)
    return replace(encoded, vector=vector, learned=learned, trace=None, as_text=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Task:
    """The parts of a query that have to be encoded."""

    encoder: Encoder | None  # of the collection's vectors, if it is needed
    dense: Prompt | None
    learned: Prompt | None
    traced: bool  # whether the dense vector is to be explained
    given: EncodedQuery  # the parts that need no encoding

    def with_made(self, made: Made) -> EncodedQuery:
        return replace(
            self.given,
            vector=self.given.vector if made.vector is None else made.vector,
            learned=self.given.learned if made.learned is None else made.learned,
            trace=made.trace,
            truncated=made.truncated,
        )

    @property
    def shape(self) -> tuple[bool, bool, bool]:
        """Tasks of one shape are encoded by the same calls."""
        return self.dense is not None, self.learned is not None, self.dense == self.learned


def _check_tokens(vector: SparseVector, model: SparseEncoder) -> None:
    for id_ in vector.ids.tolist():
        try:
            model.token(id_)
        except InvalidInput as error:
            raise InvalidQuery(f"sparse_vector: {error.message}", param="sparse_vector") from None


def _made(tasks: Sequence[_Task], options: ControlOptions) -> list[Made]:
    """Encode tasks of one shape."""
    as_query = Representation.QUERY
    dense_prompts = [task.dense for task in tasks if task.dense is not None]
    learned_prompts = [task.learned for task in tasks if task.learned is not None]
    encoder, model = tasks[0].encoder if dense_prompts else None, tasks[0].given.sparse_model
    dense: Embeddings | None = None
    learned: SparseEmbeddings | None = None
    traces: Sequence[TokenTrace] | None = None
    if encoder is not None and model is not None and dense_prompts == learned_prompts:
        dense, learned = encode_together(encoder, model, dense_prompts, as_query, options=options)
    else:
        if encoder is not None and any(task.traced for task in tasks) and isinstance(encoder, TracingEncoder):
            dense, traces = encoder.encode_traced(dense_prompts, as_query, options=options)
        elif encoder is not None:
            dense = encoder.encode(dense_prompts, as_query, options=options)
        if learned_prompts and model is not None:
            learned = model.encode_sparse(learned_prompts, as_query, options=options)
    one_model: object = model
    read = [made for made in (dense, None if encoder is one_model else learned) if made is not None]
    return [
        Made(
            vector=None if dense is None else dense.vectors[place],
            learned=None if learned is None else learned.vectors[place],
            trace=traces[place] if traces is not None and task.traced else None,
            truncated=any(bool(made.truncated[place]) for made in read),
            tokens=sum(int(made.token_counts[place]) for made in read),
        )
        for place, task in enumerate(tasks)
    ]
