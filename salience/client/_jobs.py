"""Calls for jobs: list, show, cancel, retry, and wait for one."""

from __future__ import annotations

import json
from collections.abc import Callable

from salience.client._attempts import Retries, Steps
from salience.client._calls import Answer, Call, path_of, reading
from salience.client._reading import read_as
from salience.client._watching import watched
from salience.client.errors import JobUnfinished, UnexpectedAnswer
from salience.client.results import Job, JobPage, JobState, RecordFailure


def list_jobs(
    *,
    collection: str | None = None,
    state: JobState | None = None,
    limit: int | None = None,
    before: int | None = None,
) -> Call[JobPage]:
    """One page of jobs, the newest first. `iter_jobs` iterates over all."""
    params = {"collection": collection, "state": state, "limit": limit, "before": before}
    return Call(method="GET", path="/v1/jobs", params=params, read=reading(JobPage))


def get_job(id: int) -> Call[Job]:
    """A job: its state, its progress, and its first errors."""
    return Call(method="GET", path=path_of("v1", "jobs", id), read=reading(Job))


def job_errors(id: int) -> Call[tuple[RecordFailure, ...]]:
    """All documents and lines of a job that could not be used."""
    return Call(method="GET", path=path_of("v1", "jobs", id, "errors"), read=_failures)


def cancel_job(id: int) -> Call[Job]:
    """Cancel a job at once. Documents that were committed stay."""
    return Call(method="POST", path=path_of("v1", "jobs", id, "cancel"), read=reading(Job), repeatable=False)


def retry_job(id: int) -> Call[Job]:
    """Put a job's failed documents back into the queue."""
    return Call(method="POST", path=path_of("v1", "jobs", id, "retry"), read=reading(Job), repeatable=False)


def until_ended(
    id: int, *, seconds: float | None, progress: Callable[[Job], object] | None, retries: Retries
) -> Steps[Job]:
    """Poll a job until it has ended. Raises JobUnfinished unless it is done within `seconds`."""
    job = yield from watched(get_job(id), lambda seen: seen.ended, seconds=seconds, progress=progress, retries=retries)
    if job.state != "done":
        what = "did not come to its end" if job.ended else f"has not ended in {seconds:g} seconds"
        reason = f": {job.reason}" if job.reason else ""
        raise JobUnfinished(f"job {job.id} {what}; it is {job.state}{reason}", id=job.id, state=job.state)
    return job


def _failures(answer: Answer) -> tuple[RecordFailure, ...]:
    try:
        return tuple(read_as(RecordFailure, json.loads(line)) for line in answer.content.splitlines())
    except ValueError as error:
        raise UnexpectedAnswer(f"the errors are not of the documented form: {error}") from error
