"""Which generation answers under the name of a collection that was read a while ago."""

from __future__ import annotations

import sqlalchemy as sa

from core.records import Collection
from store import schema
from store.database import ReadSession


def answering(session: ReadSession, collection: Collection) -> int | None:
    """Id of what has the collection's name by now: after a switch another generation of it, though this one be gone.

    None: it was deleted. One that was made anew under its name is another: no switch named it, or it is younger.
    """
    columns, reindex = schema.collection.c, schema.reindex.c
    switched = sa.select(reindex.id).where(reindex.serving_id == columns.id, reindex.switched_at.is_not(None)).exists()
    found = sa.select(columns.id).where(
        columns.name == collection.name,
        columns.created_at == collection.created_at,
        (columns.id == collection.id) | switched,
    )
    return session.execute(found).scalar()
