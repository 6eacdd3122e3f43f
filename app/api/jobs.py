"""Endpoints for jobs: list, get, errors, cancel, retry."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import StreamingResponse

from app.api.dependencies import Known, Parts
from app.api.serialized import serialized
from app.schemas.jobs import JobBody, JobDetail, JobList, State, error_lines
from core.naming import qualified
from core.records import Job, JobState
from store.clock import database_now
from store.jobs import cancel_job, get_job, list_jobs
from store.jobs.retry import retry_job
from store.schema import MAX_ID

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

JobId = Annotated[int, Path(description="the job's number", examples=[1], ge=1, le=MAX_ID)]


@router.get("", operation_id="list_jobs", summary="List jobs")
@serialized
def list_page(
    parts: Parts,
    caller: Known,
    collection: Annotated[str | None, Query(description="only those of this collection")] = None,
    state: Annotated[State | None, Query(description="only those in this state")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="jobs of one page")] = 100,
    before: Annotated[int | None, Query(ge=1, le=MAX_ID, description="the job behind which to go on")] = None,
) -> JobList:
    """Jobs, the newest first."""
    wanted = None if state is None else JobState(state)
    named = None if collection is None else qualified(caller.rights.tenant, collection)
    with parts.database.read() as session:
        page = list_jobs(session, limit=limit + 1, collection=named, state=wanted, before=before, among=caller.among)
    bodies = [JobBody.of(caller.shown_work(job)) for job in page[:limit]]
    return JobList(jobs=bodies, next=bodies[-1].id if len(page) > limit else None)


@router.get("/{job_id}", operation_id="get_job", summary="Get a job")
def get(parts: Parts, caller: Known, job_id: JobId) -> JobDetail:
    """A job: its state, its progress and its first errors."""
    with parts.database.read() as session:
        return JobDetail.told(session, caller.shown_work(get_job(session, job_id, among=caller.among)))


@router.get(
    "/{job_id}/errors",
    operation_id="get_job_errors",
    summary="Download a job's errors",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
)
def errors(parts: Parts, caller: Known, job_id: JobId) -> StreamingResponse:
    """Every document and line that could not be used, as NDJSON with code, reason, id, path and line."""
    with parts.database.read() as session:
        get_job(session, job_id, among=caller.among)
    name = f"job-{job_id}-errors.ndjson"
    return StreamingResponse(
        error_lines(parts.database, job_id),
        media_type="application/x-ndjson",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@router.post("/{job_id}/cancel", operation_id="cancel_job", summary="Cancel a job")
def cancel(parts: Parts, caller: Known, job_id: JobId) -> JobBody:
    """End a job at once. What was committed stays; what still waits is dropped."""
    with parts.database.write() as session:
        get_job(session, job_id, among=caller.among)
        return JobBody.of(caller.shown_work(cancel_job(session, job_id, now=database_now(session))))


@router.post("/{job_id}/retry", operation_id="retry_job", summary="Try failed documents again")
def retry(parts: Parts, caller: Known, job_id: JobId) -> JobBody:
    """Put a job's failed documents back into the queue. Lines that are not valid documents must be sent again."""
    with parts.database.read() as session:
        get_job(session, job_id, among=caller.among)
    job = retry_job(parts.database, job_id)
    parts.worker.wake()
    return JobBody.of(caller.shown_work(job))


def accepted(job: Job, response: Response) -> JobBody:
    """The answer to a request that made `job`; sets the Location header to its address."""
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return JobBody.of(job)
