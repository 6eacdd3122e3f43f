"""The JSON of jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field

from app.schemas.base import ResponseModel, printable, time_text
from app.schemas.documents import RecordFailure, WriteReport
from core.records import Job
from store.database import Database, ReadSession
from store.jobs.notices import MAX_LISTED, JobNotice, NoticeKind, job_notices

State = Literal["queued", "running", "waiting", "done", "failed", "cancelled"]
FIRST_ERRORS = 20
_PAGE = 1000  # errors read per transaction


class JobBody(ResponseModel):
    id: int = Field(description="number of the job")
    collection: str = Field(description="name when the job was made")
    state: State = Field(
        description="waiting: a try failed, the next one comes by itself; running: also where its worker was killed, "
        "until another worker takes it; failed: given up"
    )
    reason: str | None = Field(description="why it waits, or failed")
    created_at: str = Field(description="ISO 8601, in UTC")
    ended_at: str | None = Field(description="ISO 8601, in UTC; null: it has not ended")
    total: int = Field(description="documents, and lines that could not be read as one")
    pending: int = Field(description="documents that wait; of a cancelled job, those that were left out")
    failed: int = Field(description="documents and lines that could not be used; see errors")
    created: int = Field(description="documents that were new")
    replaced: int = Field(description="documents whose content changed: they have new passages")
    updated: int = Field(description="only metadata changed; nothing was embedded")
    unchanged: int = Field(description="documents that were there already, word for word")
    duplicates: int = Field(description="ids that were sent more than once: the last that can be stored counts")
    truncated: int = Field(description="documents of which the model did not read all")
    passages: int = Field(description="passages that had to be embedded")
    tokens: int = Field(description="tokens that the model read")
    seq: int = Field(description="a search that says this seq or a higher one has seen all that was committed")
    rate: float | None = Field(description="documents a second while it is worked on; null: not known yet")
    seconds_left: float | None = Field(description="at that rate, if no other job takes turns; null: not known")
    attempts: int = Field(description="failures since the last success")
    worker: str | None = Field(
        description="who works on it: host, process, and a number; null: nobody, or not for this key to know"
    )

    @classmethod
    def of(cls, job: Job) -> Self:
        rate, left = job.rate, job.seconds_left
        return cls(
            id=job.id,
            collection=job.collection,
            state=job.state.value,
            reason=job.reason and printable(job.reason),
            created_at=time_text(job.created_at, "milliseconds"),
            ended_at=None if job.ended_at is None else time_text(job.ended_at, "milliseconds"),
            total=job.total,
            pending=job.pending,
            failed=job.failed,
            created=job.created,
            replaced=job.replaced,
            updated=job.updated,
            unchanged=job.unchanged,
            duplicates=job.duplicates,
            truncated=job.truncated,
            passages=job.passages,
            tokens=job.tokens,
            seq=job.seq,
            rate=None if rate is None else round(rate, 2),
            seconds_left=None if left is None else round(left, 1),
            attempts=job.attempts,
            worker=job.worker,
        )


class JobDetail(JobBody):
    errors: list[RecordFailure] = Field(description=f"the first {FIRST_ERRORS}; /errors has all")

    @classmethod
    def told(cls, session: ReadSession, job: Job) -> Self:
        errors = job_notices(session, job.id, NoticeKind.ERROR, limit=FIRST_ERRORS)
        return cls(**JobBody.of(job).model_dump(), errors=[failure(error) for error in errors])


class JobList(ResponseModel):
    jobs: list[JobBody] = Field(description="the newest first")
    next: int | None = Field(description="pass it as `before` for the next page; null: this is the last one")


def failure(notice: JobNotice) -> RecordFailure:
    return RecordFailure(
        code=notice.code or "error",
        reason=printable(notice.reason or ""),
        id=notice.document_id,
        path=notice.path,
        line=notice.line,
    )


def write_report(session: ReadSession, job: Job) -> WriteReport:
    """The outcome of a job's documents, in the form in which requests that add a few documents are answered."""
    listed = {kind: job_notices(session, job.id, kind, limit=MAX_LISTED) for kind in NoticeKind}
    return WriteReport(
        seq=job.seq,
        created=job.created,
        replaced=job.replaced,
        updated=job.updated,
        unchanged=job.unchanged,
        failed=job.failed,
        errors=[failure(error) for error in listed[NoticeKind.ERROR]],
        truncated=[notice.document_id or "" for notice in listed[NoticeKind.TRUNCATED]],
        truncated_count=job.truncated,
        duplicates=[notice.document_id or "" for notice in listed[NoticeKind.DUPLICATE]],
        duplicate_count=job.duplicates,
        passages=job.passages,
        tokens=job.tokens,
    )


def error_lines(database: Database, job_id: int) -> Iterator[str]:
    """A line of JSON for each error. Errors are read in pages, so that no transaction stays open for a slow reader."""
    after = 0
    while True:
        with database.read() as session:
            page = job_notices(session, job_id, NoticeKind.ERROR, limit=_PAGE, after=after)
        for notice in page:
            yield json.dumps(failure(notice).model_dump(), ensure_ascii=False) + "\n"
        if len(page) < _PAGE:
            return
        after = page[-1].id
