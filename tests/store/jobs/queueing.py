"""Jobs to queue and to work on, at moments that the test chooses."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from core.records import Collection, Document, Job
from store import Database, WriteSession, schema
from store.batch import Receipt
from store.jobs import get_job
from store.jobs.intake import Intake, append, begin, finish
from store.jobs.lease import Lease, claim
from store.jobs.payload import QueuedDocument, pack
from store.jobs.sweep import sweep
from store.jobs.work import BatchOutcome, JobBatch, complete, next_batch
from tests.store.library import FINGERPRINT

NOW = 1_800_000_000.0
LEASE = 30.0


def queue(database: Database, collection: Collection, *sizes: int, key: str | None = None, digest: bytes = b"x") -> Job:
    """A job of batches of these sizes."""
    items = [item(number) for number in range(sum(sizes))]
    batches, start = [], 0
    for size in sizes:
        batches.append((size, pack(items[start : start + size])))
        start += size
    with database.write() as session:
        lease = begin(session, collection, "receiver", seconds=LEASE, key=key, now=NOW)
        append(session, lease, Intake(read=sum(sizes), batches=batches), now=NOW)
        return finish(session, lease, digest=digest, now=NOW)


def item(number: int) -> QueuedDocument:
    return QueuedDocument(document=Document(id=f"d{number}", text=f"text {number}"), path="body", line=number + 1)


def taken(database: Database, now: float = NOW, worker: str = "w") -> Lease:
    lease = take(database, now, worker)
    assert lease is not None
    return lease


def take(database: Database, now: float = NOW, worker: str = "w", job_id: int | None = None) -> Lease | None:
    with database.write() as session:
        return claim(session, worker, seconds=LEASE, fingerprints=[FINGERPRINT], now=now, job_id=job_id)


def taken_in(session: WriteSession) -> Lease:
    lease = claim(session, "w", seconds=LEASE, fingerprints=[FINGERPRINT], now=NOW)
    assert lease is not None
    return lease


def work(database: Database, lease: Lease, *failures: tuple[str | None, str, str], now: float = NOW) -> Job:
    batch = batch_of(database, lease)
    assert batch is not None
    with database.write() as session:
        return complete(session, lease, batch, outcome(batch, *failures), now=now)


def batch_of(database: Database, lease: Lease) -> JobBatch | None:
    with database.read() as session:
        return next_batch(session, lease)


def outcome(batch: JobBatch, *failures: tuple[str | None, str, str], truncated: Sequence[str] = ()) -> BatchOutcome:
    created = len(batch.documents) - len(failures)
    receipt = Receipt(seq=7, created=created, replaced=0, updated=0, unchanged=0, deleted=0)
    return BatchOutcome(
        receipt=receipt, failures=failures, truncated=truncated, passages=created, tokens=created, seconds=0.5
    )


def job(database: Database, id: int = 1) -> Job:
    with database.read() as session:
        return get_job(session, id)


def batches(database: Database) -> list[tuple[int, int, int]]:
    """(number, documents, crashes) of all batches."""
    columns = schema.job_batch.c
    with database.read() as session:
        rows = session.execute(sa.select(columns.number, columns.documents, columns.crashes).order_by(columns.number))
        return [(row.number, row.documents, row.crashes) for row in rows]


def swept(database: Database, now: float = NOW) -> None:
    for _ in range(200):
        if not sweep(database, now=now):
            return
    raise AssertionError("the sweep never ends")
