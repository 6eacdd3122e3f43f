"""The change log: which passages were added, removed or touched, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sqlalchemy as sa

from core.records import Int64Array
from store import schema
from store.database import ReadSession, WriteSession


def current_seq(session: ReadSession, generation_id: int) -> int:
    """The seq of the generation's newest change; 0 before the first."""
    newest = sa.select(sa.func.max(schema.change.c.seq)).where(schema.change.c.generation_id == generation_id)
    return int(session.execute(newest).scalar() or 0)


def added_since(
    session: ReadSession, generation_id: int, since: int, *, upto: int | None = None, limit: int | None = None
) -> tuple[Int64Array, Int64Array]:
    """The passages added after the change `since` that still exist: their seqs, ascending, and their ids.

    `upto`: the last change to consider. `limit`: the number of passages at most, the oldest first.
    """
    change = schema.change.c
    statement = (
        sa.select(change.seq, change.passage_id)
        # A passage that was removed again is no longer in its table, so this join drops it.
        .join_from(schema.change, schema.passage, schema.passage.c.id == change.passage_id)
        .where(change.generation_id == generation_id, change.seq > since, change.operation == "+")
        .order_by(change.seq)
        .limit(limit)
    )
    if upto is not None:
        statement = statement.where(change.seq <= upto)
    found = np.fromiter((n for row in session.execute(statement) for n in row), dtype=np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def removed_since(session: ReadSession, generation_id: int, since: int, *, upto: int | None = None) -> Int64Array:
    """The ids of the passages removed after the change `since`. `upto`: the last change to consider."""
    change = schema.change.c
    statement = sa.select(change.passage_id).where(
        change.generation_id == generation_id, change.seq > since, change.operation == "-"
    )
    if upto is not None:
        statement = statement.where(change.seq <= upto)
    return np.fromiter(session.execute(statement).scalars(), dtype=np.int64)


def log_changes(session: WriteSession, generation_id: int, operation: str, passage_ids: Sequence[int]) -> None:
    """Record a change of each passage, for segments to follow. `operation`: one of those listed at schema.change."""
    rows = [
        {"generation_id": generation_id, "operation": operation, "passage_id": passage_id} for passage_id in passage_ids
    ]
    if rows:
        session.execute(sa.insert(schema.change), rows)
