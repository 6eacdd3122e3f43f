"""Sparse retrieval: scores as sums over postings, for the best matches and for the terms' shares of given scores.

BM25 sums idf * weight over terms, the learned leg sums query weight * passage weight over vocabulary tokens: either way
a factor of the query times a weight of the passage. Weights are float32. Sums are float64, in the order of the terms,
so that a passage's score does not depend on the segment it is in.

A process that searches only once uses numpy. Where store/kernel.py is loaded, it does the same, with results that are
equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from core.records import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array
from store import bm25
from store.kernel_loading import kernel_for
from store.passageindex.protocol import Weights
from store.pool import Pool, best
from store.segments.postings import Postings
from store.snapshot import Located, Part, Snapshot

# A part's postings, and (rows,) the saturations that turn their values into weights; empty where they are weights.
Weighted = Callable[[Part], tuple[Postings, Float32Array]]

_SHARES = (0.5, 0.25, 0.0)  # of the best score: few rows are above the first share, and usually they are enough
_LEAST = float(np.finfo(np.float64).tiny)  # smaller sums are no match: some libraries make the CPU flush them to 0
_AT_LEAST = 256  # matches that the kernel gathers before the k best of them are selected
_AT_ONCE = 2**18  # postings, of up to 90 bytes each, that numpy gathers before they are summed
_WORTH_A_CALL, _WORTH_A_LOOK = 300, 4  # postings gathered in the time of looking up one term, or one row


def bm25_weights(part: Part) -> tuple[Postings, Float32Array]:
    """Postings of the terms, with BM25's saturations: weights without the idf."""
    return part.segment.postings, part.saturations


def learned_weights(part: Part) -> tuple[Postings, Float32Array]:
    """Postings of the vocabulary tokens; their values are the sparse model's weights."""
    return part.segment.learned, np.empty(0, dtype=np.float32)


WEIGHTED: Mapping[Weights, Weighted] = {Weights.BM25: bm25_weights, Weights.LEARNED: learned_weights}


def matching(
    snapshot: Snapshot, weighted: Weighted, terms: Sequence[tuple[int, float]], k: int, allowed: Int64Array | None
) -> Pool:
    """The k live passages with the largest sum of factor * weight over the (term, factor) pairs.

    `allowed`: ids to choose from, ascending and distinct; None: all.
    """
    if kernel := kernel_for(snapshot.passage_count):
        return _swept(kernel, snapshot, weighted, terms, k, allowed)
    wanted, factors = _columns(terms)
    spans = _Spans.of(snapshot, weighted, wanted)
    borders, sums = spans.borders, np.zeros(spans.borders[-1])
    for found in spans.postings():
        np.add.at(sums, found.rows, factors[found.columns] * found.weights)  # in order, one by one
    if allowed is not None:
        begun = zip(snapshot.parts, borders, strict=False)
        rows = np.concatenate([np.empty(0, np.int64), *(begin + part.find(allowed)[1] for part, begin in begun)])
        rows = rows[_best_rows(sums[rows], k)]
    else:
        for part, begin in zip(snapshot.parts, borders, strict=False):
            if not part.whole:
                sums[begin : begin + len(part.live)][~part.live] = 0
        rows = _best_rows(sums, k)
    ids = np.empty(len(rows), dtype=np.int64)
    cuts = rows.searchsorted(borders).tolist()
    for part, row, begin, end in zip(snapshot.parts, borders, cuts, cuts[1:], strict=False):
        ids[begin:end] = part.segment.ids[rows[begin:end] - row]
    return best(ids, sums[rows], k)


def products(
    snapshot: Snapshot,
    weighted: Weighted,
    terms: Sequence[tuple[int, float]],
    ids: Int64Array,
    located: Located | None = None,
) -> Float64Array:
    """(n, terms) factor * weight of every (term, factor) in every passage of `ids`; 0 where it does not occur.

    `ids` must be distinct: of equal ones, some of the ways to compute this fill only the last. `located`: the result of
    `snapshot.locate(ids)`, where it is known already.
    """
    table = np.zeros((len(ids), len(terms)))
    wanted, factors = _columns(terms)
    located = [one for one in (snapshot.locate(ids) if located is None else located) if len(one[1])]
    if kernel := kernel_for(snapshot.passage_count):
        for part, places, rows in located:
            postings, saturations = weighted(part)
            kernel.fill(*_arrays(postings), saturations, wanted, factors, places, rows, table)
        return table
    spans = _Spans.of(snapshot, weighted, wanted)
    if spans.total > len(terms) * (_WORTH_A_CALL * len(snapshot.parts) + _WORTH_A_LOOK * len(ids)):
        for part, places, rows in located:
            _look_up(*weighted(part), terms, places, rows, table)
        return table
    asked = np.full(spans.borders[-1], -1, dtype=np.int64)  # by row: its position in `ids`
    begins = {id(part): begin for part, begin in zip(snapshot.parts, spans.borders.tolist(), strict=False)}
    for part, places, rows in located:
        asked[rows + begins[id(part)]] = places
    for found in spans.postings():
        places = asked[found.rows]
        held = np.flatnonzero(places >= 0)
        columns = found.columns[held]
        table[places[held], columns] = factors[columns] * found.weights[held]
    return table


def _swept(
    kernel: ModuleType,
    snapshot: Snapshot,
    weighted: Weighted,
    terms: Sequence[tuple[int, float]],
    k: int,
    allowed: Int64Array | None,
) -> Pool:
    """Like `matching`, with the kernel. Matches are gathered part by part, and cut to the k best when they are many."""
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
    """Move the k best of the first `count` to the front, perhaps with ties; returns their number and the k-th score."""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """Postings of several terms; those of one row are in the order of the terms."""

    rows: Int64Array  # (postings,) numbered across all parts
    columns: Int64Array  # (postings,) the position of the posting's term
    weights: Float64Array  # (postings,)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Spans:
    """Where the parts have the postings of some terms. Reads them in few calls, whatever the number of terms."""

    held: Sequence[tuple[Postings, Float32Array]]  # (parts,) postings and saturations
    borders: Int64Array  # (parts + 1,) the number of each part's first row, and the number of rows
    begins: Sequence[Int64Array]  # (parts,) each (terms,)
    ends: Sequence[Int64Array]
    upto: Int64Array  # (terms + 1,) number of postings of the preceding terms, in all parts

    @classmethod
    def of(cls, snapshot: Snapshot, weighted: Weighted, wanted: Int32Array) -> _Spans:
        held = [weighted(part) for part in snapshot.parts]
        spans = [postings.spans(wanted) for postings, _ in held]
        upto = np.zeros(len(wanted) + 1, dtype=np.int64)
        for begins, ends in spans:
            upto[1:] += ends - begins
        return cls(
            held=held,
            borders=np.cumsum([0, *(len(part.live) for part in snapshot.parts)]),
            begins=[begins for begins, _ in spans],
            ends=[ends for _, ends in spans],
            upto=upto.cumsum(),
        )

    @property
    def total(self) -> int:
        return int(self.upto[-1])

    def postings(self) -> Iterator[_Found]:
        """The postings of all terms, at most `_AT_ONCE` at a time."""
        first, terms = 0, len(self.upto) - 1
        while first < terms and self.held:
            last = int(self.upto.searchsorted(self.upto[first] + _AT_ONCE, side="right")) - 1
            if last == first:
                yield from self._cut(first)
                first += 1
                continue
            found = [
                _gathered(*held, begins[first:last], ends[first:last])
                for held, begins, ends in zip(self.held, self.begins, self.ends, strict=True)
            ]
            rows = [rows + begin for (rows, _, _), begin in zip(found, self.borders, strict=False)]
            yield _Found(
                rows=np.concatenate(rows),
                columns=np.concatenate([columns for _, columns, _ in found]) + first,
                weights=np.concatenate([weights for _, _, weights in found]),
            )
            first = last

    def _cut(self, column: int) -> Iterator[_Found]:
        """The postings of a term that has too many, part by part and piece by piece: no row occurs twice in a piece."""
        for (postings, saturations), border, begins, ends in zip(
            self.held, self.borders, self.begins, self.ends, strict=False
        ):
            end = int(ends[column])
            for begin in range(int(begins[column]), end, _AT_ONCE):
                piece = slice(begin, min(begin + _AT_ONCE, end))
                rows = postings.rows[piece]
                yield _Found(
                    rows=rows + border,
                    columns=np.full(len(rows), column),
                    weights=_weights(postings.values[piece], saturations, rows),
                )


def _gathered(
    postings: Postings, saturations: Float32Array, begins: Int64Array, ends: Int64Array
) -> tuple[Int32Array, Int64Array, Float64Array]:
    """Rows, positions of the terms, and weights of the postings from each of `begins` to its end."""
    counts = ends - begins
    columns = np.arange(len(counts)).repeat(counts)
    places = np.arange(len(columns)) + (ends - counts.cumsum()).repeat(counts)
    rows = postings.rows[places]
    return rows, columns, _weights(postings.values[places], saturations, rows)


def _best_rows(sums: Float64Array, k: int) -> Int64Array:
    """Rows of the k largest sums above 0, with the ties of the k-th.

    Preselects few rows to partition: numpy is slow on an array that is mostly zeros.
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


def _look_up(
    postings: Postings,
    saturations: Float32Array,
    terms: Sequence[tuple[int, float]],
    places: Int64Array,
    rows: Int64Array,
    table: Float64Array,
) -> None:
    """Write the products of `rows` to these `places` of the table, looking up one term after the other."""
    rows = rows.astype(np.int32)
    for column, (term, factor) in enumerate(terms):
        span = postings.span(term)
        holders = postings.rows[span]
        if not len(holders):
            continue
        found = np.minimum(holders.searchsorted(rows), len(holders) - 1)
        held = np.flatnonzero(holders[found] == rows)
        table[places[held], column] = factor * _weights(postings.values[span][found[held]], saturations, rows[held])


def _weights(values: Float32Array, saturations: Float32Array, rows: Int32Array | Int64Array) -> Float64Array:
    """(n,) the weights of values, given their rows."""
    weights = bm25.weights(values, saturations[rows]) if len(saturations) else values
    return weights.astype(np.float64)
