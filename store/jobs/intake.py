"""Receive the documents of a job. Until all have arrived nobody sees it; an upload that breaks off is removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from core.errors import CollectionNotFound, StillReceived
from core.records import Collection, Job, JobState
from store import schema
from store.answering import answering
from store.database import ReadSession, WriteSession
from store.jobs import job_of, jobs_where
from store.jobs.lease import Lease, fenced, newest_turn
from store.jobs.notices import JobNotice, NoticeKind, add_notices

_RECEIVING = (JobState.RECEIVING.value,)
_DROPPED_AT_ONCE, _NOTICES_AT_ONCE = 20, 2_000  # batches and notices deleted per transaction: other writers wait


@dataclass(kw_only=True, slots=True)
class Intake:
    """What arrived since the last transaction."""

    read: int = 0  # documents, and records that could not become one
    batches: list[tuple[int, bytes]] = field(default_factory=list)  # number of documents, and their payload
    notices: list[JobNotice] = field(default_factory=list)


def begin(
    session: WriteSession, collection: Collection, worker: str, *, seconds: float, key: str | None, now: float
) -> Lease:
    """Create a job for which `worker` receives documents, under a lease of `seconds`.

    Raises StillReceived where the collection has a job with this idempotency key, CollectionNotFound where it is gone.
    """
    collection_id = answering(session, collection)
    if collection_id is None:
        raise CollectionNotFound(f"the collection {collection.name!r} was deleted meanwhile", param="collection")
    if key is not None:
        check_key(session, collection_id, key)
    zeros = (
        "turn", "attempts", "pauses", "total", "pending", "failed", "created", "replaced", "updated", "unchanged",
        "duplicates", "truncated", "passages", "tokens", "seq", "busy_seconds",
    )  # fmt: skip
    values = {
        "collection_id": collection_id, "collection": collection.name, "state": JobState.RECEIVING.value, "key": key,
        "created_at": now, "token": 1, "worker": worker, "leased_at": now, "lease_seconds": seconds,
    }  # fmt: skip
    made = session.execute(sa.insert(schema.job), {**dict.fromkeys(zeros, 0), **values}).inserted_primary_key
    assert made is not None
    return Lease(job_id=int(made[0]), token=1, collection=collection.name)


def append(session: WriteSession, lease: Lease, intake: Intake, *, now: float) -> None:
    """Store what arrived. Raises LeaseLost where the job was considered abandoned."""
    job = schema.job.c
    documents = sum(count for count, _ in intake.batches)
    failed = sum(notice.kind is NoticeKind.ERROR for notice in intake.notices)
    duplicates = sum(notice.kind is NoticeKind.DUPLICATE for notice in intake.notices)
    row = fenced(
        session, lease, states=_RECEIVING, leased_at=now, total=job.total + intake.read,
        pending=job.pending + documents, failed=job.failed + failed, duplicates=job.duplicates + duplicates,
    )  # fmt: skip
    number = row.pending - documents  # nothing was taken out yet, so this is the number of documents stored before
    rows = []
    for count, payload in intake.batches:
        rows.append({"job_id": lease.job_id, "number": number, "documents": count, "crashes": 0, "payload": payload})
        number += count
    if rows:
        session.execute(sa.insert(schema.job_batch), rows)
    listed = {NoticeKind.DUPLICATE.value: row.duplicates - duplicates}
    add_notices(session, lease.job_id, intake.notices, listed=listed)


def finish(session: WriteSession, lease: Lease, *, digest: bytes, now: float) -> Job:
    """All documents have arrived: queue the job, or mark it as done where there is nothing to do.

    Raises LeaseLost, and CollectionNotFound where the collection was deleted meanwhile.
    """
    row = fenced(
        session, lease, states=_RECEIVING, digest=digest, worker=None, turn=newest_turn(session), leased_at=now
    )
    if row.collection_id is None:
        raise CollectionNotFound(f"the collection {lease.collection!r} was deleted meanwhile", param="collection")
    # This turn is behind the jobs that wait now, and before the one served last: no job can wait for ever.
    over = row.pending == 0
    state = JobState.DONE if over else JobState.QUEUED
    return job_of(fenced(session, lease, states=_RECEIVING, state=state.value, ended_at=now if over else None))


def drop(session: WriteSession, lease: Lease) -> bool:
    """Delete some of what arrived, and finally the job; whether more is left. Raises LeaseLost."""
    fenced(session, lease, states=_RECEIVING)
    return drop_piece(session, [lease.job_id], rows_too=True)


def job_with_key(session: ReadSession, collection_id: int, key: str) -> tuple[Job, bytes | None] | None:
    """The collection's job with this idempotency key, and the digest of its content (None while it is received)."""
    job = schema.job.c
    found = jobs_where(session, job.collection_id == collection_id, job.key == key, limit=1)
    return next(((job_of(row), row.digest) for row in found), None)


def check_key(session: ReadSession, collection_id: int, key: str) -> None:
    """Raises StillReceived where the collection has a job with this idempotency key."""
    if job_with_key(session, collection_id, key) is not None:
        raise StillReceived(
            f"another request with the idempotency key {key!r} is being received; repeat this one when it is done",
            param="Idempotency-Key",
        )


def unfinished_job(session: ReadSession, collection_id: int, digest: bytes) -> Job | None:
    """The newest job with this content that still has something to do."""
    job = schema.job.c
    states = (JobState.QUEUED, JobState.RUNNING, JobState.WAITING, JobState.FAILED)
    of_content = (job.collection_id == collection_id, job.digest == digest, job.pending > 0)
    found = jobs_where(session, *of_content, job.state.in_([state.value for state in states]), limit=1)
    return next(map(job_of, found), None)


def drop_piece(session: WriteSession, job_ids: Sequence[int], *, rows_too: bool) -> bool:
    """Delete some batches of these jobs; whether more are left. `rows_too`: also their notices, then the jobs."""
    for table, limit in ((schema.job_batch, _DROPPED_AT_ONCE), (schema.job_notice, _NOTICES_AT_ONCE)):
        ids = sa.select(table.c.id).where(table.c.job_id.in_(job_ids)).limit(limit)
        if session.execute(sa.delete(table).where(table.c.id.in_(ids))).rowcount == limit:
            return True
        if not rows_too:
            return False
    session.execute(sa.delete(schema.job).where(schema.job.c.id.in_(job_ids)))
    return False
