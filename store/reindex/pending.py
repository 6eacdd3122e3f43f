"""Which documents the hidden generation still lacks or has in an older state, in portions to be copied to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from core.records import Document
from core.reindexes import Reindex
from store import schema
from store.database import ReadSession, WriteSession, chunks
from store.documents import TEXT_LENGTH, documents_with_ids
from store.reindex.dualwrites import note_writes
from store.reindex.record import FOLLOWING, changed


@dataclass(frozen=True, kw_only=True, slots=True)
class Portion:
    """Documents to be copied to the hidden generation together."""

    documents: tuple[Document, ...]
    gone: tuple[str, ...]  # ids of those that the serving generation no longer has
    characters: int  # of their texts, titles, and metadata as JSON
    marks: tuple[int, ...] = ()  # for documents written since the start: their reindex_pending.id
    cursor: str | None = None  # for documents from before the start: the last one's id

    def __len__(self) -> int:
        return len(self.documents) + len(self.gone)


def written_portion(session: ReadSession, reindex: Reindex, *, documents: int, characters: int) -> Portion:
    """The documents written since the start of the reindex that have waited longest."""
    pending = schema.reindex_pending.c
    waiting = sa.select(pending.id, pending.external_id).where(pending.reindex_id == reindex.id)
    rows = session.execute(waiting.order_by(pending.id).limit(documents)).all()
    wanted, size = _within(session, reindex.serving_id, [row.external_id for row in rows], characters)
    found = documents_with_ids(session, reindex.serving_id, wanted)
    return Portion(
        documents=tuple(found[id_] for id_ in wanted if id_ in found),
        gone=tuple(id_ for id_ in wanted if id_ not in found),
        characters=size,
        marks=tuple(row.id for row in rows[: len(wanted)]),
    )


def next_portion(session: ReadSession, reindex: Reindex, *, documents: int, characters: int) -> Portion:
    """The documents from before the start of the reindex, after the cursor; empty at the end."""
    document = schema.document.c
    behind = sa.select(document.external_id).where(document.collection_id == reindex.serving_id)
    if reindex.cursor is not None:
        behind = behind.where(document.external_id > reindex.cursor)
    ids = list(session.execute(behind.order_by(document.external_id).limit(documents)).scalars())
    wanted, size = _within(session, reindex.serving_id, ids, characters)
    found = documents_with_ids(session, reindex.serving_id, wanted)
    cursor = wanted[-1] if wanted else None
    return Portion(documents=tuple(found[id_] for id_ in wanted), gone=(), characters=size, cursor=cursor)


def strike_out(
    session: WriteSession, reindex: Reindex, portion: Portion, failed: Sequence[str], **values: object
) -> Reindex:
    """Mark the portion as copied, in the transaction that copies it; `failed` documents go to the end of the queue.

    `values`: further columns of the row. Raises ReindexConflict where the reindex was ended or switched meanwhile.
    """
    columns = schema.reindex.c
    for some in chunks(portion.marks):
        session.execute(sa.delete(schema.reindex_pending).where(schema.reindex_pending.c.id.in_(some)))
    if portion.cursor is not None:
        values = {**values, "cursor": portion.cursor, "done": columns.done + len(portion)}
    row = changed(session, reindex, FOLLOWING, **values)
    if failed and row.serving_id is not None:
        note_writes(session, row.serving_id, failed)
    return row


def pending_count(session: ReadSession, reindex: Reindex) -> int:
    pending = schema.reindex_pending.c
    return int(session.execute(sa.select(sa.func.count()).where(pending.reindex_id == reindex.id)).scalar_one())


def _within(
    session: ReadSession, collection_id: int | None, ids: Sequence[str], characters: int
) -> tuple[list[str], int]:
    """The first ids that have at most so many characters together, at least one id; and their number of characters."""
    document = schema.document.c
    sizes = sa.select(document.external_id, (TEXT_LENGTH + sa.func.length(document.metadata)).label("size"))
    sizes = sizes.where(document.collection_id == collection_id)
    size = {row.external_id: int(row.size) for row in session.rows_where_in(sizes, document.external_id, ids)}
    taken: list[str] = []
    total = 0
    for id_ in ids:
        more = size.get(id_, 0)
        if taken and total + more > characters:
            break
        taken.append(id_)
        total += more
    return taken, total
