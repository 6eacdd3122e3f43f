"""Workers as processes: killed, stopped, frozen, several at once. What was sent is there once, whatever happens."""

from __future__ import annotations

import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.records import Document, JobState
from indexer.records import Origin
from store import Database, schema
from store.jobs.crashes import WORKER_LOST
from store.jobs.notices import NoticeKind, job_notices
from tests.indexer.fakes import FakeEncoder, create, enqueue, ids, job, located, pipeline_of, rows
from tests.waiting import stop, until

ROOT = Path(__file__).resolve().parents[2]
LEASE = 0.6


class Processes:
    """Starts workers, and ends those that are left."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *, lease: float = LEASE, batch: float = 0.1) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.indexer.workerprocess", str(self._data_dir), str(lease), str(batch)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        assert said(process) == "ready"
        return process

    def end(self) -> None:
        for process in self._started:
            process.kill()
            process.wait(20)
            assert process.stdout is not None
            process.stdout.close()


def has_said(process: subprocess.Popen[str]) -> bool:
    """Whether a first line is there; looks for a moment."""
    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], 0.1)[0])


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def text_of(database: Database, id: str) -> str:
    with database.read() as session:
        found = session.execute(schema.document.select().where(schema.document.c.external_id == id)).one()
        return str(found.text)


@pytest.fixture
def database(database: Database) -> Database:
    create(database)
    return database


@pytest.fixture
def processes(database: Database) -> Iterator[Processes]:
    made = Processes(database.directory)
    yield made
    made.end()


def test_a_killed_worker_is_replaced_and_nothing_is_lost_or_there_twice(
    database: Database, processes: Processes
) -> None:
    enqueue(database, located(128 * 12))
    chance = random.Random(5)
    for _ in range(3):
        process = processes.start(batch=0.2)
        assert said(process).startswith("at work")
        time.sleep(chance.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    assert not job(database).ended
    processes.start(batch=0.0)
    until(lambda: job(database).ended)
    done = job(database)
    assert (done.state, done.created, done.failed, done.pending) == (JobState.DONE, 128 * 12, 0, 0)
    assert ids(database) == sorted(f"d{number}" for number in range(128 * 12))
    assert rows(database, schema.passage) == 128 * 12


def test_sigterm_finishes_the_batch_and_gives_the_lease_back(database: Database, processes: Processes) -> None:
    enqueue(database, located(300))
    process = processes.start(lease=60, batch=2.0)  # in which the signal comes
    assert said(process).startswith("at work")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    stopped = job(database)
    assert (stopped.state, stopped.worker, stopped.created) == (JobState.QUEUED, None, 128)
    processes.start(lease=60, batch=0.0)
    until(lambda: job(database).ended)
    assert job(database).created == 300


def test_a_worker_that_was_frozen_past_its_lease_commits_nothing(database: Database, processes: Processes) -> None:
    enqueue(database, located(100))
    frozen = processes.start(batch=3.0)  # it is asleep when it is stopped, and holds no lock
    assert said(frozen).startswith("at work")
    stop(frozen)
    processes.start(batch=0.0)
    until(lambda: job(database).ended)
    before = job(database)
    assert before.created == 100
    pipeline_of(database, FakeEncoder()).add("c", [Document(id="d0", text="newer")])
    seq = rows(database, schema.change)
    frozen.send_signal(signal.SIGCONT)
    assert said(frozen).endswith("nothing was written")  # it has tried
    assert frozen.poll() is None
    assert job(database) == before
    assert (rows(database, schema.change), rows(database, schema.passage)) == (seq, 100)
    assert text_of(database, "d0") == "newer"
    enqueue(database, located(50, "later-"))
    until(lambda: job(database, 2).ended)


def test_several_processes_share_the_jobs(database: Database, processes: Processes) -> None:
    first, second = processes.start(batch=0.05), processes.start(batch=0.05)
    count, ends = 0, time.monotonic() + 60
    while count < 8 or not (has_said(first) and has_said(second)):  # one may be long in coming
        assert time.monotonic() < ends
        enqueue(database, located(200, f"{count}-"))
        count += 1
    until(lambda: all(job(database, id).ended for id in range(1, count + 1)))
    assert [job(database, id).created for id in range(1, count + 1)] == [200] * count
    assert len(ids(database)) == rows(database, schema.passage) == 200 * count
    assert said(first).startswith("at work")
    assert said(second).startswith("at work")


def test_a_document_that_kills_every_worker_costs_itself_only(database: Database, processes: Processes) -> None:
    documents = [Document(id=f"d{n}", text="fatal" if n == 2 else f"text {n}") for n in range(4)]
    enqueue(database, [(Origin(path="body", line=n + 1), document) for n, document in enumerate(documents)])
    for _ in range(14):
        process = processes.start(lease=0.5, batch=0.0)
        until(lambda process=process: job(database).ended or process.poll() is not None)  # type: ignore[misc]
        if job(database).ended:
            break
    done = job(database)
    assert (done.state, done.created, done.failed) == (JobState.DONE, 3, 1)
    with database.read() as session:
        (error,) = job_notices(session, 1, NoticeKind.ERROR, limit=9)
    assert (error.document_id, error.code, error.line) == ("d2", WORKER_LOST, 3)
