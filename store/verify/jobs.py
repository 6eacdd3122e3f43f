"""Verify jobs: waiting documents can be read, and the counts are those of the stored rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from core.records import JobState
from store import schema
from store.checksum import covered_columns, row_checksum
from store.jobs.crashes import LAST_CRASHES
from store.jobs.notices import MAX_LISTED, NoticeKind
from store.jobs.payload import unpack
from store.verify.reading import Finding, Reading


class _Job(NamedTuple):
    id: int
    collection_id: int | None
    state: str
    total: int
    pending: int
    failed: int
    committed: int
    duplicates: int
    truncated: int


class _Waiting(NamedTuple):
    """Totals over the batches of a job."""

    documents: int
    overlapping: int


def check_jobs(reading: Reading) -> Iterator[Finding]:
    """Check jobs, their waiting batches, and their notices."""
    yield from _batches(reading)
    yield from _notices(reading)
    columns = "id, collection_id, state, total, pending, failed, created + replaced + updated + unchanged, duplicates"
    total = reading.count("job")
    for done, row in enumerate(reading.rows(f"SELECT {columns}, truncated FROM job ORDER BY id"), start=1):
        job = _Job(*row)
        for problem in _problems(reading, job):
            yield Finding(check="jobs", where=f"job {job.id}", problem=problem)
        reading.tick("jobs", done, total)


def is_dropped(state: str, collection_id: int | None) -> bool:
    """Whether a job was given up: its batches and notices are removed in pieces, while its counts stay."""
    return state in (JobState.RECEIVING, JobState.CANCELLED) or collection_id is None


def is_right(count: int, there: int, *, dropped: bool) -> bool:
    """Whether a count of documents in batches, or of notices of one kind, is right. `dropped`: see `is_dropped`."""
    return there == count or (dropped and there < count)


def _problems(reading: Reading, job: _Job) -> Iterator[str]:
    if job.state not in tuple(JobState):
        yield f"its state is {job.state!r}"
    counts = job[3:]
    if min(counts) < 0:
        yield "has a count below 0"
    # Of documents with the same id in one batch only one is committed or fails.
    missing = job.total - job.pending - job.failed - job.committed
    if not 0 <= missing <= job.duplicates:
        yield f"{job.total} documents came, and {missing} of them neither wait, nor failed, nor were committed"
    waiting = _waiting(reading, job.id)
    dropped = is_dropped(job.state, job.collection_id)
    if not is_right(job.pending, waiting.documents, dropped=dropped):
        yield f"{job.pending} documents wait by its count, {waiting.documents} are there"
    if waiting.overlapping:
        yield "its batches overlap"
    noted = dict(reading.rows("SELECT kind, COUNT(*) FROM job_notice WHERE job_id = ? GROUP BY kind", job.id))
    for kind, expected in (
        (NoticeKind.ERROR, job.failed),
        (NoticeKind.DUPLICATE, min(job.duplicates, MAX_LISTED)),
        (NoticeKind.TRUNCATED, min(job.truncated, MAX_LISTED)),
    ):
        listed = noted.get(kind.value, 0)
        if not is_right(expected, listed, dropped=dropped):
            yield f"lists {listed} notices of kind {kind.value}; by its counts there are {expected}"


def _waiting(reading: Reading, job_id: int) -> _Waiting:
    documents = overlapping = end = 0
    batches = reading.rows("SELECT number, documents FROM job_batch WHERE job_id = ? ORDER BY number", job_id)
    for number, count in batches:
        overlapping += number < end
        end = number + count
        documents += count
    return _Waiting(documents=documents, overlapping=overlapping)


def _batches(reading: Reading) -> Iterator[Finding]:
    statement = "SELECT id, job_id, documents, crashes, payload, checksum FROM job_batch ORDER BY id"
    total = reading.count("job_batch")
    for done, row in enumerate(reading.rows(statement), start=1):
        id_, job_id, documents, crashes, payload, checksum = row
        problem = None
        if row_checksum(documents, payload) != checksum:
            problem = "is not what was written"
        elif len(unpack(payload)) != documents:
            problem = f"does not hold {documents} documents"
        elif not 0 <= crashes < LAST_CRASHES:
            problem = f"was given up {crashes} times"
        if problem is not None:
            yield Finding(check="jobs", where=f"batch {id_} of job {job_id}", problem=problem)
        reading.tick("job batches", done, total)


def _notices(reading: Reading) -> Iterator[Finding]:
    covered = covered_columns(schema.job_notice)
    total = reading.count("job_notice")
    rows: Iterator[tuple[Any, ...]] = reading.rows(
        f"SELECT id, job_id, checksum, {', '.join(covered)} FROM job_notice ORDER BY id"
    )
    for done, (id_, job_id, checksum, *columns) in enumerate(rows, start=1):
        if row_checksum(*columns) != checksum:
            yield Finding(check="jobs", where=f"notice {id_} of job {job_id}", problem="is not what was written")
        reading.tick("job notices", done, total)
