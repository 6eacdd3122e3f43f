"""What a worker does where a model fails, or is not here."""

from __future__ import annotations

from typing import Any, cast

import pytest

from core.errors import ModelMismatch, ModelNotFound, ModelUnavailable, RemoteUnavailable, SalienceError
from core.protocols import SparseEncoder
from core.records import CollectionSettings, JobState, SparseScoring
from store import Database
from store.clock import database_now
from store.jobs.retry import retry_job
from tests.collections import create_for
from tests.indexer.fakes import FakeEncoder, create, enqueue, job, located
from tests.indexer.working import QUICK, errors, running, worker_of
from tests.waiting import until


@pytest.fixture
def database(database: Database) -> Database:
    create(database)
    return database


class FakeSparse:
    """As much of a sparse model as a collection is made of."""

    name = "splade"
    fingerprint = "fingerprint-of-the-fake-weights"


@pytest.fixture
def encoder() -> FakeEncoder:  # in place of the real one
    return FakeEncoder()


def test_a_remote_model_that_is_down_makes_the_job_wait_and_nothing_else(
    database: Database, encoder: FakeEncoder
) -> None:
    down = True

    def fail(texts: list[str]) -> None:
        if down:
            raise RemoteUnavailable("the remote model at example.org cannot be reached", retry_after=0.05)

    encoder.before = fail
    enqueue(database, located(3))
    with running(worker_of(database, encoder)):
        until(lambda: encoder.calls > 2 * QUICK.attempts)
        waiting = job(database)
        assert waiting.state is JobState.WAITING
        assert waiting.reason == "the remote model at example.org cannot be reached"
        assert (waiting.pending, waiting.failed, waiting.attempts) == (3, 0, 0)
        down = False
        until(lambda: job(database).ended)
    done = job(database)
    assert (done.state, done.created, done.failed, done.reason) == (JobState.DONE, 3, 0, None)
    assert errors(database) == {}


def test_the_pause_after_a_remote_failure_is_as_long_as_it_asks_for(database: Database, encoder: FakeEncoder) -> None:
    def fail(texts: list[str]) -> None:
        raise RemoteUnavailable(retry_after=40)

    encoder.before = fail
    enqueue(database, located(3))
    worker = worker_of(database, encoder)
    assert worker.turn()
    assert not worker.turn()
    later = worker_of(database, encoder, clock=lambda session: database_now(session) + 41)
    assert later.turn()


def test_a_model_that_cannot_be_loaded_is_waited_for_and_its_files_are_in_the_log_alone(
    database: Database, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ModelUnavailable("model m cannot be loaded", detail="/models/m is not a folder")

    enqueue(database, located(3))
    monkeypatch.setattr("indexer.worker.Turn.run", fail)
    assert worker_of(database, encoder).turn()
    waiting = job(database)
    assert (waiting.state, waiting.attempts, waiting.reason) == (JobState.WAITING, 0, "model m cannot be loaded")
    assert "/models/m is not a folder" in caplog.text


def test_a_model_that_fails_on_everything_ends_the_job_and_nothing_is_lost(
    database: Database, encoder: FakeEncoder
) -> None:
    def fail(texts: list[str]) -> None:
        raise ValueError("the key is wrong")

    encoder.before = fail
    enqueue(database, located(3))
    failed = worker_of(database, encoder).finish(1)
    assert (failed.state, failed.attempts, failed.pending, failed.failed) == (JobState.FAILED, QUICK.attempts, 3, 0)
    assert "fails on every document of a batch" in (failed.reason or "")
    encoder.before = lambda texts: None
    retry_job(database, 1)
    assert worker_of(database, encoder).finish(1).created == 3


def test_jobs_whose_sparse_model_is_elsewhere_are_left_to_another_worker(
    database: Database, encoder: FakeEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    settings = CollectionSettings(language="en", sparse=SparseScoring.LEARNED)
    create_for(encoder, database, "learned", settings, sparse=cast("SparseEncoder", FakeSparse()))
    enqueue(database, located(3), "learned")
    enqueue(database, located(3))
    worker = worker_of(database, encoder)
    worker.drain()
    left = job(database)
    assert (left.state, left.attempts, left.pending) == (JobState.QUEUED, 0, 3)
    assert job(database, 2).state is JobState.DONE
    assert "jobs of the collection learned wait for another worker" in caplog.text


@pytest.mark.parametrize("error", [ModelNotFound, ModelMismatch])
def test_a_model_that_goes_under_the_workers_hands_uses_up_no_attempt(
    database: Database, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch, error: type[SalienceError]
) -> None:
    tries = 0

    def gone(*given: Any) -> None:
        nonlocal tries
        tries += 1
        raise error("it was here a moment ago")

    enqueue(database, located(3))
    worker = worker_of(database, encoder)
    monkeypatch.setattr(worker._pipeline, "ingest", gone)
    with running(worker):
        until(lambda: tries > 2 * QUICK.attempts)
    waiting = job(database)
    assert (waiting.state, waiting.attempts, waiting.pending) == (JobState.WAITING, 0, 3)
    assert waiting.reason == "it was here a moment ago"
