"""Nearest neighbours by dot product.

Few passages are all scored. Of many, the sealed segments name candidates that are likely among the best, a few times as
many as are asked for; and more, where a row that was left out might well belong to the best, by what is known of the
error of a code. Float64 has the last word on every candidate: a score is the same number in whatever segment its
passage lies and however it was found, and equal vectors tie exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import faiss
import numpy as np

from core.records import Float32Array, Float64Array, IndexKind, Int64Array
from store.candidates import Selection, candidates
from store.pool import Pool, best
from store.snapshot import Part
from store.stack import Stack

EXACT_PASSAGES = 10_000  # up to which all vectors are read
EXACT_MATCHES = 5_000  # of a filter, up to which all vectors are read
_DEPTH, _DEPTH_FILTERED = 2.25, 4  # candidates for each passage that is asked for
_MORE, _MORE_FILTERED = 78, 400  # candidates beyond that: filters that go with the query leave it less to choose from
_WORTHWHILE = 4  # passages for each candidate, below which all are scored
_BLOCK = 2**16  # numbers that are copied and converted at once: they stay in the cache, and need few calls


def dot(vectors: Float32Array, vector: Float32Array, rows: Int64Array | None = None) -> Float64Array:
    """(n,) dot products of the rows, or of `rows`, with `vector`, in float64; a row's does not depend on the others."""
    width = vectors.shape[1]
    count = len(vectors) if rows is None else len(rows)
    products, vector = np.empty(count, dtype=np.float64), vector.astype(np.float64)
    step = max(1, min(count, _BLOCK // max(1, width)))
    taken, wide = np.empty((step, width), dtype=np.float32), np.empty((step, width), dtype=np.float64)
    for begin in range(0, count, step):
        end = min(begin + step, count)
        some, block = vectors[begin:end], wide[: end - begin]
        if rows is not None:
            # Any way but "clip" has numpy gather into memory of its own first; no row is outside.
            some = np.take(vectors, rows[begin:end], axis=0, out=taken[: end - begin], mode="clip")
        block[:] = some
        np.vecdot(block, vector, out=products[begin:end])
    return products


def nearest(
    parts: Sequence[Part],
    vector: Float32Array,
    k: int,
    allowed: Int64Array | None,
    *,
    kind: IndexKind = IndexKind.AUTO,
    stacks: Sequence[Stack],
) -> Pool:
    """The k live passages, of the `allowed` ones, with the largest dot product; min(k, their number) of them.

    Exactly, with the kind `exact`, or where they are few; otherwise nearly all of the k best are among them.
    `stacks`: of the codes of the parts, as `scan.stacked` makes them.
    """
    vector = np.ascontiguousarray(vector, dtype=np.float32)
    faiss.omp_set_num_threads(1)  # holds for the calling thread only; requests run beside each other instead
    selections = [Selection.of(part, allowed) for part in parts]
    total = sum(selection.count for selection in selections)
    k = min(k, total)
    # Where most rows are left out, by a filter or because the others are not to be seen, the best lists may hold few.
    filtered = allowed is not None or 2 * total < sum(len(part.live) for part in parts)
    few = total <= EXACT_MATCHES if filtered else total <= EXACT_PASSAGES
    wanted = _DEPTH_FILTERED * k + _MORE_FILTERED if filtered else int(_DEPTH * k) + _MORE
    while not (kind is IndexKind.EXACT or few or total < _WORTHWHILE * wanted):
        found = candidates(selections, stacks, vector, k, wanted, thorough=filtered)
        pool = _scored(selections, vector, k, found.rows)
        if len(pool.ids) == k and found.missed <= pool.scores[-1]:
            return pool
        wanted *= 4
    return _scored(selections, vector, k, {})


def _scored(selections: Sequence[Selection], vector: Float32Array, k: int, named: Mapping[int, Int64Array]) -> Pool:
    """The k best of the rows that are `named`, by the part's number, and of all rows of the other parts.

    Float32 leaves out those whose score is surely too low.
    """
    searched = [(number, selection) for number, selection in enumerate(selections) if selection.count]
    near = [_judged(selection, vector, named.get(number)) for number, selection in searched]
    every = np.concatenate([np.empty(0, dtype=np.float32), *(found for _, found in near)])
    least = -np.inf
    if len(every) > k:
        longest = max(selection.part.segment.largest_norm for selection in selections)
        # Both the k-th score and a rival's may be off by dimension * 2^-24 * |vector| * |row|.
        margin = 2 * len(vector) * 2.0**-24 * math.sqrt(vector @ vector) * longest
        least = np.partition(every, len(every) - k)[len(every) - k] - margin
    ids, scores = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.float64)]
    for (_, selection), (rows, found) in zip(searched, near, strict=True):
        kept = found >= least
        rows, found = rows[kept], found[kept]
        if len(rows):
            ids.append(selection.part.segment.ids[rows])
            exact = found.dtype == np.float64
            scores.append(
                found.astype(np.float64, copy=False) if exact else dot(selection.part.segment.vectors, vector, rows)
            )
    return best(np.concatenate(ids), np.concatenate(scores), k)


def _judged(
    selection: Selection, vector: Float32Array, named: Int64Array | None
) -> tuple[Int64Array, Float32Array | Float64Array]:
    """The rows of the part that are `named`, or all that may be found, and their scores in float32.

    Of a few, in float64: to fetch them takes longer than to convert them, and so they are fetched once.
    """
    vectors, rows = selection.part.segment.vectors, selection.rows if named is None else named
    if rows is not None and len(rows) <= len(vectors) // 4:
        return rows, dot(vectors, vector, rows)
    scores = np.vecdot(vectors, vector)
    rows = np.flatnonzero(selection.part.live) if rows is None else rows
    return rows, scores if len(rows) == len(scores) else scores[rows]
