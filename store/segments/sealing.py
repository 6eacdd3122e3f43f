"""Create segments: seal the tail, merge several into one, and rebuild broken ones from the database.

All three follow one protocol. Read one committed state. Write a file under a new name, and sync it to disk. Then, in
one write transaction, check that nothing has changed meanwhile (the fence), insert the new rows and retire the old
ones. A process that is killed leaves at most a file that no row names. store/segments/upkeep.py decides what is due: it
runs in the process that maintains the directory, and in any process that compacts a collection. If two of them do the
same, the fence lets only one succeed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from core.errors import StorageCorrupt, StorageError
from core.records import GenerationState, IndexKind, Int64Array
from store import schema
from store.arrayfile import Seal
from store.changes import added_since, current_seq, removed_since
from store.database import Database, ReadSession
from store.directory import SEGMENTS
from store.failpoints import reached
from store.ids import belong, distinct
from store.segments.files import discard, is_damaged, mark_damaged, new_file, open_segment
from store.segments.merging import Merge
from store.segments.rows import SegmentRow, active_segments, insert_segment, retire_segments, sealed_seq
from store.segments.segment import Segment, read_segment
from store.settings import parse_settings

_PIECE_ROWS = 50_000  # passages read from the database into one segment, at most
_PIECE_BYTES = 2**27  # bytes of their vectors, at most
_log = logging.getLogger(__name__)


def seal(database: Database, generation_id: int) -> bool:
    """Seal the oldest passages of the tail, at most 50,000. False when there are none, or the fence failed.

    Raises StorageFull, StorageReadOnly, StorageBusy; then nothing has changed.
    """
    with database.read() as session:
        made = _made(session, generation_id)
        if made is None:
            return False
        begin = sealed_seq(active_segments(session, generation_id))
        as_of = current_seq(session, generation_id)
        seqs, ids = added_since(session, generation_id, begin, limit=made.piece_rows)
        segment = read_segment(session, generation_id, made.dimension, ids)
    reached("seal.read")
    if segment is None:
        return False

    def still(session: ReadSession) -> bool:
        return sealed_seq(active_segments(session, generation_id)) == begin

    end = as_of if len(seqs) < made.piece_rows else int(seqs[-1])
    return _replace(
        database, generation_id, made, [_alone(segment)], [], seq=end, as_of=as_of, still=still, area="seal"
    )


def merge(database: Database, generation_id: int, ids: Sequence[int]) -> bool:
    """Merge the active segments `ids` into one, dropping removed passages.

    False when one of them is damaged, which is then marked, or no longer active, or the fence failed. Raises like
    `seal`.
    """
    with database.read() as session:
        made = _made(session, generation_id)
        rows = [row for row in active_segments(session, generation_id) if row.id in ids]
        as_of = current_seq(session, generation_id)
        removed = removed_since(session, generation_id, min((row.as_of for row in rows), default=as_of))
    if made is None or len(rows) < len(ids):
        return False
    # All hashes are checked, those of the vectors too: otherwise the new file would get a valid hash of damaged data.
    segments = [segment for row in rows if (segment := _opened(database, row, thorough=True)) is not None]
    if len(segments) < len(rows):
        return False
    parts = [(segment, segment.without(removed)) for segment in segments]
    merges = [Merge(parts)] if any(live.any() for _, live in parts) else []
    reached("merge.read")

    def still(session: ReadSession) -> bool:
        return {row.id for row in active_segments(session, generation_id)} >= set(ids)

    end = max(row.seq for row in rows)
    return _replace(database, generation_id, made, merges, rows, seq=end, as_of=as_of, still=still, area="merge")


def rebuild(database: Database, generation_id: int) -> bool:
    """Rebuild the segments whose files are missing or marked as damaged from the database.

    False when there are none, or the fence failed. Raises like `seal`.
    """
    with database.read() as session:
        made = _made(session, generation_id)
        rows = active_segments(session, generation_id)
        if made is None or not any(is_damaged(database.directory, row) for row in rows):
            return False
        as_of = current_seq(session, generation_id)
        _, ids = added_since(session, generation_id, 0, upto=sealed_seq(rows))
    # The passages to restore are those that no sound segment holds.
    sound = {row.id: segment for row in rows if (segment := _opened(database, row)) is not None}
    held = distinct(np.concatenate([ids[:0], *(segment.ids for segment in sound.values())]))
    missing = distinct(ids[~belong(ids, held)])
    broken = [row for row in rows if row.id not in sound]
    for row in broken:
        _log.warning("segment file %s is made anew from the database", row.name)
    reached("rebuild.read")

    def still(session: ReadSession) -> bool:
        return {row.id for row in active_segments(session, generation_id)} >= {row.id for row in rows}

    pieces = map(_alone, _pieces(database, generation_id, made, missing))
    end = max(row.seq for row in broken)
    return _replace(database, generation_id, made, pieces, broken, seq=end, as_of=as_of, still=still, area="rebuild")


class _Overtaken(Exception):
    """The fence failed: the segments changed while the files were written."""


def _replace(
    database: Database,
    generation_id: int,
    made: _Made,
    merges: Iterable[Merge],
    old: Sequence[SegmentRow],
    *,
    seq: int,
    as_of: int,
    still: Callable[[ReadSession], bool],
    area: str,
) -> bool:
    """Write the files of `merges`, and replace `old` by them if the generation exists unchanged and `still` holds."""
    files: list[tuple[tuple[str, Seal], int]] = []
    try:
        for merge in merges:
            files.append((new_file(database.directory, merge, made.index), len(merge.ids)))
        reached(f"{area}.files_durable")
        with database.write() as session:
            there = all((database.directory / SEGMENTS / name).exists() for (name, _), _ in files)
            if not (there and _made(session, generation_id) == made and still(session)):
                raise _Overtaken
            for file, rows in files:
                insert_segment(session, generation_id=generation_id, file=file, seq=seq, as_of=as_of, rows=rows)
            retire_segments(session, [row.id for row in old], now=time.time())
            reached(f"{area}.rows_written")
    except (_Overtaken, StorageError) as error:
        # Nothing was committed. After any other exception, such as Ctrl-C, that is uncertain: it may have been raised
        # after the commit, by the writer's checkpoint. Files that no row names are removed after a grace period.
        discard(database.directory, [name for (name, _), _ in files])
        if not isinstance(error, _Overtaken):
            raise
        _log.info("generation %d: a segment was not let in, others were quicker or it is gone", generation_id)
        return False
    reached(f"{area}.committed")
    return True


def _opened(database: Database, row: SegmentRow, *, thorough: bool = False) -> Segment | None:
    """The segment; None where it is damaged. Then it is marked."""
    if is_damaged(database.directory, row):
        return None
    try:
        return open_segment(database.directory, row, thorough=thorough)
    except StorageCorrupt as error:
        _log.warning("%s", error)
        mark_damaged(database.directory, row)
        return None


def _alone(segment: Segment) -> Merge:
    return Merge([(segment, np.ones(len(segment.ids), dtype=np.bool_))])


def _pieces(database: Database, generation_id: int, made: _Made, ids: Int64Array) -> Iterator[Segment]:
    """Segments of the passages `ids`, each read in its own transaction: a long one would hold up checkpoints."""
    for begin in range(0, len(ids), made.piece_rows):
        with database.read() as session:
            piece = ids[begin : begin + made.piece_rows]
            segment = read_segment(session, generation_id, made.dimension, piece)
        if segment is not None:  # otherwise all of them were removed meanwhile
            yield segment


@dataclass(frozen=True, kw_only=True, slots=True)
class _Made:
    """How the segments of a generation are built."""

    dimension: int  # of the vectors
    index: IndexKind

    @property
    def piece_rows(self) -> int:
        """Number of passages read from the database into one segment, at most."""
        return max(1, min(_PIECE_ROWS, _PIECE_BYTES // (4 * self.dimension)))


def _made(session: ReadSession, generation_id: int) -> _Made | None:
    """The parameters of the generation's segments; None when it is gone, or its collection was deleted."""
    row = session.execute(
        sa.select(schema.generation.c.dimension, schema.collection.c.settings)
        .join_from(schema.generation, schema.collection)
        .where(schema.generation.c.id == generation_id, schema.generation.c.state != GenerationState.RETIRED.value)
    ).first()
    return None if row is None else _Made(dimension=row.dimension, index=parse_settings(row.settings).index)
