"""The table of segments: which files exist, and which passages each holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from store import schema
from store.arrayfile import Seal
from store.database import ReadSession, WriteSession
from store.prepared import Prepared


class SegmentState(StrEnum):
    ACTIVE = "active"
    RETIRED = "retired"  # replaced by others; its file is removed once no reader can be about to open it


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentRow:
    """The database's row of a segment."""

    id: int
    generation_id: int
    name: str  # of its file
    seq: int  # all its passages were added up to this change
    as_of: int  # none of its passages was removed up to this change
    rows: int  # passages
    seal: Seal


def active_segments(session: ReadSession, generation_id: int) -> list[SegmentRow]:
    """The active segments, by row id. They hold all live passages up to the highest of their `seq`."""
    return _active(session, schema.segment.c.generation_id == generation_id)


def every_active_segment(session: ReadSession) -> list[SegmentRow]:
    """Like `active_segments`, for all generations."""
    return _active(session, sa.true())


def _active(session: ReadSession, which: sa.ColumnElement[bool]) -> list[SegmentRow]:
    columns = schema.segment.c
    statement = sa.select(schema.segment).where(which, columns.state == SegmentState.ACTIVE.value).order_by(columns.id)
    return [
        SegmentRow(
            id=row.id,
            generation_id=row.generation_id,
            name=row.name,
            seq=row.seq,
            as_of=row.as_of,
            rows=row.rows,
            seal=Seal(size=row.bytes, sha256=row.sha256),
        )
        for row in session.execute(statement)
    ]


def current_states(session: ReadSession, generations: sa.ColumnElement[bool]) -> dict[int, tuple[int, int]]:
    """By generation, for those that satisfy the condition: the newest change, and the highest active segment id.

    0 where there is none. The second number grows when segments are sealed, merged or rebuilt.
    """
    rows = session.execute(_states().where(generations))
    return {id_: (seq or 0, newest or 0) for id_, seq, newest in map(tuple, rows)}


def current_state(session: ReadSession, generation_id: int) -> tuple[int, int]:
    """Like `current_states`, for one generation."""
    [(_, seq, newest)] = _STATE.rows(session, id=generation_id)
    return seq or 0, newest or 0


def _states() -> sa.Select[Any]:
    generation, change, segment = schema.generation.c, schema.change.c, schema.segment.c
    newest_change = sa.select(sa.func.max(change.seq)).where(change.generation_id == generation.id)
    newest_segment = sa.select(sa.func.max(segment.id)).where(
        segment.generation_id == generation.id, segment.state == SegmentState.ACTIVE.value
    )
    return sa.select(generation.id, newest_change.scalar_subquery(), newest_segment.scalar_subquery())


_STATE = Prepared(_states().where(schema.generation.c.id == sa.bindparam("id")))


def sealed_seq(segments: Iterable[SegmentRow]) -> int:
    """The change up to which the segments hold every live passage; 0 without segments."""
    return max((segment.seq for segment in segments), default=0)


def insert_segment(
    session: WriteSession, *, generation_id: int, file: tuple[str, Seal], seq: int, as_of: int, rows: int
) -> None:
    """Add an active segment. `file`: its name and seal."""
    name, seal = file
    row = {
        "generation_id": generation_id,
        "state": SegmentState.ACTIVE.value,
        "name": name,
        "seq": seq,
        "as_of": as_of,
        "rows": rows,
        "bytes": seal.size,
        "sha256": seal.sha256,
    }
    session.execute(sa.insert(schema.segment), row)


def retire_segments(session: WriteSession, ids: Iterable[int], *, now: float) -> None:
    """Retire segments. `now`: seconds since 1970."""
    statement = sa.update(schema.segment).where(schema.segment.c.id.in_(list(ids)))
    session.execute(statement.values(state=SegmentState.RETIRED.value, retired_at=now))
