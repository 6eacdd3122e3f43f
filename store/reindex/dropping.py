"""Remove the hidden generation of a finished reindex in pieces, so that the write lock is never held for long.

The remains of a deleted collection are removed in the same way: a row of the reindex table stands for them.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import sqlalchemy as sa

from core.errors import ReindexConflict
from core.naming import is_hidden
from core.reindexes import Reindex
from store import schema
from store.changes import log_changes
from store.clock import database_now
from store.database import Database, ReadSession, WriteSession
from store.failpoints import reached
from store.passageindex.counts import count
from store.reindex.record import ENDED, changed, unfinished

_DOCUMENTS, _ROWS = 200, 5_000  # removed per transaction


def drop_piece(database: Database, reindex: Reindex) -> bool:
    """Remove a piece of the hidden generation; whether there is more. Raises ReindexConflict where it is not over."""
    with database.write() as session:
        # As after a portion, it goes to the end of the line, so that other reindexes get their turn in between.
        row = changed(session, reindex, ENDED, paused_at=database_now(session), pause_seconds=0.0)
        hidden = row.hidden_id
        done = not (
            _some(session, schema.reindex_pending, schema.reindex_pending.c.reindex_id == row.id, _ROWS)
            or _document_piece(session, hidden)
            or any(
                _some(session, table, table.c.generation_id.in_(_generations(hidden)), _ROWS)
                for table in (schema.embedding, schema.change)
            )
            or _some(session, schema.term, schema.term.c.collection_id == hidden, _ROWS)
        )
        if done:  # the cascade removes what little is left: generations, segments' rows, fields
            session.execute(sa.delete(schema.collection).where(schema.collection.c.id == hidden))
            if is_hidden(row.collection):  # no real reindex: it stood for the remains of a deleted collection
                session.execute(sa.delete(schema.reindex).where(schema.reindex.c.id == row.id))
    reached("reindex.dropped" if done else "reindex.piece_dropped")
    return not done


def drop_deleted(database: Database) -> bool:
    """Remove all remains of deleted collections, where no other process may do so soon; whether there were any."""
    found = False
    while drop_deleted_piece(database):
        found = True
    return found


def drop_deleted_piece(database: Database) -> bool:
    """Remove a piece of the remains of deleted collections; whether there were any. Other processes may do so, too."""
    with database.read() as session:
        left = _of_deleted(session)
    for reindex in left[:1]:
        with suppress(ReindexConflict):  # another process was quicker
            drop_piece(database, reindex)
    return bool(left)


def deleted_names(session: ReadSession) -> set[str]:
    """The stored names of deleted collections that have not been removed completely."""
    ids = [reindex.hidden_id for reindex in _of_deleted(session)]
    return set(session.execute(sa.select(schema.collection.c.name).where(schema.collection.c.id.in_(ids))).scalars())


def _of_deleted(session: ReadSession) -> list[Reindex]:
    return [reindex for reindex in unfinished(session) if reindex.serving_id is None and reindex.state in ENDED]


def _document_piece(session: WriteSession, collection_id: int | None) -> bool:
    """Remove some documents, and log the removal of their passages, so that the rest stays consistent."""
    document, passage = schema.document.c, schema.passage.c
    ids = list(
        session.execute(
            sa.select(document.id).where(document.collection_id == collection_id).limit(_DOCUMENTS)
        ).scalars()
    )
    if not ids:
        return False
    generations = list(session.execute(_generations(collection_id)).scalars())
    gone = session.execute(
        sa.select(passage.id, passage.sha).where(passage.document_id.in_(ids)).order_by(passage.id)
    ).all()
    for generation in generations:
        log_changes(session, generation, "-", [row.id for row in gone])
        count(session, generation, {sha: -number for sha, number in Counter(row.sha for row in gone).items()})
    session.execute(sa.delete(schema.document).where(document.id.in_(ids)))
    return True


def _some(session: WriteSession, table: sa.Table, condition: sa.ColumnElement[bool], limit: int) -> bool:
    (key,) = table.primary_key.columns
    ids = sa.select(key).where(condition).limit(limit)
    return session.execute(sa.delete(table).where(key.in_(ids))).rowcount > 0


def _generations(collection_id: int | None) -> sa.Select[tuple[int]]:
    return sa.select(schema.generation.c.id).where(schema.generation.c.collection_id == collection_id)
