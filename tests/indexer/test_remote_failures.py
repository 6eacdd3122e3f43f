"""What a remote model does wrong is blamed on it and not on the documents: jobs wait, and nothing is given up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from core.backoff import MAX_ASKED_SECONDS
from core.errors import InvalidInput, RemoteError, RemoteMismatch, RemoteRefused, RemoteUnavailable
from core.prompts import Prompt
from core.records import Document, Embeddings, JobState, Representation
from indexer.pipeline import Pipeline
from store import Database
from store.clock import database_now
from store.jobs.lease import claim, postpone, runnable
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


@pytest.mark.parametrize("faulty", [{7}, {7, 100}, set(range(1, 128))], ids=len)
def test_a_text_that_the_model_names_is_left_out_without_a_search_for_it(
    database: Database, encoder: FakeEncoder, faulty: set[int]
) -> None:
    wrong, sent = {f"text d {number}" for number in faulty}, []

    def fail(texts: list[str]) -> None:
        sent.append(len(texts))
        for index, text in enumerate(texts):
            with InvalidInput.indexed(index):
                if text in wrong:
                    raise InvalidInput("answered 400")

    encoder.before = fail
    enqueue(database, located(128))
    done = worker_of(database, encoder).finish(1)
    assert (done.state, done.created, done.failed) == (JobState.DONE, 128 - len(faulty), len(faulty))
    assert errors(database) == {f"d{number}": ("model_error", number + 1) for number in faulty}
    assert len(sent) <= 1 + 2 * len(faulty)
    assert sum(sent) < 128 * 7  # of half by half


def test_documents_of_the_text_that_the_model_names_fail_together(database: Database, encoder: FakeEncoder) -> None:
    def fail(texts: list[str]) -> None:
        if "twin" in texts:
            with InvalidInput.indexed(texts.index("twin")):
                raise InvalidInput("answered 400")

    encoder.before = fail
    documents = [
        Document(id=f"d{number}", text="twin" if number in (1, 3) else f"text {number}") for number in range(5)
    ]
    report = pipeline_of(database, encoder).add("c", documents)
    assert ({error.id for error in report.failed}, report.created) == ({"d1", "d3"}, 3)
    assert encoder.calls == 3


@pytest.mark.parametrize("fault", [InvalidInput("answered 400"), ValueError("no kernel")])
def test_progress_never_runs_backwards(database: Database, encoder: FakeEncoder, fault: Exception) -> None:
    told: list[int] = []

    def encode(prompts: Sequence[Prompt], representation: Representation, **options: Any) -> Embeddings:
        made = FakeEncoder.encode(encoder, prompts, representation)
        for _ in prompts:
            options["progress"](1)
        if any(prompt == Prompt.of("text 60") for prompt in prompts):
            raise fault
        return made

    encoder.encode = encode  # type: ignore[method-assign]
    documents = [Document(id=f"d{number}", text=f"text {number}") for number in range(64)]
    report = pipeline_of(database, encoder).add("c", documents, on_progress=lambda said: told.append(said.passages))
    assert report.created == 63
    assert told == sorted(told)


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
