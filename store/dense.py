"""Nearest neighbours by dot product.

Few passages are all scored. Of many, the sealed segments name candidates that are likely among the best, a few times as
many as are asked for; and more, where a row that was left out might well belong to the best, by what is known of the
error of a code. Float64 has the last word on every candidate: a score is the same number in whatever segment its
passage lies and however it was found, and equal vectors tie exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import faiss
import numpy as np

from core.records import Float32Array, Float64Array, IndexKind, Int64Array
from store.fastscan import Mask
from store.pool import Pool, best
from store.quantizer import quantizer
from store.snapshot import Part

EXACT_PASSAGES = 10_000  # up to which all vectors are read
EXACT_MATCHES = 5_000  # of a filter, up to which all vectors are read
_DEPTH, _DEPTH_FILTERED = 2.25, 4  # candidates for each passage that is asked for
_MORE, _MORE_FILTERED = 78, 400  # candidates beyond that: filters that go with the query leave it less to choose from
_WORTHWHILE = 4  # passages for each candidate, below which all are scored
_ROWS_READ = 4  # codes for each candidate, at least
_BLOCK_ROWS = 64  # that are converted at once: what they take stays in the processor's cache


def dot(vectors: Float32Array, vector: Float32Array, rows: Int64Array | None = None) -> Float64Array:
    """(n,) dot products of the rows, or of `rows`, with `vector`, in float64; a row's does not depend on the others."""
    count = len(vectors) if rows is None else len(rows)
    products, vector = np.empty(count, dtype=np.float64), vector.astype(np.float64)
    for begin in range(0, count, _BLOCK_ROWS):
        block = slice(begin, begin + _BLOCK_ROWS)
        some = vectors[block] if rows is None else vectors[rows[block]]
        np.vecdot(some.astype(np.float64), vector, out=products[block])
    return products


def nearest(
    parts: Iterable[Part],
    vector: Float32Array,
    k: int,
    allowed: Int64Array | None,
    *,
    kind: IndexKind = IndexKind.AUTO,
) -> Pool:
    """The k live passages, of the `allowed` ones, with the largest dot product; min(k, their number) of them.

    Exactly, with the kind `exact`, or where they are few; otherwise nearly all of the k best are among them.
    """
    vector = np.ascontiguousarray(vector, dtype=np.float32)
    faiss.omp_set_num_threads(1)  # holds for the calling thread only; requests run beside each other instead
    selections = [_Selection.of(part, allowed) for part in parts]
    total = sum(selection.count for selection in selections)
    k = min(k, total)
    few = total <= EXACT_PASSAGES if allowed is None else total <= EXACT_MATCHES
    wanted = int(_DEPTH * k) + _MORE if allowed is None else _DEPTH_FILTERED * k + _MORE_FILTERED
    while not (kind is IndexKind.EXACT or few or total < _WORTHWHILE * wanted):
        scanned = _scanned(selections, vector, k, wanted, thorough=allowed is not None)
        pool = _scored(selections, vector, k, scanned.rows)
        if len(pool.ids) == k and scanned.missed <= pool.scores[-1]:
            return pool
        wanted *= 4
    return _scored(selections, vector, k, {})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Selection:
    """The rows of a part that may be found."""

    part: Part
    rows: Int64Array | None  # sorted; None: all that are live
    count: int

    @classmethod
    def of(cls, part: Part, allowed: Int64Array | None) -> _Selection:
        if allowed is None:
            return cls(part=part, rows=None, count=part.live_count)
        begin, end = np.searchsorted(allowed, part.segment.ids[[0, -1]] + [0, 1])
        rows = part.find(allowed[begin:end])[1]
        return cls(part=part, rows=rows, count=len(rows))

    @property
    def sparse(self) -> bool:
        """Whether so much is masked that a graph would lose its way."""
        return self.count < 0.9 * len(self.part.live)

    @property
    def mask(self) -> Mask | None:
        """The rows that may be found; None: all of the segment."""
        if self.rows is None or self.count == len(self.part.live):
            return self.part.mask
        chosen = np.zeros(len(self.part.live), dtype=np.bool_)
        chosen[self.rows] = True
        return Mask(chosen)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scanned:
    rows: dict[int, Int64Array]  # candidates by the part's number; parts that are left out have all rows scored
    missed: float  # a score that the rows which were judged and left out hardly reach


def _scanned(
    selections: Sequence[_Selection], vector: Float32Array, k: int, wanted: int, *, thorough: bool
) -> _Scanned:
    """About `wanted` candidates, beside the parts that can name none."""
    direction = quantizer(len(vector)).rotate(vector[None])
    lists = {} if thorough else _lists(selections, direction, k, wanted)
    found: dict[int, tuple[Int64Array, Float32Array]] = {}
    others = 0  # rows of the parts that are left out
    for number, selection in enumerate(selections):
        scan = selection.part.segment.scan
        result = None
        if scan is not None and selection.count:
            result = scan.search(
                direction,
                min(wanted, selection.count),
                selection.mask,
                lists=lists.get(number),
                thorough=thorough or selection.sparse,
            )
        if result is None:
            others += selection.count
        else:
            found[number] = result
    if sum(len(rows) for rows, _ in found.values()) + others < k:
        return _Scanned(rows={}, missed=-np.inf) if thorough else _scanned(selections, vector, k, wanted, thorough=True)
    if not any(len(rows) < selections[number].count for number, (rows, _) in found.items()):
        return _Scanned(rows={number: rows for number, (rows, _) in found.items()}, missed=-np.inf)
    scores = np.concatenate([scores for _, scores in found.values()])
    wanted = min(wanted + int(np.isinf(scores).sum()), len(scores))  # those that a scan cannot judge come on top
    least = np.partition(scores, len(scores) - wanted)[len(scores) - wanted]
    missed = max(_reach(selections[number], float(least), thorough=thorough) for number in found)
    return _Scanned(
        rows={number: rows[scores >= least] for number, (rows, scores) in found.items()},
        missed=missed * math.sqrt(vector @ vector),
    )


def _lists(selections: Sequence[_Selection], direction: Float32Array, k: int, wanted: int) -> dict[int, Int64Array]:
    """Which lists to read, by the number of each part of which not all are to be read.

    Those whose centroid is nearly as near to the query as the nearest of all parts: many where the query is far from
    everything, and few where it is not. How nearly was measured (decision 0011), and goes with the spread of the
    vectors: some models put all of theirs into a narrow cone.
    """
    scans = {number: selection.part.segment.scan for number, selection in enumerate(selections) if selection.count}
    fast = {number: scan.lists for number, scan in scans.items() if scan is not None and scan.lists is not None}
    if not fast:
        return {}
    near = {number: lists.near(direction) for number, lists in fast.items()}
    every = np.concatenate(list(near.values()))
    rows = sum(selections[number].count for number in fast)
    gap = max(0.34 + 0.09 * math.log10(k / 10) - 0.08 * math.log10(rows / 100_000), 0.1)
    least = every.max() - gap * max(lists.spread for lists in fast.values())
    enough = min(len(every), 1 + _ROWS_READ * wanted * len(every) // rows)
    least = min(least, np.partition(every, len(every) - enough)[len(every) - enough])
    return {number: np.flatnonzero(products >= least) for number, products in near.items()}


def _reach(selection: _Selection, score: float, *, thorough: bool) -> float:
    """What a row hardly exceeds that has about `score`."""
    scan = selection.part.segment.scan
    assert scan is not None
    return scan.reach(score, thorough=thorough or selection.sparse)


def _scored(selections: Sequence[_Selection], vector: Float32Array, k: int, scanned: Mapping[int, Int64Array]) -> Pool:
    """The k best of the `scanned` rows, by the part's number, and of all rows of the other parts.

    Of the latter, float32 leaves out those whose score is surely too low.
    """
    ids, scores = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.float64)]
    for number, rows in scanned.items():
        segment, rows = selections[number].part.segment, np.sort(rows)
        ids.append(segment.ids[rows])
        scores.append(dot(segment.vectors, vector, rows))
    others = [selection for number, selection in enumerate(selections) if number not in scanned and selection.count]
    near = [_rough(selection, vector) for selection in others]
    every = np.concatenate([*scores, *(rough for _, rough in near)])
    least = -np.inf
    if len(every) > k:
        longest = max(selection.part.segment.largest_norm for selection in selections)
        # Both the k-th score and a rival's may be off by dimension * 2^-24 * |vector| * |row|.
        margin = 2 * len(vector) * 2.0**-24 * math.sqrt(vector @ vector) * longest
        least = np.partition(every, len(every) - k)[len(every) - k] - margin
    for selection, (rows, rough) in zip(others, near, strict=True):
        rows = rows[rough >= least]
        ids.append(selection.part.segment.ids[rows])
        scores.append(dot(selection.part.segment.vectors, vector, rows))
    return best(np.concatenate(ids), np.concatenate(scores), k)


def _rough(selection: _Selection, vector: Float32Array) -> tuple[Int64Array, Float32Array]:
    """The rows of the part that may be found, and their scores in float32."""
    vectors, rows = selection.part.segment.vectors, selection.rows
    if rows is not None and len(rows) <= len(vectors) // 4:
        return rows, np.vecdot(vectors[rows], vector)
    scores: Float32Array = np.vecdot(vectors, vector)
    rows = np.flatnonzero(selection.part.live) if rows is None else rows
    return rows, scores if len(rows) == len(scores) else scores[rows]
