"""Restore embeddings from segments: a file with matching hashes holds the vectors and postings that were written."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from store import schema
from store.checksum import row_checksum
from store.database import Database, ReadSession, chunks
from store.segments.files import open_apart, segment_problems
from store.segments.postings import Postings
from store.segments.rows import active_segments
from store.segments.segment import Segment
from store.terms import POSTING


def mend_embeddings(database: Database, broken: Collection[int], *, dry_run: bool = False) -> set[int]:
    """Rewrite those of the embeddings `broken` whose checksum confirms a segment's content; returns their ids."""
    embedding, mended = schema.embedding, {}
    sound: dict[int, list[Segment]] = {}  # by generation, so that each file is read only once
    with database.read() as session:
        rows = session.rows_where_in(sa.select(embedding), embedding.c.id, broken)
        for row in rows:
            if row_checksum(row.sha, row.dense, row.sparse, row.learned) == row.checksum:
                continue  # the row is as it was written
            if row.generation_id not in sound:
                sound[row.generation_id] = _sound_segments(database, session, row.generation_id)
            content = _in_segments(sound[row.generation_id], session, row)
            if content is not None:
                mended[row.id] = content
    if mended and not dry_run:
        with database.write() as session:
            for id_, content in mended.items():
                session.execute(sa.update(embedding).where(embedding.c.id == id_).values(content))
    return set(mended)


def drop_embeddings(database: Database, ids: Collection[int]) -> None:
    with database.write() as session:
        for chunk in chunks(ids):
            session.execute(sa.delete(schema.embedding).where(schema.embedding.c.id.in_(chunk)))


def _sound_segments(database: Database, session: ReadSession, generation_id: int) -> list[Segment]:
    return [
        open_apart(database.directory, row)[0]
        for row in active_segments(session, generation_id)
        if not segment_problems(database.directory, row)
    ]


def _in_segments(segments: Sequence[Segment], session: ReadSession, row: sa.Row[Any]) -> dict[str, Any] | None:
    passage, document = schema.passage.c, schema.document.c
    found = session.execute(
        sa.select(passage.id)
        .join_from(schema.passage, schema.document)
        .join(schema.generation, schema.generation.c.collection_id == document.collection_id)
        .where(passage.sha == row.sha, schema.generation.c.id == row.generation_id)
    )
    passages = np.fromiter(found.scalars(), np.int64)
    for segment in segments:
        for place in segment.find(passages)[1]:
            content = _content(segment, int(place), learned=row.learned is not None)
            if _is_what_was_written(row, content):
                return content | {"checksum": row_checksum(row.sha, *content.values())}
    return None


def _content(segment: Segment, place: int, *, learned: bool) -> dict[str, Any]:
    return {
        "dense": segment.vectors[place].astype("<f4").tobytes(),
        "sparse": _blob(segment.postings, place),
        "learned": _blob(segment.learned, place) if learned else None,
    }


def _is_what_was_written(row: sa.Row[Any], content: dict[str, Any]) -> bool:
    """Whether the checksum fits the content; or the content equals the row, and only the checksum was damaged."""
    same = (row.dense, row.sparse, row.learned) == tuple(content.values())
    return same or row_checksum(row.sha, *content.values()) == row.checksum


def _blob(postings: Postings, place: int) -> bytes:
    where = np.flatnonzero(postings.rows == place)
    found = np.empty(len(where), POSTING)
    found["term"] = postings.terms[np.searchsorted(postings.offsets, where, side="right") - 1]
    found["value"] = postings.values[where]
    return found.tobytes()
