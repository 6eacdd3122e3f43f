"""What a remote model does wrong is blamed on it and not on the documents: jobs wait, and nothing is given up."""

from __future__ import annotations

import pytest

from core.backoff import MAX_ASKED_SECONDS
from core.errors import InvalidInput, RemoteError, RemoteMismatch, RemoteRefused, RemoteUnavailable
from core.records import Document, JobState
from indexer.pipeline import Pipeline
from store import Database
from store.jobs.lease import claim, database_now, postpone, runnable
from tests.indexer.fakes import FakeEncoder, create, enqueue, ids, job, located, pipeline_of
from tests.indexer.working import QUICK, errors, running, worker_of
from tests.waiting import until

REMOTES_FAULTS = [
    RemoteRefused("the remote answered 401", status=401),
    RemoteRefused("the remote answered 404", status=404),
    RemoteMismatch("the remote changed its model"),
]


@pytest.fixture
def database(database: Database) -> Database:
    create(database)
    return database


@pytest.fixture
def encoder() -> FakeEncoder:  # in place of the real one
    return FakeEncoder()


@pytest.mark.parametrize("fault", REMOTES_FAULTS, ids=lambda fault: fault.message)
@pytest.mark.parametrize("count", [1, 300])
def test_a_job_waits_for_a_remote_that_refuses_everything_and_then_stores_everything(
    database: Database, encoder: FakeEncoder, fault: RemoteError, count: int
) -> None:
    well = False

    def fail(texts: list[str]) -> None:
        if not well:
            raise fault

    encoder.before = fail
    enqueue(database, located(count))
    with running(worker_of(database, encoder)):
        until(lambda: encoder.calls > 2 * QUICK.attempts)
        until(lambda: job(database).state is JobState.WAITING)
        waiting = job(database)
        assert (waiting.reason, waiting.pending) == (fault.message, count)
        assert (waiting.failed, waiting.attempts) == (0, 0)
        well = True
        until(lambda: job(database).ended)
    done = job(database)
    assert (done.state, done.created, done.failed, done.reason) == (JobState.DONE, count, 0, None)
    assert len(ids(database)) == count


def test_a_remote_that_refuses_everything_is_asked_once_a_turn(database: Database, encoder: FakeEncoder) -> None:
    """The worker is free for other jobs at once."""

    def fail(texts: list[str]) -> None:
        raise RemoteRefused("the remote answered 403", status=403)

    encoder.before = fail
    enqueue(database, located(128))
    assert worker_of(database, encoder).turn()
    assert encoder.calls == 1


@pytest.mark.parametrize("fault", [RemoteMismatch("vector 0 is not finite", index=0), InvalidInput("answered 400")])
def test_a_fault_of_one_text_costs_its_document_only(
    database: Database, encoder: FakeEncoder, fault: RemoteError | InvalidInput
) -> None:
    def fail(texts: list[str]) -> None:
        if any(text.endswith(" 7") for text in texts):
            raise fault

    encoder.before = fail
    enqueue(database, located(20))
    done = worker_of(database, encoder).finish(1)
    assert (done.state, done.created, done.failed) == (JobState.DONE, 19, 1)
    assert errors(database) == {"d7": ("model_error", 8)}


@pytest.mark.parametrize("fault", REMOTES_FAULTS, ids=lambda fault: fault.message)
@pytest.mark.parametrize("count", [1, 3])
def test_whoever_adds_documents_is_told_of_the_remotes_fault(
    database: Database, encoder: FakeEncoder, fault: RemoteError, count: int
) -> None:
    def fail(texts: list[str]) -> None:
        raise fault

    encoder.before = fail
    pipeline: Pipeline = pipeline_of(database, encoder)
    with pytest.raises(type(fault), match=fault.message):
        pipeline.add("c", [Document(id=f"d{number}", text=f"text {number}") for number in range(count)])
    assert ids(database) == []


def test_nobody_is_believed_who_asks_to_wait_for_longer_than_five_minutes() -> None:
    assert RemoteUnavailable(retry_after=1e25).retry_after == MAX_ASKED_SECONDS
    assert RemoteUnavailable(retry_after=7.0).retry_after == 7.0
    assert RemoteUnavailable().retry_after is None


def test_a_pause_that_is_written_down_is_bounded(database: Database, encoder: FakeEncoder) -> None:
    enqueue(database, located(1))
    with database.write() as session:
        now, fingerprints = database_now(session), {encoder.fingerprint}
        lease = claim(session, "w", seconds=30, fingerprints=fingerprints, now=now)
        assert lease is not None
        postpone(session, lease, reason="later", pause_seconds=1e25, counts=False, now=now)
        assert runnable(session, fingerprints=fingerprints, now=now + MAX_ASKED_SECONDS) == 1
