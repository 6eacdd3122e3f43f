"""How the tokens of two texts make their cosine or their learned weights: exact sums, and the highlight.

A mean-pooled embedding is v = sum_i w_i g_i / W with token vectors g_i, pool weights w_i and W = sum_i w_i. The cosine
of two such vectors is then a sum over token pairs, with nothing left over:

    cos(q, p) = sum_ij M_ij,    M_ij = w_i w_j g_i . h_j / (W_q W_p |v_q| |v_p|)

A learned sparse weight is the maximum, or the sum, of what the tokens say for its term.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import numpy as np

from core.records import Float64Array, Int64Array, SparseTrace, TermPooling, TokenTrace

FEW = 4  # tokens of a unit that are added up beside those of the others


@dataclass(frozen=True, slots=True)
class Units:
    """Parts of a text, such as its words, by the tokens that they are made of.

    A token that covers several of them, such as two characters of Chinese, belongs to each by a fraction.
    """

    tokens: Int64Array  # indices, one unit's behind the other's
    fractions: Float64Array  # (tokens,) above 0, up to 1: how much of the token is the unit's
    counts: Int64Array  # (units,) how many of them each has

    @classmethod
    def of(cls, units: Sequence[Int64Array]) -> Self:
        """Of the token indices of each unit, whose tokens are its own."""
        tokens = np.concatenate([np.zeros(0, dtype=np.int64), *units])
        return cls(tokens, np.ones(len(tokens)), np.array([len(unit) for unit in units], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.counts)

    def __iter__(self) -> Iterator[tuple[Int64Array, Float64Array]]:
        """The tokens of each unit, and the fractions of them."""
        ends = self.counts.cumsum().tolist()
        for start, end in pairwise([0, *ends]):
            yield self.tokens[start:end], self.fractions[start:end]

    def __add__(self, other: Units) -> Units:
        return Units(
            np.concatenate([self.tokens, other.tokens]),
            np.concatenate([self.fractions, other.fractions]),
            np.concatenate([self.counts, other.counts]),
        )


def parts(trace: TokenTrace) -> Float64Array:
    """(tokens, dimension) each token's share of the unit embedding: they sum to it."""
    shares: Float64Array = trace.vectors.astype(np.float64)
    shares *= (trace.weights / np.linalg.norm(trace.weights @ shares))[:, None]
    return shares


def sums(values: Float64Array, units: Units) -> Float64Array:
    """(units, n) the sum of each unit's rows of `values` (tokens, n), by its fractions; 0 for a unit without tokens."""
    if (units.fractions != 1).any():
        values = values[units.tokens] * units.fractions[:, None]
        units = replace(units, tokens=np.arange(len(values)), fractions=np.ones(len(values)))
    counts, ends = units.counts, units.counts.cumsum()
    starts = ends - counts
    tokens = np.append(units.tokens, 0)  # for a last unit without any
    found: Float64Array = values[tokens[starts]]
    found[counts == 0] = 0
    # Words are many, of few tokens: all their second ones are added at once, then the third ones. Sentences are the
    # other way round. numpy's reduceat takes several times as long.
    for place in range(1, FEW):
        rows = np.flatnonzero((counts > place) & (counts <= FEW))
        found[rows] += values[tokens[starts[rows] + place]]
    for row in np.flatnonzero(counts > FEW).tolist():
        found[row] = values[tokens[starts[row] : ends[row]]].sum(axis=0)
    return found


def leave_one_out(passage: Float64Array, query_vector: Float64Array, units: Units) -> Float64Array:
    """(units,) signed: how far the cosine to `query_vector` falls when a unit's tokens leave the pool.

    s - cos(sum of what stays, q), for each unit; of a token that is the unit's by a fraction, the rest stays.
    `passage`: (tokens, dimension), its `parts`. `query_vector` has unit length. No forward pass: the other tokens keep
    the vectors that they had in the unit's presence. A unit that holds every weighted token scores s itself.
    """
    total, left = passage.sum(axis=0), sums(passage, units)
    np.subtract(total, left, out=left)
    return np.asarray(total @ query_vector - _cosines(left, query_vector))


def term_shares(trace: SparseTrace) -> Float64Array:
    """(tokens, terms) each token's share of each learned weight; a column sums to 1, or to 0 where nothing says it.

    Of a maximum the strongest token has all of it, the first of several equals; of a sum each what it says.
    """
    said = trace.activations.astype(np.float64)
    if trace.pooling is TermPooling.MAX:
        strongest = np.zeros_like(said)
        if said.size:
            strongest[said.argmax(axis=0), np.arange(said.shape[1])] = 1.0
        said = np.where(said > 0, strongest, 0.0)
    totals = said.sum(axis=0)
    shares: Float64Array = np.divide(said, totals, out=np.zeros_like(said), where=totals > 0)
    return shares


def term_losses(trace: SparseTrace, units: Units) -> Float64Array:
    """(units, terms) which share of each learned weight is lost when a unit's tokens leave the pool: 0..1.

    A token of which the unit has a fraction says so much less. The other tokens keep what they say; of a maximum the
    next strongest steps in.
    """
    said = trace.activations.astype(np.float64)
    pool = np.max if trace.pooling is TermPooling.MAX else np.sum
    weights = pool(said, axis=0, initial=0.0)
    losses = np.zeros((len(units), said.shape[1]))
    for row, (unit, fractions) in enumerate(units):
        if len(unit):
            kept = said.copy()
            kept[unit] *= 1 - fractions[:, None]
            left = pool(kept, axis=0, initial=0.0)
            np.divide(weights - left, weights, out=losses[row], where=weights > 0)
    return losses


def _cosines(vectors: Float64Array, unit: Float64Array) -> Float64Array:
    """(rows,) of the rows with a vector of unit length; 0 where nothing is left of a row."""
    lengths = np.sqrt(np.vecdot(vectors, vectors))
    found: Float64Array = np.divide(vectors @ unit, lengths, out=np.zeros(len(vectors)), where=lengths > 1e-9)
    return found
