"""An immutable picture of one generation at one point of its change log.

Few segments, none of them ever changed: what was added since the last picture becomes a small segment, four segments of
about one size become one, and removed passages are masked until their segment is written anew. Every figure that scores
depend on (N, df, average length) is that of the live passages, whatever the segments have been through.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import sqlalchemy as sa

from core.errors import HitNotFound
from core.records import BoolArray, Collection, Float32Array, Int64Array
from store import bm25, schema
from store.commit import current_seq
from store.database import ReadSession
from store.segment import Segment, merge, read_segment

FAN_OUT = 4  # segments of one tier that become one
_SMALLEST_TIER = 256  # rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A segment as one snapshot sees it."""

    segment: Segment
    live: BoolArray  # (rows,) not removed
    live_count: int
    weights: Float32Array  # (postings,) bm25.weights, for the snapshot's average length

    def find(self, ids: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Which of `ids` are live here: their places in `ids`, and their rows."""
        places, rows = self.segment.find(ids)
        live = self.live[rows]
        return places[live], rows[live]

    @property
    def whole(self) -> bool:
        return self.live_count == len(self.live)


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """Made by `load` and `advance`; shared between threads."""

    collection: Collection
    seq: int  # of the newest change that it holds
    parts: tuple[Part, ...]
    passage_count: int
    average_length: float  # of the live passages, in terms; 0 when there are none

    def advance(self, session: ReadSession) -> Snapshot:
        """The snapshot of the session's state, which must not be older."""
        seq = current_seq(session, self.collection.active.id)
        if seq == self.seq:
            return self
        parts: list[Part] = []
        if self.parts:  # else all that was ever removed would be read for nothing
            removed = _removed(session, self.collection.active.id, self.seq)
            parts = [_without(part, removed) for part in self.parts]
        added = read_segment(session, self.collection.active.id, self.collection.active.dimension, since=self.seq)
        if not added and all(new is old for new, old in zip(parts, self.parts, strict=True)):
            return replace(self, seq=seq)  # metadata was replaced: nothing that a search scores by
        if added:
            parts.append(_part(added))
        return _weighted(self.collection, seq, _compact(parts))

    def df(self, term: int) -> int:
        """How many live passages hold the term."""
        count = 0
        for part in self.parts:
            span = part.segment.postings.span(term)
            if part.whole:
                count += span.stop - span.start
            else:
                count += int(part.live[part.segment.postings.rows[span]].sum())
        return count

    def locate(self, ids: Int64Array) -> list[tuple[Part, Int64Array, Int64Array]]:
        """Where the passages are: part, places in `ids`, rows. Raises HitNotFound when one of them is not here."""
        found = [(part, *part.find(ids)) for part in self.parts]
        if sum(len(places) for _, places, _ in found) < len(ids):
            known = np.concatenate([np.empty(0, np.int64), *(ids[places] for _, places, _ in found)])
            missing = np.setdiff1d(ids, known)[0]
            raise HitNotFound(f"there is no passage {missing}; its document was replaced or deleted", param="id")
        return found


def load(session: ReadSession, collection: Collection) -> Snapshot:
    """The snapshot of the collection's active generation, read anew."""
    return Snapshot(collection=collection, seq=0, parts=(), passage_count=0, average_length=0.0).advance(session)


def _removed(session: ReadSession, generation_id: int, since: int) -> Int64Array:
    change = schema.change.c
    statement = sa.select(change.passage_id).where(
        change.generation_id == generation_id, change.seq > since, change.operation == "-"
    )
    return np.fromiter(session.execute(statement).scalars(), dtype=np.int64)


def _without(part: Part, removed: Int64Array) -> Part:
    _, rows = part.find(removed)
    if not len(rows):
        return part
    live = part.live.copy()
    live[rows] = False
    return replace(part, live=live, live_count=int(live.sum()))


def _compact(parts: Sequence[Part]) -> list[Part]:
    """Few segments: at most FAN_OUT - 1 of a tier, none with more removed rows than live ones."""
    parts = [part if part.live_count * 2 >= len(part.live) else _merged([part]) for part in parts if part.live_count]
    tiers: dict[int, list[Part]] = {}
    for part in parts:
        tiers.setdefault(_tier(part), []).append(part)
    full = [tier for tier, members in tiers.items() if len(members) >= FAN_OUT]
    if full:
        members = tiers.pop(min(full))
        return _compact([*(part for others in tiers.values() for part in others), _merged(members)])
    return sorted(parts, key=lambda part: int(part.segment.ids[0]))


def _tier(part: Part) -> int:
    return max(0, math.floor(math.log(part.live_count / _SMALLEST_TIER, FAN_OUT)) + 1)


def _merged(parts: Sequence[Part]) -> Part:
    return _part(merge([(part.segment, part.live) for part in parts]))


def _part(segment: Segment) -> Part:
    rows = len(segment.ids)
    return Part(
        segment=segment, live=np.ones(rows, dtype=np.bool_), live_count=rows, weights=np.empty(0, dtype=np.float32)
    )


def _weighted(collection: Collection, seq: int, parts: Sequence[Part]) -> Snapshot:
    passages = sum(part.live_count for part in parts)
    # Lengths are whole numbers: their sum is exact in any order.
    length = sum(float(part.segment.postings.lengths[part.live].sum()) for part in parts)
    average = length / passages if passages else 0.0
    k1, b = collection.settings.k1, collection.settings.b
    weighted = []
    for part in parts:
        postings = part.segment.postings
        saturation = bm25.saturation(postings.lengths, average, k1=k1, b=b)
        weighted.append(replace(part, weights=bm25.weights(postings.values, saturation[postings.rows])))
    return Snapshot(
        collection=collection, seq=seq, parts=tuple(weighted), passage_count=passages, average_length=average
    )
