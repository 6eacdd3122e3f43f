"""Clean up after jobs in short transactions, so that the write lock is never held for long."""

from __future__ import annotations

import sqlalchemy as sa

from core.records import JobState
from store import schema
from store.database import Database, ReadSession
from store.jobs.intake import drop_piece
from store.jobs.lease import lease_over

KEPT_JOBS = 10_000  # ended jobs kept per collection, the last to end; older ones are deleted
_AT_ONCE = 100  # jobs handled in one piece of the work


def sweep(database: Database, *, now: float) -> bool:
    """Do one piece of the work; whether there may be more.

    Deletes the documents of jobs that were cancelled or whose collection is gone, jobs whose sender vanished before all
    documents arrived, and jobs beyond the KEPT_JOBS that ended last in their collection. A failed job with waiting
    documents is kept: they were acknowledged, and only the sender can decide what becomes of them.
    """
    with database.read() as session:
        abandoned, emptied, forgotten = _abandoned(session, now), _to_empty(session), _forgotten(session)
    if not abandoned and not emptied and not forgotten:
        return False
    job = schema.job
    with database.write() as session:
        if emptied:
            return drop_piece(session, emptied, rows_too=False) or bool(abandoned or forgotten)
        if abandoned:
            abandoned = _abandoned(session, now)  # a slow sender may have come back; from here on it is locked out
            session.execute(sa.update(job).where(job.c.id.in_(abandoned)).values(token=job.c.token + 1))
            return drop_piece(session, abandoned, rows_too=True) or bool(forgotten)
        again = sa.select(job.c.id).where(job.c.id.in_(forgotten), _may_be_forgotten())
        forgotten = _ids(session, again)  # one may have been retried meanwhile; from here on none can be
        session.execute(sa.update(job).where(job.c.id.in_(forgotten)).values(state=JobState.CANCELLED.value))
        return drop_piece(session, forgotten, rows_too=True) or len(forgotten) >= _AT_ONCE


def _abandoned(session: ReadSession, now: float) -> list[int]:
    job = schema.job.c
    return _ids(session, sa.select(job.id).where(job.state == JobState.RECEIVING.value, lease_over(now)))


def _to_empty(session: ReadSession) -> list[int]:
    job, batch = schema.job.c, schema.job_batch.c
    given_up = (job.state == JobState.CANCELLED.value) | (
        (job.state == JobState.FAILED.value) & job.collection_id.is_(None)
    )
    left = sa.select(batch.id).where(batch.job_id == job.id).exists()
    return _ids(session, sa.select(job.id).where(given_up, job.pending > 0, left))


def _forgotten(session: ReadSession) -> list[int]:
    job = schema.job.c
    crowded = sa.select(job.collection_id).group_by(job.collection_id).having(sa.func.count() > KEPT_JOBS)
    found: list[int] = []
    for collection_id in session.execute(crowded).scalars().all():  # None: jobs of all deleted collections
        own = sa.select(job.id).where(_may_be_forgotten(), job.collection_id.is_not_distinct_from(collection_id))
        found += _ids(session, own.order_by(job.ended_at.desc(), job.id.desc()).offset(KEPT_JOBS))
        if len(found) >= _AT_ONCE:
            break
    return found


def _may_be_forgotten() -> sa.ColumnElement[bool]:
    job = schema.job.c
    kept = (job.state == JobState.FAILED.value) & (job.pending > 0) & job.collection_id.is_not(None)
    return job.state.in_([state.value for state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)]) & ~kept


def _ids(session: ReadSession, found: sa.Select[tuple[int]]) -> list[int]:
    return list(session.execute(found.limit(_AT_ONCE)).scalars())
