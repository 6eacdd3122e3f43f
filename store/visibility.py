"""The collections that a caller may see, as a condition on their stored names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from core.naming import HIDDEN, MARK
from store import schema
from store.database import ReadSession

Patterns = Sequence[str]  # of stored names, as core.naming.covers understands them


def name_among(column: sa.ColumnElement[Any], patterns: Patterns) -> sa.ColumnElement[bool]:
    """Whether the column holds a stored name of one of the patterns.

    A name has one mark at most, so that GLOB's `*` cannot stand for one where pattern and name have as many.
    """
    marked = sa.func.instr(column, MARK) > 0
    return sa.or_(
        sa.false(),
        *(column.bool_op("GLOB")(pattern) & (marked if MARK in pattern else ~marked) for pattern in patterns),
    )


def held_among(
    collection_id: sa.ColumnElement[Any], name: sa.ColumnElement[Any], patterns: Patterns
) -> sa.ColumnElement[bool]:
    """Whether the columns tell of a collection of one of the patterns, or with an alias of one."""
    alias = schema.alias.c
    return name_among(name, patterns) | collection_id.in_(
        sa.select(alias.collection_id).where(name_among(alias.name, patterns))
    )


def holdings(session: ReadSession, patterns: Patterns | None) -> tuple[int, int]:
    """Collections of these names or aliases (None: all), and passages in them, with the documents that wait in jobs.

    A document that waits counts as one passage: it will be one at least. One whose job has ended waits no more.
    """
    collection, job = schema.collection.c, schema.job.c
    own = sa.func.instr(collection.name, HIDDEN) == 0  # what a reindex makes beside one is not another one
    if patterns is not None:
        own &= held_among(collection.id, collection.name, patterns)
    count = sa.select(sa.func.count()).select_from(schema.collection).where(own)
    stored = sa.select(sa.func.count()).select_from(schema.passage.join(schema.document).join(schema.collection))
    ids = sa.select(collection.id).where(own)
    waits = (job.collection_id.in_(ids), job.ended_at.is_(None))
    waiting = sa.select(sa.func.coalesce(sa.func.sum(job.pending), 0)).where(*waits)
    passages = session.execute(stored.where(own)).scalar_one() + session.execute(waiting).scalar_one()
    return int(session.execute(count).scalar_one()), int(passages)
