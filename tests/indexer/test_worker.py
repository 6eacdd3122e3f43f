"""Workers in threads, over a real database; the encoder is a fake one whose failures are arranged."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from core.context import Awaited, awaited
from core.errors import StorageBusy
from core.records import Document, JobState
from indexer import turn as turn_module
from indexer.records import Origin
from indexer.worker import JobPolicy, Worker
from store import Database, ReadSession, WriteSession, schema
from store.catalog import delete_collection
from store.clock import database_now
from store.jobs import cancel_job
from store.jobs.lease import Lease, claim
from store.jobs.retry import retry_job
from store.jobs.work import complete
from tests.indexer.fakes import FakeEncoder, create, enqueue, ids, job, located, pipeline_of, rows, slow
from tests.indexer.working import errors, running, worker_of
from tests.waiting import until


@pytest.fixture
def database(database: Database) -> Database:
    create(database)
    return database


@pytest.fixture
def encoder() -> FakeEncoder:  # in place of the real one
    return FakeEncoder()


def test_a_job_is_worked_to_its_end(database: Database, encoder: FakeEncoder) -> None:
    enqueue(database, located(300))
    done = worker_of(database, encoder).finish(1)
    assert (done.state, done.created, done.passages, done.pending, done.worker) == (JobState.DONE, 300, 300, 0, None)
    assert done.rate is not None
    assert len(ids(database)) == 300
    assert rows(database, schema.job_batch) == 0
    again = enqueue(database, located(300))
    assert worker_of(database, encoder).finish(again.id).unchanged == 300


def test_a_look_into_an_empty_queue_is_one_read(
    database: Database, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[None] = []

    @contextmanager
    def read() -> Iterator[ReadSession]:
        reads.append(None)
        with original() as session:
            yield session

    original = database.read
    monkeypatch.setattr(database, "read", read)
    assert not worker_of(database, encoder).turn()
    assert len(reads) == 1


def test_who_is_overtaken_takes_the_next_job_and_looks_at_one_under_the_lock(
    database: Database, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = enqueue(database, located(1)), enqueue(database, located(2))
    asked: list[int | None] = []

    def overtaken(session: WriteSession, worker: str, **options: Any) -> Lease | None:
        asked.append(options["job_id"])
        if len(asked) == 1:
            assert claim(session, "another", **options) is not None
        return claim(session, worker, **options)

    monkeypatch.setattr("indexer.worker.claim", overtaken)
    assert worker_of(database, encoder).turn()
    assert asked == [first.id, second.id]
    assert (job(database, first.id).worker, job(database, second.id).state) == ("another", JobState.DONE)


def test_a_poison_document_costs_itself_only_and_can_be_tried_again(database: Database, encoder: FakeEncoder) -> None:
    def fail(texts: list[str]) -> None:
        if any(text.endswith((" 7", " 150")) for text in texts):
            raise RuntimeError("no kernel for this text")

    encoder.before = fail
    enqueue(database, located(200))
    done = worker_of(database, encoder).finish(1)
    assert (done.state, done.created, done.failed) == (JobState.DONE, 198, 2)
    assert errors(database) == {"d7": ("model_error", 8), "d150": ("model_error", 151)}
    encoder.before = lambda texts: None
    retry_job(database, 1)
    done = worker_of(database, encoder).finish(1)
    assert (done.state, done.created, done.failed) == (JobState.DONE, 200, 0)
    assert len(ids(database)) == 200


def test_pauses_grow_with_full_jitter() -> None:
    worker: Any = Worker.__new__(Worker)
    worker._policy = JobPolicy(backoff_seconds=1, longest_pause_seconds=60)
    for failure, longest in ((1, 1), (2, 2), (5, 16), (7, 60), (500, 60)):
        pauses = [worker._pause(failure) for _ in range(400)]
        assert 0 <= min(pauses) < longest * 0.1
        assert longest * 0.9 < max(pauses) <= longest


def test_a_fault_of_ours_is_logged_and_written_down_without_the_text(
    database: Database, encoder: FakeEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(texts: list[str]) -> None:
        raise KeyError("bug")

    encoder.before = fail
    enqueue(database, located(3, text="secret"))
    with caplog.at_level(logging.INFO):
        failed = worker_of(database, encoder).finish(1)
    assert (failed.state, failed.reason) == (JobState.FAILED, "an unexpected failure (KeyError); see the log")
    assert any(record.exc_info for record in caplog.records)
    assert "secret" not in caplog.text


def test_cancel_in_the_middle_of_a_batch(database: Database, encoder: FakeEncoder) -> None:
    at_work, go_on = threading.Event(), threading.Event()

    def wait(texts: list[str]) -> None:
        at_work.set()
        assert go_on.wait(20)

    encoder.before = wait
    enqueue(database, located(300))
    with running(worker_of(database, encoder)):
        assert at_work.wait(20)
        with database.write() as session:
            cancel_job(session, 1, now=database_now(session))
        go_on.set()
        until(lambda: rows(database, schema.job_batch) == 0)
    assert job(database).state is JobState.CANCELLED
    assert ids(database) == []


def test_the_collection_is_deleted_in_the_middle_of_a_batch(database: Database, encoder: FakeEncoder) -> None:
    def delete(texts: list[str]) -> None:
        with database.write() as session:
            delete_collection(session, "c")
        create(database)  # another of this name gets nothing of it

    encoder.before = delete
    enqueue(database, located(300))
    with running(worker_of(database, encoder)):
        until(lambda: rows(database, schema.job_batch) == 0)
    failed = job(database)
    assert (failed.state, failed.reason) == (JobState.FAILED, "the collection 'c' was deleted")
    assert ids(database) == []


def test_of_the_same_id_twice_the_last_wins(database: Database, encoder: FakeEncoder) -> None:
    def twice() -> Iterator[tuple[Origin, Document]]:
        for number in (*range(200), 3, 199):
            yield Origin(path="body", line=number + 1), Document(id=f"d{number}", text=f"text {number}")
        yield Origin(path="body", line=999), Document(id="d0", text="the last")

    enqueue(database, twice())
    done = worker_of(database, encoder).finish(1)
    assert (done.duplicates, len(ids(database))) == (3, 200)
    with database.read() as session:
        found = session.execute(schema.document.select().where(schema.document.c.external_id == "d0")).one()
    assert found.text == "the last"


def test_two_workers_do_each_document_once(database: Database, encoder: FakeEncoder) -> None:
    encoder.before = slow(0.005)
    for number in range(6):
        enqueue(database, located(300, f"{number}-"))
    workers = [worker_of(database, encoder), worker_of(database, encoder)]
    with running(*workers):
        until(lambda: all(job(database, id).ended for id in range(1, 7)))
    assert [job(database, id).created for id in range(1, 7)] == [300] * 6
    assert len(ids(database)) == len(set(ids(database))) == 1800


def test_small_jobs_and_single_documents_do_not_wait_for_a_large_one(database: Database, encoder: FakeEncoder) -> None:
    encoder.before = slow(0.02)
    enqueue(database, located(128 * 40, "large-"))
    with running(worker_of(database, encoder)):
        until(lambda: job(database).created > 0)
        small = enqueue(database, located(3, "small-"))
        began = job(database).created
        pipeline_of(database, FakeEncoder()).add("c", [Document(id="single", text="by a person")])
        assert "single" in ids(database)
        until(lambda: job(database, small.id).ended)
        large = job(database)
    assert not large.ended
    assert large.created - began <= 128 * 6, "a few batches, not all of them"


def test_a_job_that_nobody_waits_for_any_more_is_left_to_others(database: Database, encoder: FakeEncoder) -> None:
    answer = Awaited()
    encoder.before = lambda texts: answer.give_up()
    enqueue(database, located(300))
    with awaited(answer):
        left = worker_of(database, encoder).finish(1)
    assert (left.state, left.worker, left.created) == (JobState.QUEUED, None, 128)
    with database.write() as session:
        taken = claim(session, "o", seconds=9.0, fingerprints=[encoder.fingerprint], now=database_now(session))
    assert taken is not None
    with awaited(answer):
        assert worker_of(database, encoder).finish(1).worker == "o"


def test_stop_finishes_the_batch_and_gives_the_lease_back(database: Database, encoder: FakeEncoder) -> None:
    at_work, stopping = threading.Event(), threading.Event()

    def wait(texts: list[str]) -> None:
        at_work.set()
        assert stopping.wait(20)

    encoder.before = wait
    enqueue(database, located(300))
    worker = worker_of(database, encoder)
    with running(worker):
        assert at_work.wait(20)
        worker.stop()
        stopping.set()
    stopped = job(database)
    assert (stopped.state, stopped.worker, stopped.created, stopped.pending) == (JobState.QUEUED, None, 128, 172)
    assert worker_of(database, encoder).finish(1).created == 300


def test_signs_of_life_keep_the_lease_through_a_long_batch(database: Database, encoder: FakeEncoder) -> None:
    encoder.before = slow(3.0)
    enqueue(database, located(3))
    policy = JobPolicy(lease_seconds=1.5, poll_seconds=0.01)
    others = FakeEncoder()
    with running(worker_of(database, encoder, policy), worker_of(database, others, policy)):
        until(lambda: job(database).ended)
    assert sorted((encoder.calls, others.calls)) in ([0, 1], [0, 1])
    assert job(database).created == 3


def test_documents_and_the_note_that_they_are_done_are_one_transaction(
    database: Database, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any, **options: Any) -> None:
        complete(*given, **options)
        raise OSError("at the last moment")

    enqueue(database, located(200))
    monkeypatch.setattr(turn_module, "complete", fail)
    assert worker_of(database, encoder).turn()
    assert ids(database) == []
    assert (job(database).created, job(database).pending, rows(database, schema.job_batch)) == (0, 200, 2)
    monkeypatch.setattr(turn_module, "complete", complete)
    assert worker_of(database, encoder).finish(1).created == 200


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_clock_that_jumps_stops_nothing(database: Database, encoder: FakeEncoder, jump: float) -> None:
    """A worker died with a lease; then the clock was changed, and jumps once more in the middle of the work."""
    enqueue(database, located(300))
    with database.write() as session:
        claim(session, "dead", seconds=30, fingerprints=[FakeEncoder.fingerprint], now=database_now(session))
    offset = jump

    def clock(session: ReadSession) -> float:
        return database_now(session) + offset

    def change(texts: list[str]) -> None:
        nonlocal offset
        offset = -jump

    encoder.before = change
    with running(worker_of(database, encoder, clock=clock), worker_of(database, encoder, clock=clock)):
        until(lambda: job(database).ended)
    assert (job(database).state, job(database).created, len(ids(database))) == (JobState.DONE, 300, 300)


def test_run_goes_on_when_the_database_can_be_used_again(
    database: Database, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    worker = worker_of(database, encoder)
    turn, failures = worker.turn, [StorageBusy("locked"), RuntimeError("a bug"), StorageBusy("locked")]

    def busy() -> bool:
        if failures:
            raise failures.pop()
        return turn()

    monkeypatch.setattr(worker, "turn", busy)
    enqueue(database, located(3))
    with running(worker):
        until(lambda: job(database).ended)
    assert caplog.text.count("the queue cannot be served: locked") == 2
    assert caplog.text.count("the queue cannot be served: RuntimeError\nTraceback") == 1


def test_finish_follows_the_worker_that_has_the_job(database: Database, encoder: FakeEncoder) -> None:
    encoder.before = slow(0.05)
    enqueue(database, located(500))
    idle = FakeEncoder()
    seen: list[int] = []
    with running(worker_of(database, encoder, JobPolicy(turn_seconds=60, poll_seconds=0.01))):
        until(lambda: job(database).created > 0)
        done = worker_of(database, idle).finish(1, on_progress=lambda now, passages: seen.append(now.created))
    assert (done.created, idle.calls) == (500, 0)
    assert seen == sorted(seen)
    assert seen[-1] == 500
