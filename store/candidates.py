"""Candidate generation: codes and graphs name the rows that are likely among the best; the caller scores them."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.records import BoolArray, Float32Array, Int64Array
from store.quantizer import quantizer
from store.snapshot import Part
from store.stack import Stack

_ROWS_READ = 2  # codes read for each candidate, at least
_SPARSE = 0.9  # share of selectable rows below which the others are masked, and no graph is walked


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The rows of a part that a search may return."""

    part: Part
    rows: Int64Array | None  # sorted; None: all live rows
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
        """Whether too many rows are masked for a graph search to work well."""
        return self.count < _SPARSE * len(self.part.live)

    @property
    def chosen(self) -> BoolArray:
        """(rows,) whether each row of the part may be returned."""
        if self.rows is None:
            return self.part.live
        chosen = np.zeros(len(self.part.live), dtype=np.bool_)
        chosen[self.rows] = True
        return chosen


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """Rows that may be among the best, grouped by part."""

    spans: Mapping[int, slice]  # a part's rows, by the part's number; for parts that are missing, all rows count
    rows: Int64Array  # (n,)
    reach: Float32Array  # (n,) a score that the row hardly exceeds; infinity where nothing is known
    missed: float  # a score that the rows which were considered and left out hardly reach

    @classmethod
    def none(cls) -> Candidates:
        """No candidates: all rows of all parts count."""
        return cls(spans={}, rows=np.empty(0, dtype=np.int64), reach=np.empty(0, dtype=np.float32), missed=-math.inf)

    def likeliest(self, count: int) -> BoolArray:
        """(n,) whether each is among the `count` with the highest reach; ties with the last one are included."""
        if len(self.reach) <= count:
            return np.ones(len(self.reach), dtype=np.bool_)
        least = np.partition(self.reach, len(self.reach) - count)[len(self.reach) - count]
        likely: BoolArray = self.reach >= least
        return likely

    def by_part(self, chosen: BoolArray) -> dict[int, Int64Array]:
        """The `chosen` rows, by the part's number."""
        return {number: self.rows[span][chosen[span]] for number, span in self.spans.items()}


def candidates(
    selections: Sequence[Selection],
    stacks: Sequence[Stack],
    vector: Float32Array,
    k: int,
    wanted: int,
    *,
    thorough: bool,
) -> Candidates:
    """About `wanted` rows of each stack, and half as many of each graph, by approximate scores.

    `stacks`: of the codes of the parts. `thorough`: read all codes and walk no graph, for filters that leave few rows.
    """
    direction = quantizer(len(vector)).rotate(vector[None])
    found = {} if thorough else dict(_walked(selections, direction, wanted // 2))
    for stack in stacks:
        found |= _read(selections, stack, direction, k, wanted, walked=found, thorough=thorough)
    named = sum(len(here.rows) for here in found.values())
    others = sum(selection.count for number, selection in enumerate(selections) if number not in found)
    whole = all(len(here.rows) == selections[number].count for number, here in found.items())
    if not whole and (not named or named + others < k):
        if thorough:
            return Candidates.none()
        return candidates(selections, stacks, vector, k, wanted, thorough=True)
    if not named:
        return Candidates.none()
    ends = np.cumsum([len(here.rows) for here in found.values()]).tolist()
    length = math.sqrt(vector @ vector)
    return Candidates(
        spans={
            number: slice(end - len(here.rows), end) for (number, here), end in zip(found.items(), ends, strict=True)
        },
        rows=np.concatenate([here.rows for here in found.values()]),
        reach=np.concatenate([here.reach for here in found.values()]) * np.float32(length),
        missed=-math.inf if whole else length * max(here.missed for here in found.values()),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """Rows found in one part, for a query of length 1."""

    rows: Int64Array
    reach: Float32Array  # as in Candidates
    missed: float

    @classmethod
    def of(cls, selection: Selection, rows: Int64Array, reach: Float32Array, missed: float) -> _Found:
        """Those of `rows` that may be returned, plus the uneven rows, whose scores cannot be estimated."""
        scan = selection.part.segment.scan
        assert scan is not None
        if len(scan.uneven):
            kept = ~np.isin(rows, scan.uneven)
            rows = np.concatenate([rows[kept], scan.uneven])
            reach = np.concatenate([reach[kept], np.full(len(scan.uneven), np.inf, dtype=np.float32)])
        if selection.count < len(selection.part.live):
            kept = selection.chosen[rows]
            rows, reach = rows[kept], reach[kept]
        return cls(rows=rows, reach=reach, missed=missed)


def _walked(selections: Sequence[Selection], direction: Float32Array, wanted: int) -> Iterator[tuple[int, _Found]]:
    """What the graphs find, by the part's number."""
    for number, selection in enumerate(selections):
        scan = selection.part.segment.scan
        if scan is not None and scan.graph is not None and selection.count and not selection.sparse:
            rows, scores = scan.graph.search(direction, min(wanted, selection.count), selection.part.mask)
            unknown = np.full(len(rows), np.inf, dtype=np.float32)
            yield number, _Found.of(selection, rows, unknown, float(scores.min(initial=np.inf)) * scan.length)


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
    """What the codes of a stack find, by the part's number, except in parts whose graph was walked."""
    numbers = {
        id(selection.part.segment.scan.fast): number
        for number, selection in enumerate(selections)
        if selection.part.segment.scan is not None
    }
    places = [numbers[id(scan)] for scan in stack.scans]  # (scans,) the numbers of the scans' parts
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
    if count < rows and (thorough or count < _SPARSE * rows):  # otherwise the few others are removed from the result
        masks = {place: member.chosen for place, member in members.items()}
    lists = _lists(stack, members, direction, k, wanted, thorough=thorough)
    results = stack.search(direction, min(wanted, rows if masks is None else count), lists, masks)
    least = min(scores.min(initial=np.float32(np.inf)) for _, scores in results)
    reach, found = stack.scans[0].quantizer.reach, {}
    for place, member in members.items():
        named, scores = results[place]
        scan = member.part.segment.scan
        assert scan is not None
        missed = float(reach(least, scan.length))
        found[places[place]] = _Found.of(member, named, reach(scores, scan.length), missed)
    return found


def _lists(
    stack: Stack, members: Mapping[int, Selection], direction: Float32Array, k: int, wanted: int, *, thorough: bool
) -> Int64Array:
    """The numbers of the lists to read, for the scans at the places of `members` in the stack.

    Reads the lists whose centroid is nearly as close to the query as the closest one: many where the query is far from
    everything, few where it is not. The gap was measured (decision 0011), and scales with the spread of the vectors,
    because some models put all vectors into a narrow cone. A scan with a single list or with a graph is read in full.
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
    """Whether some lists of the part may be skipped."""
    scan = member.part.segment.scan
    return scan is not None and scan.graph is None and scan.fast is not None and scan.fast.lists > 1
