"""Find the generation that now answers under the name of a collection that was read earlier."""

from __future__ import annotations

import sqlalchemy as sa

from core.records import Collection
from store import schema
from store.database import ReadSession


def answering(session: ReadSession, collection: Collection) -> int | None:
    """Id of the collection row that now serves the collection's name, even if the row of `collection` is gone.

    After a switch this is another generation of the same collection. None: the collection was deleted. A collection
    that was created anew under the same name does not count: no switch led to it, or its creation date is another.
    """
    columns, reindex = schema.collection.c, schema.reindex.c
    switched = sa.select(reindex.id).where(reindex.serving_id == columns.id, reindex.switched_at.is_not(None)).exists()
    found = sa.select(columns.id).where(
        columns.name == collection.name,
        columns.created_at == collection.created_at,
        (columns.id == collection.id) | switched,
    )
    return session.execute(found).scalar()
