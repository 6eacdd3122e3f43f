"""What jobs leave behind goes while there is work, and never holds work up."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from core.errors import StorageError
from core.records import JobState
from indexer import worker as worker_module
from store import Database, schema
from store.clock import database_now
from store.jobs import cancel_job
from tests.indexer.fakes import FakeEncoder, create, enqueue, job, located, slow
from tests.indexer.working import running, worker_of
from tests.waiting import until


def test_what_jobs_leave_behind_goes_while_there_is_always_work(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(database)
    monkeypatch.setattr(worker_module, "SWEEP_SECONDS", 0.0)
    monkeypatch.setattr(worker_module, "LATE_SWEEP_SECONDS", 0.1)
    dropped = enqueue(database, located(128 * 3, "dropped-"))
    with database.write() as session:
        cancel_job(session, dropped.id, now=database_now(session))
    large = enqueue(database, located(128 * 80, "large-"))

    def left() -> int:
        columns = schema.job_batch.c
        with database.read() as session:
            return len(session.execute(sa.select(columns.id).where(columns.job_id == dropped.id)).all())

    assert left() == 3
    with running(worker_of(database, FakeEncoder(slow(0.05)))):
        until(lambda: left() == 0)
        assert not job(database, large.id).ended


def test_what_cannot_be_cleared_away_holds_no_job_up(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    create(database)
    swept: list[float] = []

    def damaged(of: Database, *, now: float) -> bool:
        if of is not database:  # a server that other tests share has a worker in this process, too
            return False
        swept.append(now)
        raise StorageError("a page is damaged")

    monkeypatch.setattr(worker_module, "sweep", damaged)
    jobs = [enqueue(database, located(1, f"{number}-")).id for number in range(5)]
    worker = worker_of(database, FakeEncoder())
    pauses: list[int] = []
    monkeypatch.setattr(worker, "_pause", lambda count: pauses.append(count) or 0.0)
    with running(worker):
        until(lambda: all(job(database, id).state is JobState.DONE for id in jobs))
    assert not pauses
    assert len(swept) == 1, "the next try is a while away"
    assert "cannot be cleared away: a page is damaged" in caplog.text
