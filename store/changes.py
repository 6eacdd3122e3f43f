"""The change log: which passages came and went, and since when."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sqlalchemy as sa

from core.records import Int64Array
from store import schema
from store.database import ReadSession, WriteSession


def current_seq(session: ReadSession, generation_id: int) -> int:
    """The newest change of the generation; 0 before the first."""
    newest = sa.select(sa.func.max(schema.change.c.seq)).where(schema.change.c.generation_id == generation_id)
    return int(session.execute(newest).scalar() or 0)


def added_since(
    session: ReadSession, generation_id: int, since: int, *, upto: int | None = None, limit: int | None = None
) -> tuple[Int64Array, Int64Array]:
    """The passages that came after the change `since` and are still there: their changes, rising, and their ids.

    `upto`: the last change that is looked at. `limit`: of how many passages, the oldest first.
    """
    change = schema.change.c
    statement = (
        sa.select(change.seq, change.passage_id)
        # A passage that was removed again is gone from its table, and with it from this join.
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
    """The ids of the passages that went after the change `since`. `upto`: the last change that is looked at."""
    change = schema.change.c
    statement = sa.select(change.passage_id).where(
        change.generation_id == generation_id, change.seq > since, change.operation == "-"
    )
    if upto is not None:
        statement = statement.where(change.seq <= upto)
    return np.fromiter(session.execute(statement).scalars(), dtype=np.int64)


def log_changes(session: WriteSession, generation_id: int, operation: str, passage_ids: Sequence[int]) -> None:
    """What happened to the passages, for segments to follow. `operation`: schema.change says which there are."""
    rows = [
        {"generation_id": generation_id, "operation": operation, "passage_id": passage_id} for passage_id in passage_ids
    ]
    if rows:
        session.execute(sa.insert(schema.change), rows)
