"""Work on a job: read its next batch, and complete a batch in the same transaction that stores its documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from core.errors import LeaseLost
from core.records import Job, JobState
from store import schema
from store.batch import Receipt
from store.database import ReadSession, WriteSession
from store.jobs import job_of
from store.jobs.lease import Lease, fenced
from store.jobs.notices import JobNotice, NoticeKind, add_notices, errors_of
from store.jobs.payload import QueuedDocument, unpack


@dataclass(frozen=True, kw_only=True, slots=True)
class JobBatch:
    """Documents to be committed together."""

    id: int
    number: int  # its position in the job
    crashes: int  # number of workers that vanished while working on it
    documents: list[QueuedDocument]


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchOutcome:
    """The result of a batch."""

    receipt: Receipt
    failures: Sequence[tuple[str | None, str, str]]  # document id, code, reason
    truncated: Sequence[str]  # ids of documents that the model did not read in full
    passages: int  # passages that had to be embedded
    tokens: int  # tokens that the model read
    seconds: float  # time taken


def next_batch(session: ReadSession, lease: Lease, *, after: int | None = None) -> JobBatch | None:
    """The job's next batch, or the next one after the batch number `after`; None where none is left."""
    columns = schema.job_batch.c
    first = sa.select(columns.id, columns.number, columns.crashes, columns.payload)
    first = first.where(columns.job_id == lease.job_id).order_by(columns.number)
    if after is not None:
        first = first.where(columns.number > after)
    row = session.execute(first.limit(1)).first()
    if row is None:
        return None
    return JobBatch(id=row.id, number=row.number, crashes=row.crashes, documents=unpack(row.payload))


def complete(session: WriteSession, lease: Lease, batch: JobBatch, outcome: BatchOutcome, *, now: float) -> Job:
    """Record the batch as done, in the transaction that stores its documents; returns the updated job.

    Raises LeaseLost: let it end the transaction, so that nothing of the batch is written.
    """
    job, receipt = schema.job.c, outcome.receipt
    row = fenced(
        session,
        lease,
        state=JobState.RUNNING.value,
        reason=None,
        attempts=0,
        pauses=0,
        paused_at=None,
        pause_seconds=None,
        leased_at=now,
        pending=job.pending - len(batch.documents),
        failed=job.failed + len(outcome.failures),
        created=job.created + receipt.created,
        replaced=job.replaced + receipt.replaced,
        updated=job.updated + receipt.updated,
        unchanged=job.unchanged + receipt.unchanged,
        truncated=job.truncated + len(outcome.truncated),
        passages=job.passages + outcome.passages,
        tokens=job.tokens + outcome.tokens,
        seq=sa.func.max(job.seq, receipt.seq),
        busy_seconds=job.busy_seconds + outcome.seconds,
    )
    if session.execute(sa.delete(schema.job_batch).where(schema.job_batch.c.id == batch.id)).rowcount != 1:
        raise LeaseLost(f"a batch of job {lease.job_id} was done by another worker; nothing was written")
    cut = [JobNotice(kind=NoticeKind.TRUNCATED, document_id=id_) for id_ in outcome.truncated]
    listed = {NoticeKind.TRUNCATED.value: row.truncated - len(cut)}
    add_notices(session, lease.job_id, [*errors_of(batch.documents, outcome.failures), *cut], listed=listed)
    return job_of(row) if row.pending else conclude(session, lease, now=now)


def conclude(session: WriteSession, lease: Lease, *, now: float) -> Job:
    """Mark the job as done, unless documents were put back to be retried; returns the job. Raises LeaseLost."""
    columns = schema.job_batch.c
    if session.execute(sa.select(columns.id).where(columns.job_id == lease.job_id).limit(1)).first() is not None:
        return job_of(fenced(session, lease))
    return job_of(fenced(session, lease, state=JobState.DONE.value, worker=None, ended_at=now))
