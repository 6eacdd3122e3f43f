"""Attribution of a cosine, or of learned sparse weights, to the tokens of a text, and leave-one-out highlights.

A mean-pooled embedding is v = sum_i w_i g_i / W with token vectors g_i, pool weights w_i and W = sum_i w_i. The cosine
of two such vectors is therefore exactly a sum over token pairs:

    cos(q, p) = sum_ij M_ij,    M_ij = w_i w_j g_i . h_j / (W_q W_p |v_q| |v_p|)

A learned sparse weight is the maximum, or the sum, of the tokens' activations for its term.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import numpy as np

from core.records import Float64Array, Int64Array, SparseTrace, TermPooling, TokenTrace

FEW = 4  # units of at most so many tokens are summed together, one token position at a time


@dataclass(frozen=True, slots=True)
class Units:
    """Parts of a text, such as its words, and the tokens that make up each of them.

    A token that covers several units, such as two Chinese characters, belongs to each of them by a fraction.
    """

    tokens: Int64Array  # token indices, unit after unit
    fractions: Float64Array  # (tokens,) above 0, up to 1: how much of the token belongs to the unit
    counts: Int64Array  # (units,) number of tokens in each unit

    @classmethod
    def of(cls, units: Sequence[Int64Array]) -> Self:
        """Units from the token indices of each; every token belongs wholly to its unit (fraction 1)."""
        tokens = np.concatenate([np.zeros(0, dtype=np.int64), *units])
        return cls(tokens, np.ones(len(tokens)), np.array([len(unit) for unit in units], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.counts)

    def __iter__(self) -> Iterator[tuple[Int64Array, Float64Array]]:
        """Yields the tokens of each unit and their fractions."""
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
    """(tokens, dimension) each token's share of the unit-length embedding; the shares sum to the embedding."""
    shares: Float64Array = trace.vectors.astype(np.float64)
    shares *= (trace.weights / np.linalg.norm(trace.weights @ shares))[:, None]
    return shares


def sums(values: Float64Array, units: Units) -> Float64Array:
    """(units, n) for each unit the fraction-weighted sum of its rows of `values` (tokens, n); 0 without tokens."""
    if (units.fractions != 1).any():
        values = values[units.tokens] * units.fractions[:, None]
        units = replace(units, tokens=np.arange(len(values)), fractions=np.ones(len(values)))
    counts, ends = units.counts, units.counts.cumsum()
    starts = ends - counts
    tokens = np.append(units.tokens, 0)  # so that a last unit without tokens has an index to read
    found: Float64Array = values[tokens[starts]]
    found[counts == 0] = 0
    # Words are many and have few tokens: the second tokens of all words are added at once, then the third ones.
    # Sentences are few and long, so each is summed by itself. numpy's reduceat takes several times as long.
    for place in range(1, FEW):
        rows = np.flatnonzero((counts > place) & (counts <= FEW))
        found[rows] += values[tokens[starts[rows] + place]]
    for row in np.flatnonzero(counts > FEW).tolist():
        found[row] = values[tokens[starts[row] : ends[row]]].sum(axis=0)
    return found


def leave_one_out(passage: Float64Array, query_vector: Float64Array, units: Units) -> Float64Array:
    """(units,) signed: how far the cosine to `query_vector` falls when a unit's tokens are removed from the pool.

    For each unit this is s - cos(sum of the remaining tokens, q), where s is the cosine of the whole passage. A token
    that belongs to the unit by a fraction is removed by that fraction. `passage`: (tokens, dimension), as from
    `parts`. `query_vector`: (dimension,), of unit length. There is no forward pass: the other tokens keep the vectors
    computed with the unit present. A unit that holds every weighted token scores s itself.
    """
    total, left = passage.sum(axis=0), sums(passage, units)
    np.subtract(total, left, out=left)
    return np.asarray(total @ query_vector - _cosines(left, query_vector))


def term_shares(trace: SparseTrace) -> Float64Array:
    """(tokens, terms) each token's share of each learned weight; a column sums to 1, or to 0 if no token activates it.

    With max pooling the strongest token (the first of equals) gets the whole weight; with sum pooling each token gets
    its own activation's share.
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
    """(units, terms) the share of each learned weight that is lost when a unit's tokens are removed: 0 to 1.

    The activations of a token that belongs to the unit by a fraction are reduced by that fraction. The other tokens
    keep their activations; with max pooling the next strongest token takes over.
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
    """(rows,) cosine of each row with the vector `unit` of length 1; 0 for rows of length (almost) 0."""
    lengths = np.sqrt(np.vecdot(vectors, vectors))
    found: Float64Array = np.divide(vectors @ unit, lengths, out=np.zeros(len(vectors)), where=lengths > 1e-9)
    return found
