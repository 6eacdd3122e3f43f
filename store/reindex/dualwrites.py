"""Dual writes: during a reindex every commit records the documents it touched, for the hidden generation."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from core.unicode import is_unicode
from store import schema
from store.database import ReadSession, WriteSession
from store.reindex.record import FOLLOWING


def note_writes(session: WriteSession, collection_id: int, ids: Iterable[str]) -> None:
    """Record the ids. Call it in the transaction that writes, replaces or deletes these documents of the collection."""
    following = _following(session, collection_id)
    if following is None:
        return
    rows = [{"reindex_id": following, "external_id": id_} for id_ in sorted(set(ids)) if is_unicode(id_)]
    if rows:  # an id recorded before gets a new row id: see schema.reindex_pending
        session.execute(sa.insert(schema.reindex_pending).prefix_with("OR REPLACE"), rows)


def _following(session: ReadSession, collection_id: int) -> int | None:
    reindex = schema.reindex.c
    follows = reindex.state.in_([state.value for state in FOLLOWING])
    found = sa.select(reindex.id).where(reindex.serving_id == collection_id, reindex.hidden_id.is_not(None), follows)
    return session.execute(found).scalar()
