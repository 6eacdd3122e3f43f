"""Replicate passages from the database to an external engine. Only the owner of the maintenance lock does this.

The engine is written to first, then the row that records it. A process that is killed in between repeats the write,
which changes nothing. Removed passages stay in the engine for a while, as a search that began earlier may still need
them. Surplus passages, which a former owner wrote late, are never shown, as no search finds them in the database.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from core.errors import CollectionNotFound, IndexMissing
from core.records import Float32Array
from store import bm25, schema
from store.changes import added_since, current_seq, removed_since
from store.database import Database
from store.failpoints import reached
from store.passageindex.protocol import Entries, PassageIndex, SparseRows
from store.passageindex.record import IndexRecord, begin_anew, find_record, forget, list_records, moved
from store.segments.postings import Postings
from store.segments.rows import current_states
from store.segments.segment import Segment, read_segment
from store.segments.upkeep import QUIET_ROWS, QUIET_SECONDS, SEAL_ROWS, Seen
from store.settings import parse_settings

GRACE_SECONDS = 60.0  # how long removed passages stay in the engine: no search takes as long
LOOK_SECONDS = 30.0  # between checks that the engine still has what was replicated
_PIECE_ROWS, _PIECE_BYTES = 10_000, 2**26  # passages, and bytes of their vectors, that are sent at once
_log = logging.getLogger(__name__)


class Replication:
    """The state of the replication: what has been seen, and when. For use by one thread."""

    def __init__(
        self,
        index: PassageIndex,
        *,
        grace_seconds: float = GRACE_SECONDS,
        quiet_seconds: float = QUIET_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`quiet_seconds`: time without a commit after which a small tail is replicated as well."""
        self._index = index
        self._grace_seconds = grace_seconds
        self._quiet_seconds = quiet_seconds
        self._clock = clock
        self._seen = Seen()
        self._went: dict[str, tuple[int, float]] = {}  # by the index's name: a change, and when it was seen
        self._looked: dict[str, float] = {}  # by the index's name: time of the last check
        self._settled: dict[str, tuple[int, int]] = {}  # by name: seq, newest change, when the tail was too small
        self._last = 0  # id of the record that had the last turn

    def follow(self, database: Database) -> bool:
        """Do the next piece of work that is due; False when there is none. Raises IndexUnavailable.

        The records take turns: one that always has something to do, or always fails, does not hold up the others.
        """
        with database.read() as session:  # two statements for all records, as most have nothing to do
            records = list_records(session)
            indexed = schema.generation.c.id.in_(sa.select(schema.passage_index.c.generation_id))
            newest = {generation: seq for generation, (seq, _) in current_states(session, indexed).items()}
        names = {record.name for record in records}
        for known in (self._went, self._looked, self._settled):
            for name in known.keys() - names:
                del known[name]
        for record in sorted(records, key=lambda record: (record.id <= self._last, record.id)):
            self._last = record.id
            if self._next(database, record, newest):
                return True
        return False

    def _next(self, database: Database, record: IndexRecord, newest: Mapping[int, int]) -> bool:
        if record.generation_id is None:
            self._index.drop(record.name)
            reached("follow.dropped")
            with database.write() as session:
                forget(session, record)
            return True
        seq = newest[record.generation_id]
        try:
            self._look(database, record)
            return self._bring(database, record, seq) or self._remove(database, record, seq)
        except CollectionNotFound:
            return False  # the generation is gone; the next call reads the record without it
        except IndexMissing as error:
            _log.warning("the passage index %s is made anew from the database: %s", record.name, error.message)
            with database.write() as session:
                begin_anew(session, record)
            return True

    def _look(self, database: Database, record: IndexRecord) -> None:
        """Check the index in the engine. Raises IndexMissing where nothing is left of what was replicated.

        A lost index is not created again here: a process killed before filling it would leave an empty one behind.
        """
        now = self._clock()
        looked = self._looked.get(record.name)
        if looked is not None and now - looked < LOOK_SECONDS:
            return
        if record.seq == 0:
            state = _state(database, record)
            self._index.create(record.name, state.dimension, learned=state.learned)
        elif self._index.count(record.name) == 0 and _any_brought(database, record):
            raise IndexMissing
        self._looked[record.name] = now

    def _bring(self, database: Database, record: IndexRecord, seq: int) -> bool:
        assert record.generation_id is not None
        quiet = self._seen.quiet_seconds(record.generation_id, seq) >= self._quiet_seconds
        wanted, settled = QUIET_ROWS if quiet else SEAL_ROWS, (record.seq, seq)
        if seq <= record.seq or self._settled.get(record.name) == settled:
            return False
        state = _state(database, record)
        with database.read() as session:
            fresh = find_record(session, record.generation_id)  # its counts must be those of the state read below
            if fresh is None:
                return False
            if len(added_since(session, record.generation_id, record.seq, limit=wanted)[0]) < wanted:
                if quiet:
                    self._settled[record.name] = settled
                return False
            as_of = current_seq(session, record.generation_id)
            seqs, ids = added_since(session, record.generation_id, record.seq, limit=state.piece_rows)
            segment = read_segment(session, record.generation_id, state.dimension, ids)
        reached("follow.read")
        if segment is not None:
            self._index.put(record.name, _entries(segment, state, fresh))
        reached("follow.brought")
        end = as_of if len(seqs) < state.piece_rows else int(seqs[-1])
        with database.write() as session:
            done = moved(session, record, seq=end)
        reached("follow.noted")
        return done

    def _remove(self, database: Database, record: IndexRecord, newest: int) -> bool:
        assert record.generation_id is not None
        seq, since = self._went.get(record.name, (0, 0.0))
        if seq <= record.removed_to:
            if newest > record.removed_to:
                self._went[record.name] = (newest, self._clock())
            return False
        if self._clock() - since < self._grace_seconds:
            return False
        with database.read() as session:
            removed = removed_since(session, record.generation_id, record.removed_to, upto=seq)
        if len(removed):
            self._index.remove(record.name, removed)
        reached("follow.removed")
        with database.write() as session:
            return moved(session, record, removed_to=seq)


@dataclass(frozen=True, kw_only=True, slots=True)
class _State:
    dimension: int
    learned: bool
    k1: float
    b: float

    @property
    def piece_rows(self) -> int:
        return max(1, min(_PIECE_ROWS, _PIECE_BYTES // (4 * self.dimension)))


def _state(database: Database, record: IndexRecord) -> _State:
    """Raises CollectionNotFound when the generation is gone."""
    assert record.generation_id is not None
    generation = schema.generation.c
    statement = (
        sa.select(generation.dimension, generation.sparse_model, schema.collection.c.settings)
        .join_from(schema.generation, schema.collection)
        .where(generation.id == record.generation_id)
    )
    with database.read() as session:
        row = session.execute(statement).first()
        if row is None:
            raise CollectionNotFound
        settings = parse_settings(row.settings)
        return _State(
            dimension=row.dimension,
            learned=row.sparse_model is not None,
            k1=settings.k1,
            b=settings.b,
        )


def _any_brought(database: Database, record: IndexRecord) -> bool:
    """Whether any live passage was replicated, so that the engine must not be empty."""
    assert record.generation_id is not None
    with database.read() as session:
        return len(added_since(session, record.generation_id, 0, upto=record.seq, limit=1)[0]) > 0


def _entries(segment: Segment, state: _State, record: IndexRecord) -> Entries:
    """Entries weighted by the current average length: that is enough to name candidates, which are rescored anyway."""
    average = record.length / record.passages if record.passages else 0.0
    saturations = bm25.saturation(segment.postings.lengths, average, k1=state.k1, b=state.b)
    return Entries(
        ids=segment.ids,
        vectors=segment.vectors,
        bm25=_rows(segment.postings, bm25.weights(segment.postings.values, saturations[segment.postings.rows])),
        learned=_rows(segment.learned, segment.learned.values) if state.learned else None,
    )


def _rows(postings: Postings, weights: Float32Array) -> SparseRows:
    """Transpose postings, which are by term, into rows."""
    terms = np.repeat(postings.terms, np.diff(postings.offsets))
    order = np.argsort(postings.rows, kind="stable")
    counts = np.bincount(postings.rows, minlength=len(postings.lengths))
    return SparseRows(offsets=np.append(0, np.cumsum(counts)), ids=terms[order], weights=weights[order])
