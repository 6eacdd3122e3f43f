"""Documents and passages as they are stored. A text is stored once, in its document; passages are spans of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from core.errors import DocumentNotFound, HitNotFound
from core.records import Document, Int64Array, Passage
from store import schema
from store.database import ReadSession
from store.filters.metadata import is_unicode


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredDocument:
    """A document with what the indexer found out about it."""

    document: Document
    language: str  # ISO 639-1
    passages: tuple[Passage, ...]  # in text order


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredPassage:
    """A passage with what a hit shows of its document."""

    id: int
    document_id: str  # the user's id
    title: str
    metadata: Mapping[str, Any]
    language: str
    passage: Passage
    text: str  # the passage's text


def get_document(session: ReadSession, collection_id: int, external_id: str) -> StoredDocument:
    """Raises DocumentNotFound."""
    document = schema.document
    if is_unicode(external_id):
        found = session.execute(_documents(collection_id).where(document.c.external_id == external_id)).all()
        if found:
            return _stored(session, found)[0]
    raise DocumentNotFound(f"there is no document {external_id!r:.140} in this collection", param="document_id")


def list_documents(
    session: ReadSession, collection_id: int, *, limit: int, after: str | None = None
) -> list[StoredDocument]:
    """The first `limit` documents in the order of their ids, or the first ones behind the id `after`."""
    external_id = schema.document.c.external_id
    statement = _documents(collection_id).order_by(external_id).limit(limit)
    if after is not None:
        # A lone surrogate cannot be asked for; it sorts as the replacement that stands for it.
        statement = statement.where(external_id > after.encode(errors="replace").decode())
    return _stored(session, session.execute(statement).all())


def fetch_passages(session: ReadSession, collection_id: int, ids: Int64Array) -> list[StoredPassage]:
    """The passages of `ids`, in that order. Raises HitNotFound for an id that is not, or no longer, there."""
    passage, document = schema.passage.c, schema.document.c
    statement = (
        sa.select(
            passage.id,
            passage.start,
            passage.end,
            passage.fresh,
            document.external_id,
            document.title,
            document.metadata,
            document.language,
            sa.func.substr(document.text, passage.start + 1, passage.end - passage.start).label("text"),
        )
        .join_from(schema.passage, schema.document)
        .where(document.collection_id == collection_id)
    )
    wanted = [int(id_) for id_ in ids]
    rows = {row.id: row for row in session.rows_where_in(statement, passage.id, wanted)}
    missing = [id_ for id_ in wanted if id_ not in rows]
    if missing:
        raise HitNotFound(f"there is no passage {missing[0]}; its document was replaced or deleted", param="id")
    return [_passage(rows[id_]) for id_ in wanted]


def _documents(collection_id: int) -> sa.Select[Any]:
    return sa.select(schema.document).where(schema.document.c.collection_id == collection_id)


def _stored(session: ReadSession, rows: Sequence[sa.Row[Any]]) -> list[StoredDocument]:
    spans: dict[int, list[Passage]] = {row.id: [] for row in rows}
    statement = sa.select(schema.passage).order_by(schema.passage.c.id)
    for row in session.rows_where_in(statement, schema.passage.c.document_id, spans):
        spans[row.document_id].append(Passage(start=row.start, end=row.end, fresh=row.fresh))
    return [
        StoredDocument(
            document=Document(id=row.external_id, text=row.text, title=row.title, metadata=json.loads(row.metadata)),
            language=row.language,
            passages=tuple(sorted(spans[row.id], key=lambda span: (span.start, span.end))),
        )
        for row in rows
    ]


def _passage(row: sa.Row[Any]) -> StoredPassage:
    return StoredPassage(
        id=row.id,
        document_id=row.external_id,
        title=row.title,
        metadata=json.loads(row.metadata),
        language=row.language,
        passage=Passage(start=row.start, end=row.end, fresh=row.fresh),
        text=row.text,
    )
