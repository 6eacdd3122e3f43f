"""The learned sparse side of a query: vocabulary tokens and their weights. Implements retriever.legs.SparseTerms.

A passage's score is the dot product of its weights with the query's, over the tokens that both have.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.protocols import SparseEncoder
from core.records import Float64Array, Int64Array, SparseVector
from retriever.terms import TERMS_AT_ONCE
from store import Pool, View


@dataclass(frozen=True, kw_only=True)
class LearnedTerms:
    vector: SparseVector  # of the query, with its controls applied
    encoder: SparseEncoder  # the model that computed it

    @cached_property
    def terms(self) -> tuple[str, ...]:
        return tuple(self.encoder.token(int(id_)) for id_ in self.vector.ids)

    @property
    def factors(self) -> Float64Array:
        """(terms,) the query's weights."""
        return self.vector.weights.astype(np.float64)

    def label(self, term: str) -> str:
        return repr(term)

    @property
    def formula(self) -> str:
        return "query {factor:.6f} * passage {value:.6f}"

    @property
    def silent(self) -> bool:
        return not len(self.vector.ids)

    def wording(self, view: View) -> None:
        """None: the vocabulary is the model's, regardless of the words in the passages."""

    def best(self, view: View, depth: int, allowed: Int64Array | None) -> Pool:
        return view.matching_learned(self.vector, depth, allowed)

    def scores(self, view: View, ids: Int64Array) -> Float64Array:
        scores = np.zeros(len(ids))
        for begin in range(0, len(self.vector.ids), TERMS_AT_ONCE):
            block = slice(begin, begin + TERMS_AT_ONCE)
            weights = view.learned_weights(self.vector.ids[block], ids)
            # vecdot sums row by row: a passage's score does not depend on the others, so equal passages tie
            scores += np.vecdot(weights, self.factors[block])
        return scores

    def values(self, view: View, ids: Int64Array) -> Float64Array:
        """(n, terms) the passages' weights."""
        return view.learned_weights(self.vector.ids, ids)
