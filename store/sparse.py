"""Sums over postings: the best matches, and the products that a score is made of.

BM25 sums idf * weight over terms, the learned leg sums query weight * passage weight over vocabulary tokens: a factor
of the query times a weight of the passage, either way. A weight is a float32; a sum is taken in float64 and in the
order of the terms: it is the same number for a passage in whichever segment it lies.

numpy does the work in a process that searches once. store/kernel.py does it, where it is loaded, with the same results
to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np

from core.records import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array
from store import bm25
from store.kernel_loading import kernel_for
from store.pool import Pool, best
from store.segments.postings import Postings
from store.snapshot import Part, Snapshot

# Postings, and what their values become weights by: (rows,) saturations; of none where they are weights already.
Weighted = Callable[[Part], tuple[Postings, Float32Array]]

_SHARES = (0.5, 0.25, 0.0)  # of the best score: few rows are above the first, and mostly those are enough
_LEAST = float(np.finfo(np.float64).tiny)  # sums below are no match; some libraries have the processor take them for 0
_AT_LEAST = 256  # matches that the kernel gathers before the k best of them are found


def bm25_weights(part: Part) -> tuple[Postings, Float32Array]:
    """Terms, and how much of their idf a passage gets."""
    return part.segment.postings, part.saturations


def learned_weights(part: Part) -> tuple[Postings, Float32Array]:
    """Vocabulary tokens, and the weights that the sparse model gave them."""
    return part.segment.learned, np.empty(0, dtype=np.float32)


def matching(
    snapshot: Snapshot, weighted: Weighted, terms: Sequence[tuple[int, float]], k: int, allowed: Int64Array | None
) -> Pool:
    """The k live passages, of the `allowed` ones, with the largest sum of factor * weight over (term, factor)."""
    if kernel := kernel_for(snapshot.passage_count):
        return _swept(kernel, snapshot, weighted, terms, k, allowed)
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
    wanted, factors = _columns(terms)
    kernel = kernel_for(snapshot.passage_count)
    for part, places, rows in snapshot.locate(ids):
        postings, saturations = weighted(part)
        if kernel:
            kernel.fill(*_arrays(postings), saturations, wanted, factors, places, rows, table)
        else:
            _fill(postings, saturations, terms, places, rows, table)
    return table


def _swept(
    kernel: ModuleType,
    snapshot: Snapshot,
    weighted: Weighted,
    terms: Sequence[tuple[int, float]],
    k: int,
    allowed: Int64Array | None,
) -> Pool:
    """As `matching`. Matches are gathered part after part, and cut to the k best whenever they are many."""
    total = sum(len(part.live) for part in snapshot.parts)
    room = kernel.WINDOW + min(total, max(4 * k, _AT_LEAST))
    ids, scores = np.empty(room, dtype=np.int64), np.empty(room)
    count, threshold = 0, _LEAST
    wanted, factors = _columns(terms)
    cursors = np.empty(len(terms), dtype=np.int64)
    for part in snapshot.parts:
        postings, saturations = weighted(part)
        mask = part.live if allowed is None else _mask(len(part.live), part.find(allowed)[1])
        row = 0
        while True:
            row, count = kernel.sweep(
                *_arrays(postings), saturations, mask, part.segment.ids, wanted, factors,
                cursors, row, threshold, ids, scores, count,
            )  # fmt: skip
            if row == len(mask):
                break
            count, threshold = _cut(ids, scores, count, k)
    return best(ids[:count], scores[:count], k)


def _cut(ids: Int64Array, scores: Float64Array, count: int, k: int) -> tuple[int, float]:
    """Move the k best of the first `count` to the front, with a few of their equals. How many, and the k-th score."""
    kth = np.partition(scores[:count], count - k)[count - k]
    kept = np.flatnonzero(scores[:count] >= kth)
    if len(kept) > 2 * k:  # nearly all are equal
        kept = kept[np.lexsort((ids[kept], -scores[kept]))[:k]]
    ids[: len(kept)], scores[: len(kept)] = ids[kept], scores[kept]
    return len(kept), float(kth)


def _columns(terms: Sequence[tuple[int, float]]) -> tuple[Int32Array, Float64Array]:
    return np.array([term for term, _ in terms], dtype=np.int32), np.array([factor for _, factor in terms], np.float64)


def _arrays(postings: Postings) -> tuple[Int32Array, Int64Array, Int32Array, Float32Array]:
    return postings.terms, postings.offsets, postings.rows, postings.values


def _mask(size: int, rows: Int64Array) -> BoolArray:
    mask = np.zeros(size, dtype=np.bool_)
    mask[rows] = True
    return mask


def _accumulate(
    postings: Postings, saturations: Float32Array, terms: Sequence[tuple[int, float]], *, row_count: int
) -> Float64Array:
    """(rows,) sums."""
    sums = np.zeros(row_count)
    for term, factor in terms:
        span = postings.span(term)
        rows = postings.rows[span]
        sums[rows] += factor * _weights(postings.values[span], saturations, rows)
    return sums


def _best_rows(sums: Float64Array, k: int) -> Int64Array:
    """Rows of the k largest sums above 0, and of those that equal the k-th.

    Few rows are partitioned rather than all: numpy is slow on an array that is mostly zeros.
    """
    top = float(sums.max(initial=0.0))
    rows = np.empty(0, dtype=np.int64)
    for share in _SHARES:
        rows = np.flatnonzero(sums >= max(share * top, _LEAST))
        if len(rows) >= k:
            break
    if len(rows) <= k:
        return rows
    kth = np.partition(sums[rows], len(rows) - k)[len(rows) - k]
    chosen: Int64Array = rows[sums[rows] >= kth]
    return chosen


def _fill(
    postings: Postings,
    saturations: Float32Array,
    terms: Sequence[tuple[int, float]],
    places: Int64Array,
    rows: Int64Array,
    table: Float64Array,
) -> None:
    """Write the products of `rows` to those `places` of the table."""
    for column, (term, factor) in enumerate(terms):
        span = postings.span(term)
        holders = postings.rows[span]
        if not len(holders):
            continue
        found = np.minimum(np.searchsorted(holders, rows), len(holders) - 1)
        held = np.flatnonzero(holders[found] == rows)
        table[places[held], column] = factor * _weights(postings.values[span][found[held]], saturations, rows[held])


def _weights(values: Float32Array, saturations: Float32Array, rows: Int32Array | Int64Array) -> Float64Array:
    """(n,) the weights of values that are in `rows`."""
    weights = bm25.weights(values, saturations[rows]) if len(saturations) else values
    return weights.astype(np.float64)
