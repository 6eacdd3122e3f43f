"""Dense retrieval: nearest neighbours by dot product.

Few passages are scored in full. Among many, the sealed segments name candidates, a few times as many as are asked for.
The known error of the codes tells whether a row that was left out might well belong to the best; then more candidates
are fetched. It also prunes candidates that hardly belong to the best. All others are rescored in float64: a score does
not depend on the segment of its passage or on how it was found, and equal vectors tie exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import faiss
import numpy as np

from core.records import Float32Array, Float64Array, IndexKind, Int64Array
from store.candidates import Candidates, Selection, candidates
from store.pool import Pool, best
from store.snapshot import Part
from store.stack import Stack

EXACT_PASSAGES = 10_000  # up to which all vectors are scored
EXACT_MATCHES = 5_000  # matches of a filter, up to which all their vectors are scored
_DEPTH = 4  # candidates for each passage that is asked for
_MORE, _MORE_FILTERED = 160, 400  # additional candidates: a filter correlated with the query needs more of them
_GROWTH = 1 / 6  # exponent by which they grow with the passages from 100,000 on: more passages, more near ties
_WORTHWHILE = 2  # passages per candidate, below which all are scored
_LIKELIEST, _MORE_LIKELIEST = 1.25, 10  # candidates per passage, and additional ones, that are scored first
_BLOCK = 2**16  # numbers that are copied and converted at once: they fit the cache, and few calls are needed


def products(pieces: Sequence[tuple[Float32Array, Int64Array]], vector: Float32Array) -> Float64Array:
    """(n,) dot products, in float64, of `vector` (width,) with the rows of all pieces. A piece is an array of vectors
    (rows, width) and the numbers of the rows to take from it. A row's product does not depend on the other rows.
    """
    count, width = sum(len(rows) for _, rows in pieces), len(vector)
    found, vector = np.empty(count, dtype=np.float64), vector.astype(np.float64)
    step = max(1, min(count, _BLOCK // max(1, width)))
    taken, wide = np.empty((step, width), dtype=np.float32), np.empty((step, width), dtype=np.float64)
    done = filled = 0
    for vectors, rows in pieces:
        begin = 0
        while begin < len(rows):
            some = rows[begin : begin + step - filled]
            # With any mode but "clip" numpy gathers into a buffer of its own first; no row is out of range.
            np.take(vectors, some, axis=0, out=taken[filled : filled + len(some)], mode="clip")
            begin, filled = begin + len(some), filled + len(some)
            if filled == step or done + filled == count:
                wide[:filled] = taken[:filled]
                np.vecdot(wide[:filled], vector, out=found[done : done + filled])
                done, filled = done + filled, 0
    return found


def nearest(
    parts: Sequence[Part],
    vector: Float32Array,
    k: int,
    allowed: Int64Array | None,
    *,
    kind: IndexKind = IndexKind.AUTO,
    stacks: Sequence[Stack],
) -> Pool:
    """The k live passages with the largest dot product, or all if there are fewer.

    `allowed`: ids to choose from, ascending and distinct; None: all passages. `stacks`: of the codes of the parts, as
    `scan.stacked` makes them. The result is exact with the kind `exact` and for few passages; otherwise nearly all of
    the k best are among them.
    """
    vector = np.ascontiguousarray(vector, dtype=np.float32)
    faiss.omp_set_num_threads(1)  # for the calling thread only; requests run in parallel instead
    selections = [Selection.of(part, allowed) for part in parts]
    total = sum(selection.count for selection in selections)
    k = min(k, total)
    # Where most rows are left out, by a filter or because they are not visible, the best lists may hold few.
    filtered = allowed is not None or 2 * total < sum(len(part.live) for part in parts)
    few = total <= EXACT_MATCHES if filtered else total <= EXACT_PASSAGES
    wanted = int((_DEPTH * k + (_MORE_FILTERED if filtered else _MORE)) * max(1.0, total / 100_000) ** _GROWTH)
    while not (kind is IndexKind.EXACT or few or total < _WORTHWHILE * wanted):
        found = candidates(selections, stacks, vector, k, wanted, thorough=filtered)
        pool = _scored(selections, vector, k, found, all_named=filtered)
        if len(pool.ids) == k and found.missed <= pool.scores[-1]:
            return pool
        wanted *= 4
    return _scored(selections, vector, k, Candidates.none())


def _scored(
    selections: Sequence[Selection], vector: Float32Array, k: int, named: Candidates, *, all_named: bool = False
) -> Pool:
    """The k best of what is `named`, and of all rows of the other parts.

    The candidates with the highest reach, and the float32 scores of the other parts, give a lower bound of the k-th
    score. Rows that are certain to stay below it are pruned, and candidates that most likely do, unless `all_named`.
    """
    first = len(named.rows) if all_named else int(_LIKELIEST * k) + _MORE_LIKELIEST
    likeliest = named.likeliest(first)
    scored = _Scored(selections, vector)
    scored.add(named.by_part(likeliest))
    others = {
        number: _judged(selection, vector)
        for number, selection in enumerate(selections)
        if selection.count and number not in named.spans
    }
    known = np.concatenate([*scored.scores, *(scores for _, scores in others.values())])
    least = -np.inf
    if len(known) > k:
        longest = max(selection.part.segment.largest_norm for selection in selections)
        # Both the k-th score and a rival's may be off by dimension * 2^-24 * |vector| * |row|.
        margin = 2 * len(vector) * 2.0**-24 * math.sqrt(vector @ vector) * longest
        least = np.partition(known, len(known) - k)[len(known) - k] - margin
    rivals = named.by_part(~likeliest & (named.reach >= least))
    for number, (rows, scores) in others.items():
        kept = scores >= least
        if scores.dtype == np.float64:  # already exact
            scored.note(number, rows[kept], scores[kept].astype(np.float64, copy=False))
        else:
            rivals[number] = rows[kept]
    scored.add(rivals)
    return best(np.concatenate(scored.ids), np.concatenate(scored.scores), k)


class _Scored:
    """Accumulates passages and their scores."""

    def __init__(self, selections: Sequence[Selection], vector: Float32Array) -> None:
        self._segments = [selection.part.segment for selection in selections]
        self._vector = vector
        self.ids: list[Int64Array] = [np.empty(0, dtype=np.int64)]
        self.scores: list[Float64Array] = [np.empty(0, dtype=np.float64)]

    def add(self, rows: Mapping[int, Int64Array]) -> None:
        """Score these rows, given by the part's number."""
        pieces = [(number, some) for number, some in rows.items() if len(some)]
        self.ids += [self._segments[number].ids[some] for number, some in pieces]
        self.scores.append(products([(self._segments[number].vectors, some) for number, some in pieces], self._vector))

    def note(self, number: int, rows: Int64Array, scores: Float64Array) -> None:
        """Add rows of a part whose scores are already known."""
        self.ids.append(self._segments[number].ids[rows])
        self.scores.append(scores)


def _judged(selection: Selection, vector: Float32Array) -> tuple[Int64Array, Float32Array | Float64Array]:
    """The selectable rows of the part, and their scores in float32.

    Few rows are scored in float64 at once: fetching them takes longer than converting them.
    """
    vectors, rows = selection.part.segment.vectors, selection.rows
    if rows is not None and len(rows) <= len(vectors) // 4:
        return rows, products([(vectors, rows)], vector)
    scores = np.vecdot(vectors, vector)
    rows = np.flatnonzero(selection.part.live) if rows is None else rows
    return rows, scores if len(rows) == len(scores) else scores[rows]
