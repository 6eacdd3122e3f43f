"""Which rows are likely among the best: those that codes and graphs name, to be scored by whoever asked."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.records import BoolArray, Float32Array, Int64Array
from store.quantizer import quantizer
from store.scan import Scan
from store.snapshot import Part
from store.stack import Stack

_ROWS_READ = 4  # codes for each candidate, at least
_SPARSE = 0.9  # share of the rows that may be found, below which the others are masked, and no graph is walked


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The rows of a part that may be found."""

    part: Part
    rows: Int64Array | None  # sorted; None: all that are live
    count: int

    @classmethod
    def of(cls, part: Part, allowed: Int64Array | None) -> Selection:
        if allowed is None:
            return cls(part=part, rows=None, count=part.live_count)
        begin, end = np.searchsorted(allowed, part.segment.ids[[0, -1]] + [0, 1])
        rows = part.find(allowed[begin:end])[1]
        return cls(part=part, rows=rows, count=len(rows))

    @property
    def sparse(self) -> bool:
        """Whether so much is masked that a graph would lose its way."""
        return self.count < _SPARSE * len(self.part.live)

    @property
    def chosen(self) -> BoolArray:
        """(rows,) whether each of the part's may be found."""
        if self.rows is None:
            return self.part.live
        chosen = np.zeros(len(self.part.live), dtype=np.bool_)
        chosen[self.rows] = True
        return chosen


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    rows: dict[int, Int64Array]  # by the part's number; parts that are left out have all rows scored
    missed: float  # a score that the rows which were judged and left out hardly reach


def candidates(
    selections: Sequence[Selection],
    stacks: Sequence[Stack],
    vector: Float32Array,
    k: int,
    wanted: int,
    *,
    thorough: bool,
) -> Candidates:
    """About `wanted` rows, beside the parts that can name none.

    `stacks`: of the codes of the parts. `thorough`: read all codes, and walk through no graph, as a filter that leaves
    little calls for.
    """
    direction = quantizer(len(vector)).rotate(vector[None])
    found = {} if thorough else dict(_walked(selections, direction, wanted))
    for stack in stacks:
        found |= _read(selections, stack, direction, k, wanted, walked=found, thorough=thorough)
    others = sum(selection.count for number, selection in enumerate(selections) if number not in found)
    if not any(len(here.rows) < selections[number].count for number, here in found.items()):
        return Candidates(rows={number: here.rows for number, here in found.items()}, missed=-math.inf)
    named = sum(len(here.rows) for here in found.values())
    if not named or named + others < k:
        if thorough:
            return Candidates(rows={}, missed=-math.inf)
        return candidates(selections, stacks, vector, k, wanted, thorough=True)
    scores = np.concatenate([here.scores for here in found.values()])
    longest = max(here.scan.length for here in found.values())
    wanted += sum(len(here.scan.uneven) for here in found.values())  # those that codes cannot judge come on top
    rows = {number: here.rows for number, here in found.items()}
    if len(scores) > wanted:  # several sources have found as many each
        least = float(np.partition(scores, len(scores) - wanted)[len(scores) - wanted])
        rows = {number: here.rows[here.scores >= least] for number, here in found.items()}
    else:
        least = float(scores.min())
    coded = any(here.coded for here in found.values())
    missed = quantizer(len(vector)).reach(least, longest) if coded else least
    return Candidates(rows=rows, missed=missed * math.sqrt(vector @ vector))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """Rows of a part, and about their products with a query of length 1."""

    rows: Int64Array
    scores: Float32Array  # of one of another length: infinity
    scan: Scan
    coded: bool  # codes said so, not a graph

    @classmethod
    def judged(cls, selection: Selection, rows: Int64Array, scores: Float32Array, *, coded: bool) -> _Found:
        """`rows` have about `scores`, as far as their directions go."""
        scan = selection.part.segment.scan
        assert scan is not None
        rows, scores = scan.judged(rows, scores)
        if selection.count < len(selection.part.live):
            kept = selection.chosen[rows]
            rows, scores = rows[kept], scores[kept]
        return cls(rows=rows, scores=scores, scan=scan, coded=coded)


def _walked(selections: Sequence[Selection], direction: Float32Array, wanted: int) -> Iterator[tuple[int, _Found]]:
    """What graphs find, by the part's number."""
    for number, selection in enumerate(selections):
        scan = selection.part.segment.scan
        if scan is not None and scan.graph is not None and selection.count and not selection.sparse:
            rows, scores = scan.graph.search(direction, min(wanted, selection.count), selection.part.mask)
            yield number, _Found.judged(selection, rows, scores, coded=False)


def _read(
    selections: Sequence[Selection],
    stack: Stack,
    direction: Float32Array,
    k: int,
    wanted: int,
    *,
    walked: Container[int],
    thorough: bool,
) -> dict[int, _Found]:
    """What the codes of a stack find, by the part's number, except in parts whose graph was `walked`."""
    numbers = {
        id(selection.part.segment.scan.fast): number
        for number, selection in enumerate(selections)
        if selection.part.segment.scan is not None
    }
    places = [numbers[id(scan)] for scan in stack.scans]  # (scans,) the numbers of their parts
    members = {
        place: selections[number]
        for place, number in enumerate(places)
        if number not in walked and selections[number].count
    }
    if not members:
        return {}
    count = sum(member.count for member in members.values())
    rows = sum(len(member.part.live) for member in members.values())
    masks = None
    if count < rows and (thorough or count < _SPARSE * rows):  # else the few others are left out of what is found
        masks = {place: member.chosen for place, member in members.items()}
    lists = _lists(stack, members, direction, k, wanted, thorough=thorough)
    results = stack.search(direction, min(wanted, rows if masks is None else count), lists, masks)
    return {places[place]: _Found.judged(member, *results[place], coded=True) for place, member in members.items()}


def _lists(
    stack: Stack, members: Mapping[int, Selection], direction: Float32Array, k: int, wanted: int, *, thorough: bool
) -> Int64Array:
    """The numbers of the lists to read, in the scans at the places of `members` in the stack.

    Those whose centroid is nearly as near to the query as the nearest of all: many where the query is far from
    everything, and few where it is not. How nearly was measured (decision 0011), and goes with the spread of the
    vectors: some models put all of theirs into a narrow cone. Where there is one list, or a graph, all are read.
    """
    listed = [] if thorough else [place for place, member in members.items() if _listed(member)]
    read = np.zeros(stack.lists, dtype=np.bool_)
    for place in members.keys() - set(listed):
        read[stack.spans[place]] = True
    if listed:
        near = stack.near(direction)
        if len(listed) < len(stack.spans):
            others = np.ones(stack.lists, dtype=np.bool_)
            for place in listed:
                others[stack.spans[place]] = False
            near[others] = -np.inf
        rows = sum(members[place].count for place in listed)
        gap = max(0.37 + 0.09 * math.log10(k / 10) - 0.08 * math.log10(rows / 100_000), 0.1)
        least = near.max() - gap * max(stack.scans[place].spread for place in listed)
        lists = sum(stack.scans[place].lists for place in listed)
        enough = min(lists, 1 + _ROWS_READ * wanted * lists // rows)
        if np.count_nonzero(near >= least) < enough:
            least = np.partition(near, len(near) - enough)[len(near) - enough]
        read |= near >= least
    return np.flatnonzero(read)


def _listed(member: Selection) -> bool:
    """Whether lists of the part may be left out."""
    scan = member.part.segment.scan
    return scan is not None and scan.graph is None and scan.fast is not None and scan.fast.lists > 1
