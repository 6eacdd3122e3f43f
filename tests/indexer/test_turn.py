"""A turn works on three batches at once: what is at work beside what, in which order it is stored, and how it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from core.context import current_job
from core.records import Document, Job, JobState
from indexer import turn as turn_module
from indexer.ingest import Ingest, Prepared
from indexer.prefetch import prefetched
from indexer.records import Origin
from indexer.worker import JobPolicy, Worker
from store import Database, schema
from store.clock import database_now
from store.jobs import get_job
from store.jobs.lease import claim
from store.jobs.retry import retry_job
from store.jobs.work import complete
from tests.indexer.fakes import FakeEncoder, create, enqueue, ids, job, located, pipeline_of, slow
from tests.waiting import until

POLICY = JobPolicy(lease_seconds=2.0, turn_seconds=60.0, poll_seconds=0.01)


@pytest.fixture
def database(database: Database) -> Database:
    create(database)
    return database


def worker_of(database: Database, encoder: FakeEncoder) -> Worker:
    return Worker(database, pipeline_of(database, encoder), POLICY)


def test_one_item_is_made_ahead_and_no_more() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(9):
            made.append(number)
            yield number

    with prefetched(items(), "test") as coming:
        for number in range(3):
            assert next(coming) == number
            until(lambda number=number: made == list(range(number + 2)))  # type: ignore[misc]
            time.sleep(0.02)
            assert made == list(range(number + 2))
    assert made == list(range(4))


def test_all_three_steps_know_the_job(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line of the log says which job it is about, in whatever thread it is written."""
    known: dict[str, set[int | None]] = {}

    def noting(name: str, real: Any) -> Any:
        def step(*given: Any, **more: Any) -> Any:
            known.setdefault(name, set()).add(current_job())
            return real(*given, **more)

        return step

    for name in ("prepare", "embed", "store"):
        monkeypatch.setattr(Ingest, name, noting(name, getattr(Ingest, name)))
    for number in (1, 2):
        enqueue(database, located(300, f"{number}-"))
        worker_of(database, FakeEncoder()).drain()
        assert known == {"prepare": {number}, "embed": {number}, "store": {number}}
        known.clear()
    assert current_job() is None


def test_what_making_raises_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the second cannot be made")

    with prefetched(items(), "test") as coming:
        assert next(coming) == 1
        with pytest.raises(ValueError, match="the second"):
            next(coming)


def test_a_batch_is_embedded_while_the_one_before_it_is_stored(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding, storing = threading.Event(), threading.Event()
    encoder = FakeEncoder()

    def embed(texts: list[str]) -> None:
        if encoder.calls == 2:
            embedding.set()
            assert storing.wait(20), "the second batch is embedded only when the first is stored"

    def store(*given: object, **options: object) -> object:
        if not storing.is_set():
            assert embedding.wait(20), "the first batch is stored only when the second is embedded"
            storing.set()
        return complete(*given, **options)  # type: ignore[arg-type]

    encoder.before = embed
    monkeypatch.setattr(turn_module, "complete", store)
    enqueue(database, located(300))
    assert worker_of(database, encoder).finish(1).created == 300


def test_batches_are_stored_in_the_order_of_their_lines(database: Database) -> None:
    """The same id in each batch, and passages that all of them share: prepared before the one before it was stored."""

    def lines() -> Iterator[tuple[Origin, Document]]:
        for number in range(128 * 5):
            id = "same" if number % 128 == 64 else f"d{number}"
            yield (
                Origin(path="body", line=number + 1),
                Document(id=id, text=f"text {number // 128 if id == 'same' else 0}"),
            )

    enqueue(database, lines())
    done = worker_of(database, FakeEncoder()).finish(1)
    assert (done.state, done.created, done.replaced, done.duplicates) == (JobState.DONE, 127 * 5 + 1, 4, 4)
    with database.read() as session:
        found = session.execute(schema.document.select().where(schema.document.c.external_id == "same")).one()
        embeddings = session.execute(sa.select(sa.func.count()).select_from(schema.embedding)).scalar_one()
    assert (found.text, embeddings) == ("text 4", 2)


def test_over_a_batch_that_workers_vanished_over_nothing_else_is_at_work(database: Database) -> None:
    """Else the next crash would be put down to the batch before it, which was not stored yet."""
    enqueue(database, located(300))
    with database.write() as session:
        now = database_now(session)
        claim(session, "dead", seconds=0.0, fingerprints=[FakeEncoder.fingerprint], now=now)
    stored: list[int] = []
    encoder = FakeEncoder()
    encoder.before = lambda texts: stored.append(len(ids(database)))
    worker = worker_of(database, encoder)
    assert worker.turn()
    assert (len(ids(database)), job(database).worker, stored) == (128, None, [0])
    assert worker.finish(1).created == 300
    assert len(stored) == 3


def test_progress_tells_of_what_is_stored_and_of_what_is_embedded(database: Database) -> None:
    stored: list[int] = []
    embedded: list[int] = []

    def note(now: Job, passages: int) -> None:
        stored.append(now.passages)
        embedded.append(now.passages + passages)

    enqueue(database, located(600))
    worker_of(database, FakeEncoder()).finish(1, on_progress=note)
    assert stored == sorted(stored)
    assert stored[-1] == embedded[-1] == max(embedded) == 600


def test_an_interrupted_turn_leaves_the_embedding_at_the_next_sign(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*given: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(turn_module, "complete", interrupt)
    enqueue(database, located(600))
    with pytest.raises(KeyboardInterrupt):
        worker_of(database, FakeEncoder()).finish(1)
    left = job(database)
    assert (left.state, left.worker, left.created, ids(database)) == (JobState.QUEUED, None, 0, [])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("embed", "prepare"))]
    monkeypatch.setattr(turn_module, "complete", complete)
    assert worker_of(database, FakeEncoder()).finish(1).created == 600


def test_what_is_tried_again_during_the_last_batch_is_done_before_the_job_is(database: Database) -> None:
    """The turn had found nothing behind that batch when the document came back."""
    encoder, tried = FakeEncoder(), threading.Event()

    def embed(texts: list[str]) -> None:
        if "poison" in texts and not tried.is_set():
            raise ValueError("poison")
        if "last" in texts:
            with database.read() as session:
                assert get_job(session, 1).failed == 1
            time.sleep(0.1)  # for the look behind this batch
            tried.set()
            retry_job(database, 1)

    encoder.before = embed
    lines = [Document(id="bad", text="poison"), *(Document(id=f"d{n}", text="text") for n in range(127))]
    lines += [Document(id=f"e{n}", text="text") for n in range(128)]
    lines.append(Document(id="e", text="last"))
    enqueue(database, ((None, document) for document in lines))
    done = worker_of(database, encoder).finish(1)
    assert (done.state, done.pending, done.failed, done.created) == (JobState.DONE, 0, 0, 257)
    assert "bad" in ids(database)


def test_beside_a_batch_that_workers_vanished_over_nothing_is_split(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue(database, located(300))
    with database.write() as session:
        claim(session, "dead", seconds=0.0, fingerprints=[FakeEncoder.fingerprint], now=database_now(session))
    stored: list[int] = []  # documents, when a batch is split

    def prepare(self: Ingest, *given: Any) -> Prepared:
        stored.append(len(ids(database)))
        return split(self, *given)

    split = Ingest.prepare
    monkeypatch.setattr(Ingest, "prepare", prepare)
    encoder = FakeEncoder(before=slow(0.1))
    assert worker_of(database, encoder).turn()
    assert stored == [0]
    done = worker_of(database, encoder).finish(1)
    assert (done.state, done.created, stored[:2]) == (JobState.DONE, 300, [0, 128])
