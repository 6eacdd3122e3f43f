"""Sums over postings: the best matches, and the products that a score is made of.

BM25 sums idf * weight over terms, the learned leg sums query weight * passage weight over vocabulary tokens: a factor
of the query times a weight of the passage, either way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from core.records import Float32Array, Float64Array, Int64Array
from store.pool import Pool, best
from store.postings import Postings
from store.snapshot import Part, Snapshot

Weighted = Callable[[Part], tuple[Postings, Float32Array]]  # postings and the (postings,) weights to sum

_SHARES = (0.5, 0.25, 0.0)  # of the best score: few rows are above the first, and mostly those are enough


def bm25_weights(part: Part) -> tuple[Postings, Float32Array]:
    """Terms, and how much of their idf a passage gets."""
    return part.segment.postings, part.weights


def learned_weights(part: Part) -> tuple[Postings, Float32Array]:
    """Vocabulary tokens, and the weights that the sparse model gave them."""
    return part.segment.learned, part.segment.learned.values


def matching(
    snapshot: Snapshot, weighted: Weighted, terms: Sequence[tuple[int, float]], k: int, allowed: Int64Array | None
) -> Pool:
    """The k live passages, of the `allowed` ones, with the largest sum of factor * weight over (term, factor)."""
    ids, scores = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.float64)]
    for part in snapshot.parts:
        sums = _accumulate(*weighted(part), terms, row_count=len(part.live))
        if allowed is not None:
            rows = part.find(allowed)[1]
            rows = rows[_best_rows(sums[rows], k)]
        else:
            if not part.whole:
                sums[~part.live] = 0
            rows = _best_rows(sums, k)
        ids.append(part.segment.ids[rows])
        scores.append(sums[rows])
    return best(np.concatenate(ids), np.concatenate(scores), k)


def products(
    snapshot: Snapshot, weighted: Weighted, terms: Sequence[tuple[int, float]], ids: Int64Array
) -> Float64Array:
    """(n, terms) factor * weight of every (term, factor) in every passage of `ids`; 0 where it does not occur."""
    table = np.zeros((len(ids), len(terms)))
    for part, places, rows in snapshot.locate(ids):
        postings, weights = weighted(part)
        for column, (term, factor) in enumerate(terms):
            span = postings.span(term)
            holders = postings.rows[span]
            if not len(holders):
                continue
            found = np.minimum(np.searchsorted(holders, rows), len(holders) - 1)
            held = np.where(holders[found] == rows, weights[span][found], 0).astype(np.float64)
            table[places, column] = factor * held
    return table


def _accumulate(
    postings: Postings, weights: Float32Array, terms: Sequence[tuple[int, float]], *, row_count: int
) -> Float64Array:
    """(rows,) sums, in the order of the terms: the same for a passage whichever segment holds it."""
    sums = np.zeros(row_count)
    for term, factor in terms:
        span = postings.span(term)
        sums[postings.rows[span]] += np.float64(factor) * weights[span]
    return sums


def _best_rows(sums: Float64Array, k: int) -> Int64Array:
    """Rows of the k largest sums above 0, and of those that equal the k-th.

    Few rows are partitioned rather than all: numpy is slow on an array that is mostly zeros.
    """
    top = float(sums.max(initial=0.0))
    rows = np.empty(0, dtype=np.int64)
    for share in _SHARES:
        rows = np.flatnonzero(sums > share * top)
        if len(rows) >= k:
            break
    if len(rows) <= k:
        return rows
    kth = np.partition(sums[rows], len(rows) - k)[len(rows) - k]
    chosen: Int64Array = rows[sums[rows] >= kth]
    return chosen
