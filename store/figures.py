"""Metrics of a data directory that are cheap enough to be polled every few seconds."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from core.records import GenerationState
from store import schema
from store.backup import last_backup
from store.clock import database_now
from store.database import Database, ReadSession
from store.jobs import queued_documents
from store.jobs.lease import unserved_seconds
from store.segments.rows import SegmentState


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectionFigures:
    """Metrics of a collection's active generation."""

    name: str
    seq: int  # of its newest change; 0 before the first
    passages: int
    segments: int
    tombstones: int  # removed passages that are still in segments
    unsealed: int  # passages that are neither in a segment nor in an external engine yet
    elsewhere: int  # live passages in the external engine of the collection


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Metrics of one committed state, except for the file sizes."""

    collections: tuple[CollectionFigures, ...]  # by name
    jobs: Mapping[str, int]  # how many are in each state that occurs
    waiting_documents: int  # in jobs that are being received, wait, or are worked on
    unserved_seconds: float  # how long the job that has waited longest is without a worker
    backup_at: float  # seconds since 1970; 0: no backup was made
    wal_bytes: int
    database_bytes: int
    free_bytes: int  # on the disk, for this process


def figures(database: Database) -> Figures:
    """Collect the metrics. Counts rows; reads no text and no vector. Raises StorageError."""
    with database.read() as session:
        size, count = (int(session.execute(sa.text(f"PRAGMA {name}")).scalar_one()) for name in _PAGES)
        return Figures(
            collections=tuple(_collections(session)),
            jobs=_jobs(session),
            waiting_documents=queued_documents(session),
            unserved_seconds=unserved_seconds(session, now=database_now(session)),
            backup_at=last_backup(database.directory),
            wal_bytes=database.log_bytes(),
            database_bytes=size * count,
            free_bytes=shutil.disk_usage(database.directory).free,
        )


_PAGES = ("page_size", "page_count")


def _jobs(session: ReadSession) -> dict[str, int]:
    job = schema.job.c
    return dict(map(tuple, session.execute(sa.select(job.state, sa.func.count()).group_by(job.state))))


def _collections(session: ReadSession) -> list[CollectionFigures]:
    collection, generation, segment, change = schema.collection, schema.generation, schema.segment.c, schema.change.c
    passage, document, index = schema.passage, schema.document, schema.passage_index
    own, sealed = generation.c.id, segment.state == SegmentState.ACTIVE.value
    of_segments = (
        sa.select(
            segment.generation_id,
            sa.func.count().label("files"),
            sa.func.sum(segment.rows).label("rows"),
            sa.func.max(segment.seq).label("seq"),
        )
        .where(sealed)
        .group_by(segment.generation_id)
        .subquery()
    )
    newest = sa.select(sa.func.max(change.seq)).where(change.generation_id == own).scalar_subquery()
    passages = (
        sa.select(sa.func.count())
        .select_from(passage.join(document))
        .where(document.c.collection_id == collection.c.id)
        .scalar_subquery()
    )
    # A passage has one "+", whose seq says when it came to this generation; a live one still has its row.
    unsealed = (
        sa.select(sa.func.count())
        .select_from(schema.change.join(passage, passage.c.id == change.passage_id))
        .where(
            change.generation_id == own,
            change.operation == "+",
            change.seq > sa.func.coalesce(index.c.seq, of_segments.c.seq, 0),
        )
        .scalar_subquery()
    )
    statement = (
        sa.select(
            collection.c.name,
            sa.func.coalesce(newest, 0),
            sa.func.coalesce(index.c.passages, passages),  # for external engines kept by every commit: no rows to count
            sa.func.coalesce(of_segments.c.files, 0),
            sa.func.coalesce(of_segments.c.rows, 0),
            unsealed,
            index.c.id.is_not(None),
        )
        .select_from(
            collection.join(generation)
            .outerjoin(of_segments, of_segments.c.generation_id == own)
            .outerjoin(index, index.c.generation_id == own)
        )
        .where(generation.c.state == GenerationState.ACTIVE.value)
        .order_by(collection.c.name)
    )
    return [
        CollectionFigures(
            name=name,
            seq=seq,
            passages=held,
            segments=files,
            tombstones=0 if indexed else rows - (held - tail),
            unsealed=tail,
            elsewhere=held - tail if indexed else 0,
        )
        for name, seq, held, files, rows, tail, indexed in map(tuple, session.execute(statement))
    ]
