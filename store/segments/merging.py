"""Merge segments into one, dropping removed passages. Works block by block, so that it needs little memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from core.records import BoolArray, Float32Array, Int32Array, Int64Array
from store.ids import distinct
from store.segments.postings import Postings
from store.segments.segment import Segment

_BLOCK_ROWS = 8_192  # vectors copied at once
_BLOCK_POSTINGS = 2**21  # postings sorted at once; more if a single term has more
_GONE = -1

_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """A segment to be merged."""

    segment: Segment
    live: BoolArray  # (rows,)
    rows: Int64Array  # (live rows,) the live rows
    place: Int32Array  # (rows,) the row's number in the new segment; _GONE where it is not live


class Merge:
    """The live rows of segments in the order of their ids. At least one row must be live."""

    def __init__(self, parts: Sequence[tuple[Segment, BoolArray]]) -> None:
        """`parts`: segments without common passages, each with (rows,) which of its rows are live."""
        live_ids = np.concatenate([segment.ids[live] for segment, live in parts])
        order = np.argsort(live_ids, kind="stable")
        self.ids: Int64Array = live_ids[order]
        self.documents: Int64Array = np.concatenate([segment.documents[live] for segment, live in parts])[order]
        self.origin = order  # (rows,) for each new row its position among all live rows, source after source
        places = np.empty(len(order), dtype=np.int32)
        places[order] = np.arange(len(order), dtype=np.int32)
        self.sources: list[_Source] = []
        begin = 0
        for segment, live in parts:
            rows = np.flatnonzero(live)
            place = np.full(len(live), _GONE, dtype=np.int32)
            place[rows] = places[begin : begin + len(rows)]
            begin += len(rows)
            self.sources.append(_Source(segment=segment, live=live, rows=rows, place=place))

    def vectors(self) -> Iterator[Float32Array]:
        """The vectors of the new segment, block by block."""
        return self.gather(lambda segment: segment.vectors)

    def gather(self, of: Callable[[Segment], npt.NDArray[_Number]]) -> Iterator[npt.NDArray[_Number]]:
        """The new segment's rows of an array (rows, ...) that every source has, block by block."""
        starts = np.cumsum([0, *(len(source.rows) for source in self.sources)])
        arrays = [of(source.segment) for source in self.sources]
        for begin in range(0, len(self.origin), _BLOCK_ROWS):
            origin = self.origin[begin : begin + _BLOCK_ROWS]
            block = np.empty((len(origin), *arrays[0].shape[1:]), dtype=arrays[0].dtype)
            for number, (source, array) in enumerate(zip(self.sources, arrays, strict=True)):
                here = np.flatnonzero((origin >= starts[number]) & (origin < starts[number + 1]))
                if len(here):
                    block[here] = array[source.rows[origin[here] - starts[number]]]
            yield block

    def postings(self, of: Callable[[Segment], Postings]) -> MergedPostings:
        return MergedPostings(self, [of(source.segment) for source in self.sources])


class MergedPostings:
    """Postings of the new segment: the terms are in memory, rows and values are made block by block."""

    def __init__(self, merge: Merge, postings: Sequence[Postings]) -> None:
        self._merge = merge
        self._postings = postings
        terms = distinct(np.concatenate([source.terms for source in postings]))
        self._numbers = [np.searchsorted(terms, source.terms) for source in postings]
        self._blocks = self._cut(len(terms))
        counts = np.zeros(len(terms), dtype=np.int64)
        for block in self._blocks:
            for source, held, numbers in zip(merge.sources, postings, self._numbers, strict=True):
                span = _terms_within(numbers, block)
                counts[numbers[span]] += _live_counts(held, source.live, span)
        kept = counts > 0
        self.terms: Int32Array = terms[kept]
        self.offsets: Int64Array = np.concatenate([[0], np.cumsum(counts[kept])])
        lengths = np.concatenate([held.lengths[source.live] for source, held in self._pairs()])
        self.lengths = lengths[merge.origin]
        self.kinds = (postings[0].rows.dtype, postings[0].values.dtype)

    def blocks(self) -> Iterator[tuple[Int32Array, Float32Array]]:
        """Rows and values of the postings, in order, block by block."""
        for block in self._blocks:
            keys, rows, values = [], [], []
            for (source, held), numbers in zip(self._pairs(), self._numbers, strict=True):
                span = _terms_within(numbers, block)
                within = slice(int(held.offsets[span.start]), int(held.offsets[span.stop]))
                place = source.place[held.rows[within]]
                live = place != _GONE
                term = np.repeat(numbers[span], np.diff(held.offsets[span.start : span.stop + 1]))
                rows.append(place[live])
                values.append(held.values[within][live])
                keys.append(term[live] * len(self._merge.ids) + place[live])
            order = np.argsort(np.concatenate(keys), kind="stable")  # fast, as it merges sorted runs
            yield np.concatenate(rows)[order], np.concatenate(values)[order]

    def _pairs(self) -> Iterator[tuple[_Source, Postings]]:
        return zip(self._merge.sources, self._postings, strict=True)

    def _cut(self, terms: int) -> list[slice]:
        """Ranges of term numbers with about _BLOCK_POSTINGS postings each."""
        counts = np.zeros(terms, dtype=np.int64)
        for held, numbers in zip(self._postings, self._numbers, strict=True):
            counts[numbers] += np.diff(held.offsets)
        blocks, begin, size = [], 0, 0
        ends = np.cumsum(counts)
        while begin < terms:
            end = max(begin + 1, int(np.searchsorted(ends, size + _BLOCK_POSTINGS, side="right")))
            blocks.append(slice(begin, end))
            begin, size = end, int(ends[end - 1])
        return blocks


def merged(parts: Sequence[tuple[Segment, BoolArray]]) -> Segment:
    """Merge the live rows into one segment in memory. At least one row must be live."""
    merge = Merge(parts)

    def postings(of: Callable[[Segment], Postings]) -> Postings:
        found = merge.postings(of)
        blocks = list(found.blocks())
        return Postings(
            terms=found.terms,
            offsets=found.offsets,
            rows=np.concatenate([np.empty(0, found.kinds[0]), *(rows for rows, _ in blocks)]),
            values=np.concatenate([np.empty(0, found.kinds[1]), *(values for _, values in blocks)]),
            lengths=found.lengths,
        )

    return Segment.build(
        merge.ids,
        merge.documents,
        np.concatenate(list(merge.vectors())),
        postings(lambda segment: segment.postings),
        postings(lambda segment: segment.learned),
    )


def _terms_within(numbers: Int64Array, block: slice) -> slice:
    begin, end = np.searchsorted(numbers, [block.start, block.stop])
    return slice(int(begin), int(end))


def _live_counts(postings: Postings, live: BoolArray, span: slice) -> Int64Array:
    """(terms of the span,) number of postings in live rows."""
    offsets = postings.offsets[span.start : span.stop + 1]
    held = np.cumsum(live[postings.rows[offsets[0] : offsets[-1]]])
    counts: Int64Array = np.diff(np.concatenate([[0], held])[offsets - offsets[0]])
    return counts
