"""SQL conditions for the collections that a caller may see, by patterns of their stored names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from core.naming import HIDDEN, MARK
from store import schema
from store.database import ReadSession

Patterns = Sequence[str]  # of stored names, as core.naming.covers understands them


def name_among(column: sa.ColumnElement[Any], patterns: Patterns) -> sa.ColumnElement[bool]:
    """Whether the column holds a stored name that matches one of the patterns.

    A name has at most one mark. So if pattern and name have equally many, GLOB's `*` cannot match a mark.
    """
    marked = sa.func.instr(column, MARK) > 0
    return sa.or_(
        sa.false(),
        *(column.bool_op("GLOB")(pattern) & (marked if MARK in pattern else ~marked) for pattern in patterns),
    )


def held_among(
    collection_id: sa.ColumnElement[Any], name: sa.ColumnElement[Any], patterns: Patterns
) -> sa.ColumnElement[bool]:
    """Whether the collection's name, or one of its aliases, matches one of the patterns."""
    alias = schema.alias.c
    return name_among(name, patterns) | collection_id.in_(
        sa.select(alias.collection_id).where(name_among(alias.name, patterns))
    )


def holdings(session: ReadSession, patterns: Patterns | None) -> tuple[int, int]:
    """Number of collections with matching names or aliases (None: all), and of their passages and waiting documents.

    A waiting document counts as one passage, since it will become at least one. Those of ended jobs do not count.
    """
    collection, job = schema.collection.c, schema.job.c
    own = sa.func.instr(collection.name, HIDDEN) == 0  # a hidden generation is not another collection
    if patterns is not None:
        own &= held_among(collection.id, collection.name, patterns)
    count = sa.select(sa.func.count()).select_from(schema.collection).where(own)
    stored = sa.select(sa.func.count()).select_from(schema.passage.join(schema.document).join(schema.collection))
    ids = sa.select(collection.id).where(own)
    waits = (job.collection_id.in_(ids), job.ended_at.is_(None))
    waiting = sa.select(sa.func.coalesce(sa.func.sum(job.pending), 0)).where(*waits)
    passages = session.execute(stored.where(own)).scalar_one() + session.execute(waiting).scalar_one()
    return int(session.execute(count).scalar_one()), int(passages)
