"""salience jobs: lists, shows, cancels and retries jobs, and prints their errors."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from app.cli.options import DataDir, Json, open_existing
from app.cli.terminal import note, out, plain, print_json, table
from app.schemas.jobs import JobBody, JobDetail, error_lines
from core.errors import InvalidInput
from core.records import JobState
from store.clock import database_now
from store.jobs import cancel_job, get_job, list_jobs
from store.jobs.retry import retry_job
from store.jobs.sweep import sweep

app = typer.Typer(help="List, show, cancel and retry jobs.", no_args_is_help=True, add_completion=False)
JobId = Annotated[int, typer.Argument(help="The job's number.", metavar="JOB")]
_SHOWN_STATES = [state.value for state in JobState if state is not JobState.RECEIVING]


@app.command("list")
def list_all(
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", help="Only those of this collection.", show_default=False)
    ] = None,
    state: Annotated[
        str | None, typer.Option(help=f"Only those in this state: {', '.join(_SHOWN_STATES)}.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many at most.", min=1, max=10_000)] = 20,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """The newest jobs."""
    if state is not None and state not in _SHOWN_STATES:
        raise InvalidInput(f"--state {state!r}: must be one of {', '.join(_SHOWN_STATES)}", param="state")
    wanted = None if state is None else JobState(state)
    with open_existing(data_dir) as parts, parts.database.read() as session:
        bodies = [JobBody.of(job) for job in list_jobs(session, limit=limit, collection=collection, state=wanted)]
    if as_json:
        print_json([body.model_dump(mode="json") for body in bodies])
        return
    if not bodies:
        note("there are no such jobs")
        return
    counted = ("done", "of", "failed", "time left")
    rows = table("job", "collection", "state", *counted, "began", numbers=("job", *counted))
    for body in bodies:
        done, left = body.total - body.pending - body.failed, _duration(body.seconds_left)
        numbers = (f"{done:,}", f"{body.total:,}", f"{body.failed:,}")
        rows.add_row(str(body.id), body.collection, body.state, *numbers, left, body.created_at[:19])
    out.print(rows)


@app.command()
def show(job: JobId, as_json: Json = False, data_dir: DataDir = None) -> None:
    """One job: how far it is, why it waits, its first errors."""
    with open_existing(data_dir) as parts, parts.database.read() as session:
        body = JobDetail.told(session, get_job(session, job))
    if as_json:
        print_json(body.model_dump(mode="json"))
        return
    for key, value in body.model_dump(exclude={"errors"}).items():
        out.print(f"{key:16} {'' if value is None else plain(str(value))}")
    for error in body.errors:
        place = ", ".join([error.path or "", *([f"line {error.line}"] if error.line else [])]).strip(", ")
        out.print(plain(f"  {place} {error.id or ''}: {error.reason}"))


@app.command()
def errors(job: JobId, data_dir: DataDir = None) -> None:
    """Every error of a job, as NDJSON on standard output."""
    with open_existing(data_dir) as parts:
        with parts.database.read() as session:
            get_job(session, job)
        for line in error_lines(parts.database, job):
            sys.stdout.write(line)


@app.command()
def cancel(job: JobId, data_dir: DataDir = None) -> None:
    """End a job. What was committed stays; what waits is dropped."""
    with open_existing(data_dir) as parts:
        with parts.database.write() as session:
            now = database_now(session)
            ended = cancel_job(session, job, now=now)
        while sweep(parts.database, now=now):
            pass
    typer.echo(f"cancelled job {ended.id}; {ended.pending:,} documents were dropped")


@app.command()
def retry(job: JobId, data_dir: DataDir = None) -> None:
    """Put a job's failed documents back into the queue, for salience worker or a running server."""
    with open_existing(data_dir) as parts:
        queued = retry_job(parts.database, job)
    typer.echo(f"job {queued.id}: {queued.pending:,} documents wait")


def _duration(seconds: float | None) -> str:
    """Hours, minutes and seconds, as in "1:02:03"; empty if unknown."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
