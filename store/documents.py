"""Read stored documents and passages. A text is stored once, in its document; passages are spans of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from core.errors import DocumentNotFound, HitNotFound
from core.filters import Filter
from core.passages import passage_controls
from core.prompts import TextControl
from core.records import Document, Int64Array, Passage
from core.unicode import is_unicode
from store import schema
from store.controls import unpack_controls
from store.database import ReadSession, chunks
from store.filters.sql import Documents, seen_where
from store.prepared import Prepared

TEXT_LENGTH = sa.func.length(schema.document.c.title) + sa.func.length(schema.document.c.text)  # in characters
_LOOKED_AT = 1000  # documents that a filtered page checks in one step


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredDocument:
    """A document with what indexing derived from it."""

    document: Document
    language: str  # ISO 639-1
    passages: tuple[Passage, ...]  # in text order
    content_sha: bytes  # as in the draft from which it was stored


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredPassage:
    """A passage with the parts of its document that a hit shows."""

    id: int
    document_id: str  # the user's id
    title: str
    metadata: Mapping[str, Any]
    language: str
    passage: Passage
    text: str  # the passage's text
    controls: tuple[TextControl, ...] = ()  # of the document, relative to the passage's text


def get_document(
    session: ReadSession, collection_id: int, external_id: str, *, within: Filter | None = None
) -> StoredDocument:
    """The document with the user's id `external_id`. `within`: as if only documents that satisfy it existed.

    Raises DocumentNotFound.
    """
    document = schema.document
    if is_unicode(external_id):
        found = session.execute(_documents(collection_id).where(document.c.external_id == external_id)).all()
        if found and (within is None or _held(seen_where(session, collection_id, None, within), [found[0].id])):
            return _stored(session, found)[0]
    raise DocumentNotFound(f"there is no document {external_id!r:.140} in this collection", param="document_id")


def list_documents(
    session: ReadSession,
    collection_id: int,
    *,
    limit: int,
    after: str | None = None,
    where: Filter | None = None,
    within: Filter | None = None,
) -> list[StoredDocument]:
    """The first `limit` documents in the order of their ids, or the first ones after the id `after`.

    `where`: only those that satisfy it; `within`: as if only documents that satisfy it existed. Raises InvalidFilter
    for `where` as `store.filters.sql.documents_where` does.
    """
    document = schema.document.c
    conditions = [document.collection_id == collection_id]
    if after is not None:
        # SQLite cannot take a lone surrogate; its replacement character sorts in its place.
        after = after.encode(errors="replace").decode()
        conditions.append(document.external_id > after)
    if where is None and within is None:
        listed = sa.select(schema.document).where(*conditions).order_by(document.external_id)
        return _stored(session, session.execute(listed.limit(limit)).all())
    found = seen_where(session, collection_id, where, within)
    if not found.others and len(found.ids) <= limit:  # so few that nearly all documents would be checked to find them
        ids = found.ids.tolist()
    else:
        ids = _first_in_order(session, found, conditions, limit)
    # Selected by primary key alone: with a condition on the collection SQLite would scan all of it for a few rows.
    rows = session.rows_where_in(sa.select(schema.document), document.id, ids)
    behind = (row for row in rows if after is None or row.external_id > after)
    return _stored(session, sorted(behind, key=lambda row: row.external_id))


def documents_with_ids(session: ReadSession, collection_id: int | None, ids: Sequence[str]) -> dict[str, Document]:
    """The existing documents among the users' `ids`, with their texts, by id."""
    rows = session.rows_where_in(
        sa.select(schema.document).where(schema.document.c.collection_id == collection_id),
        schema.document.c.external_id,
        ids,
    )
    return {row.external_id: document_of(row) for row in rows}


def stored_lengths(session: ReadSession, collection_id: int, ids: Sequence[str]) -> dict[str, int]:
    """Characters of the titles and texts of the existing documents among the users' `ids`, by id."""
    document = schema.document.c
    columns = sa.select(document.external_id, TEXT_LENGTH.label("length")).where(
        document.collection_id == collection_id
    )
    asked = [id_ for id_ in ids if is_unicode(id_)]  # SQLite takes no others
    return {row.external_id: row.length for row in session.rows_where_in(columns, document.external_id, asked)}


def document_of(row: sa.Row[Any]) -> Document:
    """The document in a full row of the table."""
    return Document(
        id=row.external_id,
        text=row.text,
        title=row.title,
        metadata=json.loads(row.metadata),
        controls=unpack_controls(row.controls),
    )


def seen_ids(session: ReadSession, collection_id: int, ids: Sequence[str], within: Filter) -> list[str]:
    """Those of the users' `ids` whose documents satisfy `within`."""
    document = schema.document.c
    columns = sa.select(document.id, document.external_id).where(document.collection_id == collection_id)
    asked = [id_ for id_ in ids if is_unicode(id_)]  # SQLite takes no others
    found = {row.id: row.external_id for row in session.rows_where_in(columns, document.external_id, asked)}
    return [found[number] for number in _held(seen_where(session, collection_id, None, within), list(found))]


def fetch_passages(session: ReadSession, collection_id: int, ids: Int64Array) -> list[StoredPassage]:
    """The passages with these `ids`, in that order. Raises HitNotFound for an id that does not exist."""
    wanted = ids.tolist()
    rows: dict[int, tuple[Any, ...]] = {}
    for chunk in chunks(wanted):
        rows |= {row[0]: row for row in _PASSAGES.rows(session, collection=collection_id, ids=chunk)}
    missing = [id_ for id_ in wanted if id_ not in rows]
    if missing:
        raise HitNotFound(f"there is no passage {missing[0]}; its document was replaced or deleted", param="id")
    return [_passage(rows[id_]) for id_ in wanted]


def _first_in_order(
    session: ReadSession, found: Documents, conditions: Sequence[sa.ColumnElement[bool]], limit: int
) -> list[int]:
    """The `document.id` of the first `limit` documents in the set that satisfy the conditions, by the users' ids."""
    document = schema.document.c
    in_order = sa.select(document.id).where(*conditions).order_by(document.external_id)
    ids: list[int] = []
    with session.execute(in_order) as rows_in_order:  # reads no further than the page needs
        for numbers in rows_in_order.scalars().partitions(_LOOKED_AT):
            ids += _held(found, numbers)
            if len(ids) >= limit:
                break
    return ids[:limit]


def _held(found: Documents, numbers: Sequence[int]) -> list[int]:
    """Those of the documents that are in the set, in the given order."""
    ids = np.array(numbers, dtype=np.int64)
    return [int(id_) for id_ in ids[found.holds(ids)]]


def _documents(collection_id: int) -> sa.Select[Any]:
    return sa.select(schema.document).where(schema.document.c.collection_id == collection_id)


def _stored(session: ReadSession, rows: Sequence[sa.Row[Any]]) -> list[StoredDocument]:
    spans: dict[int, list[Passage]] = {row.id: [] for row in rows}
    statement = sa.select(schema.passage).order_by(schema.passage.c.id)
    for row in session.rows_where_in(statement, schema.passage.c.document_id, spans):
        spans[row.document_id].append(Passage(start=row.start, end=row.end, fresh=row.fresh))
    return [
        StoredDocument(
            document=document_of(row),
            language=row.language,
            passages=tuple(sorted(spans[row.id], key=lambda span: (span.start, span.end))),
            content_sha=row.content_sha,
        )
        for row in rows
    ]


def _passages() -> sa.Select[Any]:
    passage, document = schema.passage.c, schema.document.c
    columns = (
        passage.id,
        passage.start,
        passage.end,
        passage.fresh,
        document.external_id,
        document.title,
        document.metadata,
        document.language,
        document.controls,
        sa.func.substr(document.text, passage.start + 1, passage.end - passage.start),
    )
    return (
        sa.select(*columns)
        .join_from(schema.passage, schema.document)
        .where(
            document.collection_id + 0 == sa.bindparam("collection"),
            passage.id.in_(sa.bindparam("ids", expanding=True)),
        )
    )


_PASSAGES = Prepared(_passages())  # the "+ 0" keeps SQLite from scanning the whole collection for a few rows


def _passage(row: tuple[Any, ...]) -> StoredPassage:
    id_, start, end, fresh, document_id, title, metadata, language, controls, text = row
    return StoredPassage(
        id=id_,
        document_id=document_id,
        title=title,
        metadata=json.loads(metadata),
        language=language,
        passage=Passage(start=start, end=end, fresh=fresh),
        text=text,
        controls=passage_controls(unpack_controls(controls), start, text),
    )
