"""Exact nearest neighbours by dot product.

FAISS scans in float32 and finds the candidates; float64 has the last word on them. So a score is the same number in
whatever segment its passage lies, and equal vectors tie exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import faiss
import numpy as np

from core.records import BoolArray, Float32Array, Float64Array, Int64Array
from store.pool import Pool, best
from store.snapshot import Part

GATHER_ROWS = 5_000  # allowed rows up to which they are fetched one by one rather than scanned with a bitmap
# FAISS types these as the C++ constructors; its Python wrappers take an array and keywords.
_bitmap: Any = faiss.IDSelectorBitmap
_parameters: Any = faiss.SearchParameters
_SLACK = 16  # candidates beyond k that the first scan asks for


def dot(vectors: Float32Array, vector: Float32Array) -> Float64Array:
    """(n,) dot products of the rows with `vector`, summed in float64; a row's does not depend on the others."""
    products: Float64Array = np.vecdot(vectors.astype(np.float64), vector.astype(np.float64))
    return products


def nearest(parts: Iterable[Part], vector: Float32Array, k: int, allowed: Int64Array | None) -> Pool:
    """The k live passages, of the `allowed` ones, with the largest dot product."""
    vector = np.ascontiguousarray(vector, dtype=np.float32)
    faiss.omp_set_num_threads(1)  # holds for the calling thread only; requests run beside each other instead
    ids, scores = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.float64)]
    for part in parts:
        rows = _candidates(part, vector, k, allowed)
        ids.append(part.segment.ids[rows])
        scores.append(dot(part.segment.vectors[rows], vector))
    return best(np.concatenate(ids), np.concatenate(scores), k)


def _candidates(part: Part, vector: Float32Array, k: int, allowed: Int64Array | None) -> Int64Array:
    """Rows that may be among the k best: every row whose float32 score is not surely too low."""
    segment = part.segment
    # Both the k-th score and a rival's may be off by dimension * 2^-24 * |vector| * |row|.
    margin = 2 * len(vector) * 2.0**-24 * float(np.linalg.norm(vector)) * segment.largest_norm
    rows = None if allowed is None else part.find(allowed)[1]
    if rows is not None and len(rows) <= GATHER_ROWS:
        return _cut(rows, np.vecdot(segment.vectors[rows], vector), k, margin)
    mask = part.live if rows is None else _mask(len(part.live), rows)
    total = part.live_count if rows is None else len(rows)
    parameters = None
    if total < len(mask):
        parameters = _parameters(sel=_bitmap(np.packbits(mask, bitorder="little")))
    asked = min(k + _SLACK, total)
    while True:
        scores, labels = segment.index.search(vector[None, :], asked, params=parameters)
        # Unless the scan went on until scores are surely too low, there may be more ties at the cut.
        if asked == total or scores[0, -1] < scores[0, k - 1] - margin:
            return _cut(labels[0], scores[0], k, margin)
        asked = min(asked * 2, total)


def _cut(rows: Int64Array, scores: Float32Array, k: int, margin: float) -> Int64Array:
    if len(rows) <= k:
        return rows
    kth = np.partition(scores, len(scores) - k)[len(scores) - k]
    chosen: Int64Array = rows[scores >= kth - margin]
    return chosen


def _mask(size: int, rows: Int64Array) -> BoolArray:
    mask = np.zeros(size, dtype=np.bool_)
    mask[rows] = True
    return mask
