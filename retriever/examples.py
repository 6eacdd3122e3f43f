"""Search by example (relevance feedback): moves a query towards liked examples and away from others, on every leg.

    query' = ALPHA * query + BETA * mean(like) - GAMMA * mean(unlike)

Source: Rocchio, "Relevance Feedback in Information Retrieval", in: Salton (ed.), "The SMART Retrieval System", 1971. If
there is no query, its part of the sum is left out. An example is the mean of its passages, so that a long document
counts as much as a short one. Of the terms that only the examples have, the strongest are searched for, as in Lucene's
MoreLikeThis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from core.errors import DocumentNotFound, HitNotFound, InvalidQuery
from core.records import Float32Array, Float64Array, Int64Array, SparseVector
from retriever.inputs import Example, Inputs, no_document
from retriever.terms import QueryTerms
from store.view import View

ALPHA, BETA, GAMMA = 1.0, 1.0, 0.5  # liked examples count as much as the query; unwanted ones are less informative
TERMS = 25  # added for BM25
TOKENS = 100  # added for learned weights: a model spreads the meaning of a word over several tokens
_NOTHING = 1e-6  # a sum of unit vectors that is shorter than this is due to rounding
_Key = TypeVar("_Key")


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """The examples' passages, with their shares in the means of `like` and `unlike`: each sums to 1, or is empty."""

    like: tuple[Int64Array, Float64Array]
    unlike: tuple[Int64Array, Float64Array]
    passages: Int64Array  # sorted ids of all passages of the examples' documents, which are excluded from the hits


def read_examples(view: View, inputs: Inputs) -> Examples | None:
    """The examples of a query; None if it has none. Raises DocumentNotFound or HitNotFound if one does not exist."""
    if not (inputs.like or inputs.unlike):
        return None
    members: list[list[list[int]]] = []
    documents: set[int] = set()
    for param, examples in (("like", inputs.like), ("unlike", inputs.unlike)):
        numbers = _documents(view, examples, param)
        documents.update(numbers)
        passages = view.passages_of(numbers)
        members.append(
            [
                [example] if isinstance(example, int) else passages.get(number, [])
                for example, number in zip(examples, numbers, strict=True)
            ]
        )
    everything = [id_ for ids in view.passages_of(documents).values() for id_ in ids]
    return Examples(
        like=_shares(members[0]), unlike=_shares(members[1]), passages=np.sort(np.array(everything, dtype=np.int64))
    )


def blended_vector(view: View, vector: Float32Array | None, examples: Examples) -> Float32Array:
    """The new query vector, (dimension,) of unit length. Raises InvalidQuery if query and examples cancel out."""
    total = np.zeros(view.generation.dimension)
    for weight, (ids, shares) in ((BETA, examples.like), (-GAMMA, examples.unlike)):
        total += weight * (shares @ view.vectors(ids).astype(np.float64))
    if vector is not None:
        total += ALPHA * vector
    length = float(np.linalg.norm(total))
    if length < _NOTHING:
        raise InvalidQuery("query, like and unlike cancel out: what is left points nowhere", param="like")
    blended: Float32Array = (total / length).astype(np.float32)
    return blended


def blended_terms(view: View, terms: QueryTerms, examples: Examples) -> QueryTerms:
    """The query's terms with new factors, and the strongest terms that only the examples have.

    A term's weight in an example is its BM25 weight, 0 to 1, without idf, which every match is multiplied by anyway.
    """
    liked, unliked = view.terms_of(*examples.like), view.terms_of(*examples.unlike)
    query = {term: ALPHA * float(factor) for term, factor in zip(terms.terms, terms.factors, strict=True)}
    blended = _blended(query, liked, unliked)
    fresh = [term for term in blended if term not in query]
    idf = view.term_statistics(fresh).idf
    fresh = sorted(fresh, key=lambda term: (-blended[term] * idf[term], term))[:TERMS]
    chosen = (*terms.terms, *fresh)
    factors = np.array([blended.get(term, 0.0) for term in chosen], dtype=np.float64)
    return replace(terms, terms=chosen, factors=factors)


def blended_tokens(view: View, vector: SparseVector | None, examples: Examples) -> SparseVector:
    """The query's tokens with new weights, and the strongest tokens that only the examples have; may be empty."""
    query = {} if vector is None else {id_: ALPHA * weight for id_, weight in _weights(vector).items()}
    blended = _blended(query, _weights(view.learned_of(*examples.like)), _weights(view.learned_of(*examples.unlike)))
    own = [id_ for id_ in blended if id_ in query]
    fresh = sorted((id_ for id_ in blended if id_ not in query), key=lambda id_: (-blended[id_], id_))[:TOKENS]
    chosen = sorted((*own, *fresh))
    return SparseVector(
        ids=np.array(chosen, dtype=np.int32), weights=np.array([blended[id_] for id_ in chosen], dtype=np.float32)
    )


def _blended(
    query: Mapping[_Key, float], liked: Mapping[_Key, float], unliked: Mapping[_Key, float]
) -> dict[_Key, float]:
    """The weighted sums of query and examples, where they are above 0."""
    sums = {
        key: query.get(key, 0.0) + BETA * liked.get(key, 0.0) - GAMMA * unliked.get(key, 0.0)
        for key in dict.fromkeys((*query, *liked))
    }
    return {key: value for key, value in sums.items() if value > 0}


def _documents(view: View, examples: Sequence[Example], param: str) -> list[int]:
    """The store's number of each example's document."""
    numbers = view.document_numbers(example for example in examples if isinstance(example, str))
    hits = [example for example in examples if isinstance(example, int)]
    try:
        of_hits = dict(zip(hits, view.documents_of(np.array(hits, dtype=np.int64)).tolist(), strict=True))
    except HitNotFound as error:
        raise HitNotFound(f"{param}: {error.message}", param=param) from None
    missing = next((example for example in examples if isinstance(example, str) and example not in numbers), None)
    if missing is not None:
        raise DocumentNotFound(f"{param}: {no_document(missing)}", param=param)
    return [numbers[example] if isinstance(example, str) else of_hits[example] for example in examples]


def _shares(members: Sequence[Sequence[int]]) -> tuple[Int64Array, Float64Array]:
    """Passages and their shares: all examples have equal shares, divided equally among their passages."""
    shares: dict[int, float] = {}
    for ids in members:
        for id_ in ids:
            shares[id_] = shares.get(id_, 0.0) + 1 / (len(members) * len(ids))
    return np.array(list(shares), dtype=np.int64), np.array(list(shares.values()), dtype=np.float64)


def _weights(vector: SparseVector) -> dict[int, float]:
    return dict(zip(vector.ids.tolist(), vector.weights.tolist(), strict=True))
