"""The lease on a job: taking it, renewing it, and writing under its protection.

One worker at a time has a job. It takes the job by raising the job's token, and all its later writes name that token
(a fencing token). A worker that was overtaken matches no row, raises LeaseLost, and its transaction is rolled back. So
a worker that slept through its lease does no harm, whatever its clock says.

Times are the database's, and are only used to guess that a holder is gone. A lease counts while its last sign of life
is less than its length from now, in either direction. After a clock has jumped, a lease ends early rather than never,
which costs a batch that is processed twice and stored once. Pauses between tries are judged in the same way.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from core.backoff import MAX_ASKED_SECONDS
from core.errors import LeaseLost
from core.records import GenerationState, JobState
from store import schema
from store.database import ReadSession, WriteSession
from store.jobs import RUNNABLE, UNENDED
from store.jobs.crashes import count_crash


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The right to work on a job until another worker raises its token."""

    job_id: int
    token: int
    collection: str  # its name


def runnable(
    session: ReadSession,
    *,
    fingerprints: Collection[str],
    now: float,
    job_id: int | None = None,
    but: int | None = None,
) -> int | None:
    """The job whose turn it is: of those that can be worked on now, the one that was served longest ago.

    `fingerprints`: those of `wanted_models` that the worker has; jobs that need other models are left to other workers.
    `job_id`: only this one; `but`: any except this one.
    """
    job, generation = schema.job.c, schema.generation.c
    found = (
        sa.select(job.id)
        .join_from(schema.job, schema.generation, generation.collection_id == job.collection_id)
        .where(
            job.state.in_(RUNNABLE),
            generation.state == GenerationState.ACTIVE.value,
            _models().in_(fingerprints),
            job.worker.is_(None) | lease_over(now),
            job.paused_at.is_(None) | (sa.func.abs(now - job.paused_at) >= job.pause_seconds),
        )
        .order_by(job.turn, job.state != JobState.QUEUED.value, job.id)
        .limit(1)
    )
    if job_id is not None:
        found = found.where(job.id == job_id)
    if but is not None:
        found = found.where(job.id != but)
    return session.execute(found).scalar()


def lease_over(now: float) -> sa.ColumnElement[bool]:
    """SQL condition: the job's lease has run out."""
    job = schema.job.c
    return sa.func.abs(now - job.leased_at) >= job.lease_seconds


def unserved_seconds(session: ReadSession, *, now: float) -> float:
    """The longest time that a job has been without a sign of life from a worker, or since its creation if it had none.

    Considers jobs that could go on: a pause between tries does not count. 0 where there are none.
    """
    job = schema.job.c
    since = sa.func.max(  # SQLite's scalar max, of two values
        sa.func.coalesce(job.leased_at, job.created_at), sa.func.coalesce(job.paused_at + job.pause_seconds, 0.0)
    )
    first = session.execute(sa.select(sa.func.min(since)).where(job.state.in_(RUNNABLE))).scalar()
    return 0.0 if first is None else max(0.0, now - float(first))


def claim(
    session: WriteSession,
    worker: str,
    *,
    seconds: float,
    fingerprints: Collection[str],
    now: float,
    job_id: int | None = None,
) -> Lease | None:
    """Take the job whose turn it is, or `job_id` if it is available, for `seconds`; None where there is none."""
    found = runnable(session, fingerprints=fingerprints, now=now, job_id=job_id)
    if found is None:
        return None
    job = schema.job.c
    before = session.execute(sa.select(job.worker, job.token, job.collection).where(job.id == found)).one()
    if before.worker is not None:  # its holder vanished while busy with the job's next batch
        count_crash(session, found)
    session.execute(
        sa.update(schema.job)
        .where(job.id == found)
        .values(
            token=before.token + 1, worker=worker, leased_at=now, lease_seconds=seconds, turn=newest_turn(session) + 1,
            state=sa.case((job.state == JobState.WAITING.value, job.state), else_=JobState.RUNNING.value),
        )
    )  # fmt: skip
    return Lease(job_id=found, token=before.token + 1, collection=before.collection)


def newest_turn(session: ReadSession) -> int:
    """The highest turn number given so far; 0 before the first."""
    return int(session.execute(sa.select(sa.func.coalesce(sa.func.max(schema.job.c.turn), 0))).scalar_one())


def renew(session: WriteSession, lease: Lease, *, now: float) -> None:
    """Renew the lease of a worker or of a receiver. Raises LeaseLost."""
    fenced(session, lease, states=UNENDED, leased_at=now)


def release(session: WriteSession, lease: Lease, *, idle: bool) -> None:
    """Give the lease back, if it is still held. `idle`: no worker continues at once, so the job is queued again."""
    job = schema.job.c
    values: dict[str, Any] = {"worker": None, "token": job.token + 1}
    if idle:
        running = job.state == JobState.RUNNING.value
        values["state"] = sa.case((running, JobState.QUEUED.value), else_=job.state)
    held = (job.id == lease.job_id) & (job.token == lease.token) & job.state.in_(RUNNABLE)
    session.execute(sa.update(schema.job).where(held).values(values))


@dataclass(frozen=True, kw_only=True, slots=True)
class Failures:
    """Failures of a job since its last success."""

    attempts: int  # failures that count towards giving up
    pauses: int  # all failures


def failures(session: ReadSession, lease: Lease) -> Failures:
    """The job's failures since its last success; zeros where the job is gone."""
    job = schema.job.c
    row = session.execute(sa.select(job.attempts, job.pauses).where(job.id == lease.job_id)).first()
    return Failures(attempts=0, pauses=0) if row is None else Failures(attempts=row.attempts, pauses=row.pauses)


def postpone(
    session: WriteSession, lease: Lease, *, reason: str, pause_seconds: float, counts: bool, now: float
) -> None:
    """Give the lease back after a failure; the job is available again after the pause. Raises LeaseLost.

    `counts`: whether this uses up one of the job's attempts. A pause is at most five minutes: it outlasts restarts, so
    an excessive one that a remote service asked for could not be ended.
    """
    job = schema.job.c
    fenced(
        session,
        lease,
        state=JobState.WAITING.value,
        reason=reason,
        attempts=job.attempts + int(counts),
        pauses=job.pauses + 1,
        worker=None,
        token=job.token + 1,
        paused_at=now,
        pause_seconds=min(pause_seconds, MAX_ASKED_SECONDS),
    )


def give_up(session: WriteSession, lease: Lease, *, reason: str, now: float) -> None:
    """End the job as failed. Its remaining documents are kept for another try. Raises LeaseLost."""
    attempts = schema.job.c.attempts + 1
    failed = JobState.FAILED.value
    fenced(session, lease, state=failed, reason=reason, attempts=attempts, worker=None, ended_at=now)


def wanted_models(session: ReadSession) -> dict[str, str]:
    """The fingerprints of the models that jobs wait for, each with the name of a collection embedded by them.

    A key is the encoder's fingerprint, followed by a space and that of the sparse model where there is one.
    """
    job, generation, collection = schema.job.c, schema.generation.c, schema.collection.c
    # Each collection once, as it may have many thousands of jobs.
    waiting = sa.select(job.collection_id).where(job.state.in_(RUNNABLE)).distinct().subquery()
    found = (
        sa.select(_models(), sa.func.min(collection.name))
        .join_from(waiting, schema.generation, generation.collection_id == waiting.c.collection_id)
        .join(schema.collection, collection.id == waiting.c.collection_id)
        .where(generation.state == GenerationState.ACTIVE.value)
        .group_by(_models())
    )
    return dict(map(tuple, session.execute(found)))


def _models() -> sa.ColumnElement[str]:
    generation = schema.generation.c
    return generation.fingerprint + sa.func.coalesce(" " + generation.sparse_fingerprint, "")


def fenced(session: WriteSession, lease: Lease, *, states: tuple[str, ...] = RUNNABLE, **values: Any) -> sa.Row[Any]:
    """Update the job's row if the lease still holds; returns the updated row. Raises LeaseLost."""
    job = schema.job
    held = (job.c.id == lease.job_id) & (job.c.token == lease.token) & job.c.state.in_(states)
    row = session.execute(sa.update(job).where(held).values(values or {"token": job.c.token}).returning(*job.c)).first()
    if row is None:
        raise LeaseLost(f"another worker has job {lease.job_id} now, or it was cancelled; nothing was written")
    return row
