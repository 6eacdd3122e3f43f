"""Decide what segment maintenance is due: what to seal, merge, rebuild or remove.

Only the owner of the maintenance lock calls `maintain`, repeatedly; any process may call `compact`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from core.errors import StorageCorrupt
from core.records import Collection, GenerationState, IndexKind
from store import schema
from store.changes import added_since, current_seq, removed_since
from store.database import Database
from store.failpoints import reached
from store.faults import file_errors
from store.segments.files import is_damaged, mark_damaged, open_ids, remove_files
from store.segments.rows import (
    SegmentRow,
    SegmentState,
    active_segments,
    current_states,
    every_active_segment,
    sealed_seq,
)
from store.segments.sealing import merge, rebuild, seal
from store.segments.segment import find
from store.segments.tiers import FAN_OUT, tier

SEAL_ROWS = 5_000  # passages in the tail from which it is sealed at once
QUIET_ROWS = 256  # passages in the tail from which it is sealed after a quiet time
QUIET_SECONDS = 3.0  # without a commit
GRACE_SECONDS = 120.0  # how long a file is kept that nobody should open any more
_LOOK_SECONDS = 1.0  # between two checks of the files


@dataclass(frozen=True, kw_only=True, slots=True)
class Live:
    """The number of live passages of each active segment, after the change `seq`."""

    seq: int
    sizes: Mapping[SegmentRow, int]


@dataclass(slots=True)
class Seen:
    """What the owner remembers between calls of `maintain`. For one thread; times are of time.monotonic."""

    since: dict[int, tuple[int, float]] = field(default_factory=dict)  # by generation: newest change, when first seen
    settled: dict[int, tuple[int, int]] = field(default_factory=dict)  # by generation: state in which nothing is due
    live: dict[int, Live] = field(default_factory=dict)  # by generation, so that only later removals are counted
    looked: float | None = None  # time of the last check of the files

    def quiet_seconds(self, generation_id: int, seq: int) -> float:
        """How long `seq` is known to have been the newest change."""
        now = time.monotonic()
        if self.since.get(generation_id, (None,))[0] != seq:
            self.since[generation_id] = (seq, now)
        return now - self.since[generation_id][1]


def maintain(database: Database, seen: Seen | None = None, *, grace_seconds: float = GRACE_SECONDS) -> bool:
    """Do the next piece of work that is due; False when there is none.

    With `seen`, a small tail is sealed too once nothing has been committed for QUIET_SECONDS.

    Raises StorageFull, StorageReadOnly, StorageBusy, StorageError; then nothing has changed, and another call may help.
    """
    seen = Seen() if seen is None else seen
    with database.read() as session:
        columns, indexed = schema.generation.c, schema.passage_index.c.generation_id
        searched = columns.state == GenerationState.ACTIVE.value
        elsewhere = columns.id.in_(sa.select(indexed).where(indexed.is_not(None)))  # held by an external engine
        states = current_states(session, searched & ~elsewhere)
    if seen.looked is None or time.monotonic() - seen.looked >= _LOOK_SECONDS:
        if any(rebuild(database, generation) for generation in _damaged(database) & states.keys()):
            return True
        if remove_retired(database, grace_seconds=grace_seconds):
            return True
        seen.looked = time.monotonic()
    for known in (seen.since, seen.settled, seen.live):
        for generation in known.keys() - states.keys():
            del known[generation]
    for generation, state in states.items():
        quiet = seen.quiet_seconds(generation, state[0]) >= QUIET_SECONDS
        if seen.settled.get(generation) == state:
            continue
        if _tail_has(database, generation, QUIET_ROWS if quiet else SEAL_ROWS) and seal(database, generation):
            return True
        live = seen.live[generation] = _live_rows(database, generation, seen.live.get(generation))
        due = _due_merge(live.sizes)
        if due and merge(database, generation, due):
            return True
        if quiet:
            seen.settled[generation] = state
    return False


def compact(database: Database, collection: Collection) -> bool:
    """Merge everything that a collection holds now into one segment, dropping removed passages.

    The fence makes it safe to run while another process maintains the directory, but either may undo the other's work.
    False when there was nothing to do, or others were quicker. Raises like `maintain`.
    """
    if collection.settings.index is IndexKind.MILVUS:
        return False
    generation, done = collection.active.id, False
    with database.read() as session:
        newest = current_seq(session, generation)
    while rebuild(database, generation) or (_sealed_to(database, generation) < newest and seal(database, generation)):
        done = True
    while True:
        sizes = _live_rows(database, generation).sizes
        if rebuild(database, generation):  # segments that have just been found damaged
            done = True
        elif len(sizes) < 2 and all(live == row.rows for row, live in sizes.items()):
            return done
        elif merge(database, generation, [row.id for row in sizes]):
            return True
        elif not rebuild(database, generation):  # no damage, so others were quicker
            return done


def remove_retired(database: Database, *, grace_seconds: float = GRACE_SECONDS) -> bool:
    """Remove retired segments, and files that no row names, once they are older than `grace_seconds`.

    Until then a reader that has learned of one may still open it. False when there was nothing to remove.
    """
    now, columns = time.time(), schema.segment.c
    with database.read() as session:
        rows = session.execute(sa.select(columns.id, columns.name, columns.state, columns.retired_at)).all()
    # The distance in either direction, as the clock may have jumped.
    old = [
        row.id
        for row in rows
        if row.state == SegmentState.RETIRED.value and abs(now - (row.retired_at or 0.0)) >= grace_seconds
    ]
    if old:
        with database.write() as session:
            session.execute(sa.delete(schema.segment).where(columns.id.in_(old)))
        reached("remove.rows_removed")
    # A file that no row names yet may be about to get its row; then it is young.
    named = {row.name for row in rows if row.id not in old}
    with file_errors(database.directory):
        return remove_files(database.directory, unless=named, older_than=grace_seconds) > 0 or bool(old)


def _damaged(database: Database) -> set[int]:
    """The generations with segments to rebuild. One statement for all, as most have none."""
    with database.read() as session:
        rows = every_active_segment(session)
    return {row.generation_id for row in rows if is_damaged(database.directory, row)}


def _sealed_to(database: Database, generation_id: int) -> int:
    with database.read() as session:
        return sealed_seq(active_segments(session, generation_id))


def _tail_has(database: Database, generation_id: int, rows: int) -> bool:
    """Whether at least so many passages wait to be sealed."""
    with database.read() as session:
        begin = sealed_seq(active_segments(session, generation_id))
        return len(added_since(session, generation_id, begin, limit=rows)[0]) >= rows


def _live_rows(database: Database, generation_id: int, known: Live | None = None) -> Live:
    """The number of live passages of each active segment, without damaged segments, which are marked.

    `known`: an earlier result; if the segments are still the same, only later removals are counted.
    """
    with database.read() as session:
        rows, seq = active_segments(session, generation_id), current_seq(session, generation_id)
        if anew := known is None or known.sizes.keys() != set(rows):
            known = Live(seq=min((row.as_of for row in rows), default=0), sizes={row: row.rows for row in rows})
        removed = removed_since(session, generation_id, known.seq)
    if not anew and not len(removed):
        return Live(seq=seq, sizes=known.sizes)
    sizes = {}
    for row, live in known.sizes.items():
        try:
            sizes[row] = live - len(find(open_ids(database.directory, row), removed)[0])
        except StorageCorrupt:
            mark_damaged(database.directory, row)
    return Live(seq=seq, sizes=sizes)


def _due_merge(sizes: Mapping[SegmentRow, int]) -> list[int]:
    """Ids of the segments to merge: one that is mostly removed, or the smallest tier that has FAN_OUT or more."""
    tiers: dict[int, list[int]] = {}
    for row, live in sizes.items():
        if live * 2 < row.rows:
            return [row.id]
        tiers.setdefault(tier(live), []).append(row.id)
    full = [number for number, members in tiers.items() if len(members) >= FAN_OUT]
    return tiers[min(full)] if full else []
