"""An immutable view of one generation at one point of its change log.

It consists of sealed segments over files, and the tail: what was committed since, in memory. What each new snapshot
adds becomes a small segment of the tail, and four segments of similar size are merged into one. Segments are never
changed: removed passages are masked until their segment is rewritten. All statistics that scores depend on (N, df,
average length) are those of the live passages, however they are distributed over segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from core.errors import HitNotFound, IndexUnavailable
from core.records import BoolArray, Collection, Float32Array, Int64Array
from store import bm25
from store.changes import added_since, current_seq, removed_since
from store.database import ReadSession
from store.filters.sql import Documents
from store.graph import Mask
from store.passageindex.record import IndexRecord
from store.scan import stacked
from store.segments.files import OpenSegments
from store.segments.merging import merged
from store.segments.rows import active_segments, sealed_seq
from store.segments.segment import Segment, read_segment
from store.segments.tiers import FAN_OUT, tier
from store.stack import Stack

TAIL_ROWS = 100_000  # passages searched in memory, at most, where an external engine holds the others


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A segment as one snapshot sees it."""

    segment: Segment
    sealed: int | None  # segment.id of its row; None: a segment of the tail, in memory
    live: BoolArray  # (rows,) not removed
    live_count: int
    saturations: Float32Array  # (rows,) bm25.saturation, for the snapshot's average length
    mask: Mask | None = field(init=False)  # `live` in the graph's format; None: all rows are live, or there is no graph

    def __post_init__(self) -> None:
        graph = self.segment.scan is not None and self.segment.scan.graph is not None
        object.__setattr__(self, "mask", Mask(self.live) if graph and not self.whole else None)

    def find(self, ids: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Which of `ids` are live here: their positions in `ids`, and their rows."""
        places, rows = self.segment.find(ids)
        live = self.live[rows]
        return places[live], rows[live]

    @property
    def whole(self) -> bool:
        return self.live_count == len(self.live)


Located = Sequence[tuple[Part, Int64Array, Int64Array]]  # of some ids: part, positions among the ids, rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """An immutable state of a generation. Made by `load`, `advance` and `resealed`; shared between threads."""

    collection: Collection
    seq: int  # of the newest change in it
    newest_segment: int  # highest segment.id that was active when the segments were opened
    tail_begin: int | None  # the tail begins after this change; None: the tail also stands in for broken segments
    parts: tuple[Part, ...]
    passage_count: int
    average_length: float  # of the live passages, in terms; 0 when there are none
    stacks: tuple[Stack, ...] = ()  # of the parts' codes
    elsewhere: IndexRecord | None = None  # of an external engine, if it holds the other passages: parts are the tail
    # Caches of what searches read from this state; a copy by `replace` starts with empty ones.
    _df: dict[int, int] = field(default_factory=dict, init=False)
    known_terms: dict[str, int | None] = field(default_factory=dict, init=False)  # ids by text; None: no such term
    known_languages: list[str] = field(default_factory=list, init=False)  # of the documents; empty: not read yet

    def advance(self, session: ReadSession) -> Snapshot:
        """The snapshot of the session's state, which must not be older, over the same sealed segments."""
        seq = current_seq(session, self.collection.active.id)
        if seq == self.seq:
            return self
        parts: list[Part] = []
        if self.parts:  # otherwise all removals ever logged would be read for nothing
            removed = removed_since(session, self.collection.active.id, self.seq)
            parts = [_without(part, removed) for part in self.parts]
        read_to = self.seq if self.elsewhere is None else max(self.seq, self.elsewhere.seq)
        added = _read_tail(session, self.collection, since=read_to)
        same = not added and all(new is old for new, old in zip(parts, self.parts, strict=True))
        if same and self.elsewhere is None:
            return replace(self, seq=seq)  # only metadata was replaced, which scores do not depend on
        return self._with(seq, [*parts, *added])

    def resealed(self, session: ReadSession, files: OpenSegments) -> Snapshot:
        """The snapshot of the session's state over the segments that are sealed now. Reuses what it can."""
        generation = self.collection.active.id
        seq, rows = current_seq(session, generation), active_segments(session, generation)
        files.keep(rows)
        opened = [(row, segment) for row in rows if (segment := files.get(row)) is not None]
        at_hand = {part.sealed: part for part in self.parts if part.sealed is not None and self.seq == seq}
        parts = [at_hand[row.id] for row, _ in opened if row.id in at_hand]
        others = [(row, segment) for row, segment in opened if row.id not in at_hand]
        newest = max((row.id for row in rows), default=0)
        if not others and len(at_hand) == len(parts) and newest == self.newest_segment and self.seq == seq:
            return self  # the unreadable segments are still unreadable
        if others:
            removed = removed_since(session, generation, min(row.as_of for row, _ in others))
            parts += [_part(segment, removed, sealed=row.id) for row, segment in others]
        whole = len(opened) == len(rows)
        tail_begin = sealed_seq(rows) if whole else None
        if whole and self.seq == seq and self.tail_begin == tail_begin:
            tail = [part for part in self.parts if part.sealed is None]
        else:  # the passages of broken files are read with the tail
            known = [] if whole else [segment.ids for _, segment in opened]
            tail = _read_tail(session, self.collection, since=tail_begin or 0, known=known)
        return replace(self, newest_segment=newest, tail_begin=tail_begin)._with(seq, [*parts, *tail])

    def under(self, collection: Collection) -> Snapshot:
        """The same passages, scored by the settings of `collection`, which were changed or are being tried out."""
        if collection.settings == self.collection.settings:
            return self if collection == self.collection else replace(self, collection=collection)
        return replace(self, collection=collection)._with(self.seq, self.parts)

    def only(self, documents: Documents) -> Snapshot:
        """The same state as if only these documents existed: scored like a collection of them alone."""
        parts = []
        for part in self.parts:
            live = part.live & documents.holds(part.segment.documents)
            if live.any():
                parts.append(replace(part, live=live, live_count=int(live.sum())))
        return self._over(self.seq, parts)

    def dfs(self, terms: Sequence[int]) -> list[int]:
        """(n,) number of live passages that contain each of the terms."""
        fresh = [term for term in terms if term not in self._df]
        if fresh:
            wanted, counts = np.array(fresh, dtype=np.int32), np.zeros(len(fresh), dtype=np.int64)
            for part in self.parts:
                begins, ends = part.segment.postings.spans(wanted)
                if part.whole:
                    counts += ends - begins
                    continue
                for place in np.flatnonzero(ends > begins).tolist():
                    rows = part.segment.postings.rows[begins[place] : ends[place]]
                    counts[place] += np.count_nonzero(part.live[rows])
            self._df.update(zip(fresh, counts.tolist(), strict=True))
        return [self._df[term] for term in terms]

    def locate(self, ids: Int64Array) -> Located:
        """Where the passages are: part, positions in `ids`, rows. Raises HitNotFound when one of them is not here."""
        found = [(part, *part.find(ids)) for part in self.parts]
        if sum(len(places) for _, places, _ in found) < len(ids):
            known = np.concatenate([np.empty(0, np.int64), *(ids[places] for _, places, _ in found)])
            missing = np.setdiff1d(ids, known)[0]
            raise HitNotFound(f"there is no passage {missing}; its document was replaced or deleted", param="id")
        return found

    def _with(self, seq: int, parts: Sequence[Part]) -> Snapshot:
        """A copy with these parts, after compacting the tail and dropping parts without live rows."""
        tail = _compact([part for part in parts if part.sealed is None])
        parts = [*(part for part in parts if part.sealed is not None and part.live_count), *tail]
        parts.sort(key=lambda part: int(part.segment.ids[0]))
        return self._over(seq, parts)

    def _over(self, seq: int, parts: Sequence[Part]) -> Snapshot:
        """A copy with these parts, and the statistics of their live rows."""
        if self.elsewhere is not None:
            passages, length = self.elsewhere.passages, self.elsewhere.length
        else:
            passages = sum(part.live_count for part in parts)
            # Lengths are multiples of store.terms.FREQUENCY_STEP: their sum is exact in any order.
            length = sum(float(part.segment.postings.lengths[part.live].sum()) for part in parts)
        average = length / passages if passages else 0.0
        k1, b = self.collection.settings.k1, self.collection.settings.b
        weighted = [
            replace(part, saturations=bm25.saturation(part.segment.postings.lengths, average, k1=k1, b=b))
            for part in parts
        ]
        return replace(
            self,
            seq=seq,
            parts=tuple(weighted),
            passage_count=passages,
            average_length=average,
            stacks=_stacks(parts, self.stacks),
        )


def load(session: ReadSession, collection: Collection, files: OpenSegments | None = None) -> Snapshot:
    """The snapshot of the collection's active generation. Without `files`, all of it is read into memory."""
    nothing = _nothing(collection)
    return nothing.advance(session) if files is None else nothing.resealed(session, files)


def load_tail(
    session: ReadSession, collection: Collection, record: IndexRecord, present: Snapshot | None = None
) -> Snapshot:
    """The snapshot of a generation that an external engine holds up to `record.seq`; what came since is in memory.

    `present`: an older snapshot, to be reused as far as possible. Raises IndexUnavailable where more than TAIL_ROWS
    passages wait to be replicated.
    """
    came, _ = added_since(session, collection.active.id, record.seq, limit=TAIL_ROWS + 1)
    if len(came) > TAIL_ROWS:
        raise IndexUnavailable(
            f"over {TAIL_ROWS} passages of the collection {collection.name!r} wait to be brought to Milvus; it is "
            "searched again when there are fewer"
        )
    known = None if present is None else present.elsewhere
    if present is None or known is None or known.name != record.name or known.seq > record.seq:
        seq = current_seq(session, collection.active.id)
        nothing = replace(_nothing(collection), tail_begin=record.seq, elsewhere=record)
        return nothing._with(seq, _read_tail(session, collection, since=record.seq))
    if known.seq < record.seq:
        _, brought = added_since(session, collection.active.id, known.seq, upto=record.seq)
        parts = [_without(part, brought) for part in present.parts]
        present = replace(present, tail_begin=record.seq)._with(present.seq, parts)
    return replace(present, elsewhere=record).advance(session)


def _nothing(collection: Collection) -> Snapshot:
    return Snapshot(
        collection=collection,
        seq=0,
        newest_segment=0,
        tail_begin=0,
        parts=(),
        passage_count=0,
        average_length=0.0,
    )


def _stacks(parts: Sequence[Part], known: tuple[Stack, ...]) -> tuple[Stack, ...]:
    """The stacks of the parts: `known` if these are the same."""
    scans = [part.segment.scan for part in parts if part.segment.scan is not None]
    held = {id(scan) for stack in known for scan in stack.scans}
    return known if held == {id(scan.fast) for scan in scans if scan.fast is not None} else stacked(scans)


def _read_tail(
    session: ReadSession, collection: Collection, *, since: int, known: Sequence[Int64Array] = ()
) -> list[Part]:
    """The passages added after the change `since` that still exist, except for those in `known`."""
    generation = collection.active
    _, ids = added_since(session, generation.id, since)
    if known:
        ids = np.setdiff1d(ids, np.concatenate(known), assume_unique=True)
    segment = read_segment(session, generation.id, generation.dimension, ids)
    return [] if segment is None else [_part(segment, np.empty(0, np.int64))]


def _without(part: Part, removed: Int64Array) -> Part:
    _, rows = part.find(removed)
    if not len(rows):
        return part
    live = part.live.copy()
    live[rows] = False
    return replace(part, live=live, live_count=int(live.sum()))


def _compact(parts: Sequence[Part]) -> list[Part]:
    """Merge parts until there are at most FAN_OUT - 1 of a tier, and none with more removed rows than live ones."""
    parts = [part if part.live_count * 2 >= len(part.live) else _merged([part]) for part in parts if part.live_count]
    tiers: dict[int, list[Part]] = {}
    for part in parts:
        tiers.setdefault(tier(part.live_count), []).append(part)
    full = [number for number, members in tiers.items() if len(members) >= FAN_OUT]
    if full:
        members = tiers.pop(min(full))
        return _compact([*(part for others in tiers.values() for part in others), _merged(members)])
    return parts


def _merged(parts: Sequence[Part]) -> Part:
    return _part(merged([(part.segment, part.live) for part in parts]), np.empty(0, np.int64))


def _part(segment: Segment, removed: Int64Array, *, sealed: int | None = None) -> Part:
    live = segment.without(removed)
    return Part(
        segment=segment, sealed=sealed, live=live, live_count=int(live.sum()), saturations=np.empty(0, np.float32)
    )
