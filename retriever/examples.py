"""More like these and less like those: a query out of examples, on every leg by one formula.

    query' = ALPHA * query + BETA * mean(like) - GAMMA * mean(unlike)

Source: Rocchio, "Relevance Feedback in Information Retrieval", in: Salton (ed.), "The SMART Retrieval System", 1971. A
query that is not there is left out of the sum. An example is the mean of its passages, so that a long document has as
much say as a short one. Of the terms that only the examples bring, the strongest are looked for, as Lucene's
MoreLikeThis does it.
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

ALPHA, BETA, GAMMA = 1.0, 1.0, 0.5  # an example counts as much as the query; what is not wanted says less
TERMS = 25  # of BM25
TOKENS = 100  # of learned weights: a model spreads the meaning of a word over several
_NOTHING = 1e-6  # the length of a sum of unit vectors that is a matter of rounding
_Key = TypeVar("_Key")


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """Passages, each with its share in the mean of its side: a side's shares sum to 1, or it is empty."""

    like: tuple[Int64Array, Float64Array]
    unlike: tuple[Int64Array, Float64Array]
    passages: Int64Array  # ids of all passages of the examples' documents, sorted: no hit is one of them


def read_examples(view: View, inputs: Inputs) -> Examples | None:
    """None: none are given. Raises DocumentNotFound or HitNotFound for one that is not, or no longer, there."""
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
    """(dimension,) of unit length. Raises InvalidQuery where query, liked and unliked examples cancel out."""
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
    """The query's terms by their new factors, and the strongest ones that only the examples have.

    A term's weight in an example is BM25's, without the idf that every match is multiplied by anyway: 0 to 1.
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
    """The strongest tokens; perhaps none."""
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
    """The sums that are above 0."""
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
    """Passages and their shares, where each example has the same share, and each of its passages an even part of it."""
    shares: dict[int, float] = {}
    for ids in members:
        for id_ in ids:
            shares[id_] = shares.get(id_, 0.0) + 1 / (len(members) * len(ids))
    return np.array(list(shares), dtype=np.int64), np.array(list(shares.values()), dtype=np.float64)


def _weights(vector: SparseVector) -> dict[int, float]:
    return dict(zip(vector.ids.tolist(), vector.weights.tolist(), strict=True))
