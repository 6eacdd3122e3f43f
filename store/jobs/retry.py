"""Retry a job: its dead letters, the documents that failed, go back into the queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from core.errors import JobConflict
from core.records import Job, JobState
from store import schema
from store.database import Database, WriteSession
from store.jobs import get_job
from store.jobs.notices import NoticeKind

_AT_ONCE = 100  # dead letters put back per transaction: other writers wait for it


def retry_job(database: Database, job_id: int) -> Job:
    """Put the failed documents back into the queue, and queue the job again where it had failed or waits.

    Each document becomes a batch of its own, so that what made one fail cannot affect another. Records that never
    became documents stay errors. Raises JobNotFound, and JobConflict where there is nothing to try again.
    """
    notice = schema.job_notice.c
    with database.read() as session:
        job = get_job(session, job_id)
        _check(job)
        letters = sa.select(sa.func.max(notice.id)).where(*_retryable(job_id))
        newest = session.execute(letters).scalar()
    if newest is None and not (job.state in (JobState.FAILED, JobState.WAITING) and job.pending):
        raise JobConflict(
            f"job {job_id} has no failed documents that could be tried again; records that are no documents must be "
            "mended and sent anew",
            param="job_id",
        )
    more = True
    while more:  # documents that fail meanwhile have a higher id, and are left alone
        with database.write() as session:
            more = _retry_some(session, job_id, newest or 0)
    with database.read() as session:
        return get_job(session, job_id)


def _retry_some(session: WriteSession, job_id: int, until: int) -> bool:
    """Put back up to _AT_ONCE dead letters; whether there may be more."""
    job, notice = get_job(session, job_id), schema.job_notice.c
    _check(job)
    letters = sa.select(notice.id, notice.payload).where(*_retryable(job_id), notice.id <= until)
    rows = session.execute(letters.order_by(notice.id).limit(_AT_ONCE)).all()
    _put_back(session, job_id, rows)
    columns = schema.job.c
    running = job.state is JobState.RUNNING
    session.execute(
        sa.update(schema.job)
        .where(columns.id == job_id)
        .values(
            pending=columns.pending + len(rows),
            failed=columns.failed - len(rows),
            state=job.state.value if running else JobState.QUEUED.value,
            reason=None,
            attempts=0,
            pauses=0,
            paused_at=None,
            pause_seconds=None,
            ended_at=None,
        )
    )
    return len(rows) == _AT_ONCE


def _check(job: Job) -> None:
    if job.collection_id is None or job.state is JobState.CANCELLED:
        gone = "its collection was deleted" if job.collection_id is None else "it was cancelled"
        raise JobConflict(f"job {job.id} cannot be tried again: {gone}; send the documents anew", param="job_id")


def _retryable(job_id: int) -> tuple[sa.ColumnElement[bool], ...]:
    notice = schema.job_notice.c
    return notice.job_id == job_id, notice.kind == NoticeKind.ERROR.value, notice.payload.is_not(None)


def _put_back(session: WriteSession, job_id: int, rows: Sequence[sa.Row[Any]]) -> None:
    batch, notice = schema.job_batch.c, schema.job_notice.c
    newest = sa.select(sa.func.max(batch.number + batch.documents)).where(batch.job_id == job_id)
    number = int(session.execute(newest).scalar() or 0)
    batches = [
        {"job_id": job_id, "number": number + place, "documents": 1, "crashes": 0, "payload": row.payload}
        for place, row in enumerate(rows)
    ]
    if batches:
        session.execute(sa.insert(schema.job_batch), batches)
        session.execute(sa.delete(schema.job_notice).where(notice.id.in_([row.id for row in rows])))
