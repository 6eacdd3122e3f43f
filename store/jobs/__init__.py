"""Jobs as users see them: get one, list them, cancel one, and fail those of a deleted collection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from core.errors import JobConflict, JobNotFound
from core.records import Job, JobState
from core.unicode import is_unicode
from store import schema
from store.database import ReadSession, WriteSession
from store.visibility import Patterns, held_among, name_among

RUNNABLE = tuple(state.value for state in (JobState.QUEUED, JobState.RUNNING, JobState.WAITING))
UNENDED = (JobState.RECEIVING.value, *RUNNABLE)


def get_job(session: ReadSession, job_id: int, *, among: Patterns | None = None) -> Job:
    """The job with this id. `among`: patterns that its collection's name or alias must match (None: any).

    Raises JobNotFound, also where the collection does not match, and for a job that is still being received.
    """
    job = schema.job.c
    if 0 < job_id <= schema.MAX_ID:
        seen = sa.true() if among is None else held_among(job.collection_id, job.collection, among)
        for row in jobs_where(session, job.id == job_id, job.state != JobState.RECEIVING, seen, limit=1):
            return job_of(row)
    raise JobNotFound(f"there is no job {job_id}; GET /v1/jobs (salience jobs list) lists the jobs", param="job_id")


def list_jobs(
    session: ReadSession,
    *,
    limit: int,
    collection: str | None = None,
    state: JobState | None = None,
    before: int | None = None,
    among: Patterns | None = None,
) -> list[Job]:
    """The newest jobs first, at most `limit`; `before`: only those with a lower id.

    `collection`: only those of the collection with this name or alias; `among`: only those of collections with
    matching names or aliases.
    """
    job = schema.job.c
    conditions: list[sa.ColumnElement[bool]] = [job.state != JobState.RECEIVING.value]
    if collection is not None:
        if not is_unicode(collection):
            return []
        alias = schema.alias.c
        seen = sa.true() if among is None else name_among(alias.name, among)
        aliased = sa.select(alias.collection_id).where(alias.name == collection, seen)
        conditions.append((job.collection == collection) | job.collection_id.in_(aliased))
    if among is not None:
        conditions.append(held_among(job.collection_id, job.collection, among))
    if state is not None:
        conditions.append(job.state == state.value)
    if before is not None:
        conditions.append(job.id < min(before, schema.MAX_ID))
    return [job_of(row) for row in jobs_where(session, *conditions, limit=limit)]


def queued_documents(session: ReadSession) -> int:
    """Number of documents waiting in all jobs that are being received, wait, or are worked on."""
    waiting = sa.select(sa.func.coalesce(sa.func.sum(schema.job.c.pending), 0)).where(schema.job.c.state.in_(UNENDED))
    return int(session.execute(waiting).scalar_one())


def cancel_job(session: WriteSession, job_id: int, *, now: float) -> Job:
    """Cancel the job: what was committed stays, what still waits is dropped. Cancelling twice is no error.

    A worker that is busy with one of its batches loses its lease, and cannot write any more.
    Raises JobNotFound, and JobConflict for a job that is done.
    """
    job = get_job(session, job_id)
    if job.state is JobState.CANCELLED:
        return job
    if job.state is JobState.DONE:
        raise JobConflict(f"job {job_id} is done; there is nothing to cancel", param="job_id")
    return _end(session, [job_id], JobState.CANCELLED, None, now)[0]


def fail_jobs_of(session: WriteSession, collection_id: int, name: str, *, now: float) -> None:
    """Fail the jobs of a collection that is about to be deleted."""
    job = schema.job.c
    reason = f"the collection {name!r} was deleted"
    found = session.execute(sa.select(job.id).where(job.collection_id == collection_id, job.state.in_(RUNNABLE)))
    _end(session, list(found.scalars()), JobState.FAILED, reason, now)


def jobs_where(session: ReadSession, *conditions: sa.ColumnElement[bool], limit: int) -> Sequence[sa.Row[Any]]:
    """The rows of the newest matching jobs, the newest first."""
    found = sa.select(schema.job).where(*conditions).order_by(schema.job.c.id.desc()).limit(limit)
    return session.execute(found).all()


def job_of(row: sa.Row[Any]) -> Job:
    names = Job.__dataclass_fields__
    return Job(**{name: getattr(row, name) for name in names if name != "state"}, state=JobState(row.state))


def _end(session: WriteSession, job_ids: Sequence[int], state: JobState, reason: str | None, now: float) -> list[Job]:
    job = schema.job
    values = {"state": state.value, "reason": reason, "ended_at": now, "worker": None, "token": job.c.token + 1}
    ended = sa.update(job).where(job.c.id.in_(job_ids)).values(**values).returning(*job.c)
    return [job_of(row) for row in session.execute(ended)] if job_ids else []
