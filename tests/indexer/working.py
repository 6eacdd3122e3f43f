"""Workers in threads, with short times."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from indexer.worker import JobPolicy, Worker
from store import Database, ReadSession
from store.clock import database_now
from store.jobs.notices import NoticeKind, job_notices
from tests.indexer.fakes import FakeEncoder, pipeline_of

QUICK = JobPolicy(
    lease_seconds=2.0, attempts=3, backoff_seconds=0.02, longest_pause_seconds=0.1, turn_seconds=0.0, poll_seconds=0.01
)


def worker_of(
    database: Database,
    encoder: FakeEncoder,
    policy: JobPolicy = QUICK,
    clock: Callable[[ReadSession], float] = database_now,
) -> Worker:
    return Worker(database, pipeline_of(database, encoder), policy, clock=clock)


@contextmanager
def running(*workers: Worker) -> Iterator[None]:
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.stop()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()


def errors(database: Database, job_id: int = 1) -> dict[str | None, tuple[str | None, int | None]]:
    """Code and line of each error, by document."""
    with database.read() as session:
        found = job_notices(session, job_id, NoticeKind.ERROR, limit=9999)
        return {error.document_id: (error.code, error.line) for error in found}
