"""Documents into a job, over a real database."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterator

import pytest

from core.errors import CollectionNotFound, JobConflict, LeaseLost, QueueFull
from core.records import Collection, Document, JobState
from indexer import intake
from indexer.intake import Located, check_room, receive
from indexer.pipeline import delete
from indexer.records import Duplicate, Origin, RecordError, Skipped
from store import Database, schema
from store.catalog import delete_collection
from store.clock import database_now
from store.jobs import cancel_job, list_jobs
from store.jobs.notices import NoticeKind, job_notices
from store.jobs.payload import unpack
from store.jobs.sweep import sweep
from tests.indexer.fakes import FakeEncoder, create, enqueue, ids, job, located, pipeline_of, rows
from tests.indexer.working import worker_of


@pytest.fixture
def collection(database: Database) -> Collection:
    return create(database)


def queued(database: Database, job_id: int = 1) -> list[tuple[str, int | None]]:
    """Id and line of all that waits, in order."""
    columns = schema.job_batch.c
    with database.read() as session:
        found = session.execute(schema.job_batch.select().where(columns.job_id == job_id).order_by(columns.number))
        return [(item.document.id, item.line) for row in found for item in unpack(row.payload)]


@pytest.mark.usefixtures("collection")
def test_what_comes_in_is_queued_in_order(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "FLUSHED_BYTES", 5000)
    received = enqueue(database, located(700))
    assert (received.state, received.total, received.pending) == (JobState.QUEUED, 700, 700)
    assert queued(database) == [(f"d{number}", number + 1) for number in range(700)]


@pytest.mark.usefixtures("collection")
def test_errors_omissions_and_duplicates_are_said_as_they_are_met(database: Database) -> None:
    error = RecordError(code="invalid_document", reason="broken", origin=Origin(path="body", line=2), id="x")
    skipped = Skipped(path="a.exe", reason="no reader")
    documents = [Document(id="a", text="1"), Document(id="b", text="2"), Document(id="a", text="3")]
    items: list[Located] = [
        (Origin(path="body", line=n), document) for n, document in zip((1, 3, 4), documents, strict=True)
    ]
    items[1:1] = [(error.origin, error), (None, skipped)]
    notices: list[object] = []
    received = enqueue(database, items, on_notice=notices.append)
    assert notices == [error, skipped, Duplicate(id="a")]
    assert (received.total, received.pending, received.failed, received.duplicates) == (4, 3, 1, 1)
    with database.read() as session:
        (kept,) = job_notices(session, 1, NoticeKind.ERROR, limit=9)
        (twice,) = job_notices(session, 1, NoticeKind.DUPLICATE, limit=9)
    assert (kept.code, kept.reason, kept.line, kept.document_id) == ("invalid_document", "broken", 2, "x")
    assert (twice.document_id, twice.line) == ("a", 4)


@pytest.mark.usefixtures("collection")
@pytest.mark.parametrize("flushed", [1, 10**9])
def test_what_breaks_off_leaves_nothing(database: Database, monkeypatch: pytest.MonkeyPatch, flushed: int) -> None:
    monkeypatch.setattr(intake, "FLUSHED_BYTES", flushed)

    def source() -> Iterator[Located]:
        yield from located(5000)
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        enqueue(database, source(), key="k")
    assert (rows(database, schema.job), rows(database, schema.job_batch)) == (0, 0)
    assert enqueue(database, located(1), key="k", digest=lambda: b"x").pending == 1, "its key is free again"


@pytest.mark.usefixtures("collection")
def test_a_repeated_request_makes_no_second_job(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    first = enqueue(database, located(3), key="k", digest=lambda: b"one")
    assert enqueue(database, located(3), key="k", digest=lambda: b"one") == first
    with pytest.raises(JobConflict, match="belongs to job 1, whose content is another"):
        enqueue(database, located(4), key="k", digest=lambda: b"two")
    with database.read() as session:
        assert len(list_jobs(session, limit=9)) == 1
    create(database, "other")
    assert enqueue(database, located(3), "other", key="k", digest=lambda: b"two").id > first.id
    monkeypatch.setattr(intake, "FLUSHED_BYTES", 1)

    def slow() -> Iterator[Located]:
        yield from located(200, "s")
        with pytest.raises(JobConflict, match="being received"):
            enqueue(database, located(1), key="l", digest=lambda: b"three")
        yield from located(1, "t")

    assert enqueue(database, slow(), key="l", digest=lambda: b"three").pending == 201


@pytest.mark.usefixtures("collection")
@pytest.mark.parametrize("flushed", [1, 10**9])
def test_the_same_documents_go_on_where_an_earlier_job_stopped(
    database: Database, monkeypatch: pytest.MonkeyPatch, flushed: int
) -> None:
    monkeypatch.setattr(intake, "FLUSHED_BYTES", flushed)
    first = enqueue(database, located(300), resume=True)
    assert enqueue(database, located(300), resume=True) == first
    assert enqueue(database, located(301), resume=True).id > first.id
    assert rows(database, schema.job_batch) == 3 + 3
    with database.write() as session:
        cancel_job(session, first.id, now=0.0)
    assert enqueue(database, located(300), resume=True).id != first.id


@pytest.mark.parametrize("batches_behind", [0, 1])
def test_what_others_wrote_since_is_not_taken_for_what_the_job_stored(database: Database, batches_behind: int) -> None:
    """Documents of its first half are gone by now; to go on behind them would leave them out without a word. So would
    a worker who takes the old job up later write over what is newer."""
    create(database)
    encoder = FakeEncoder()
    first = enqueue(database, located(400), resume=True)
    _one_batch(database, encoder, first.id)
    delete(database, "c", ["d0", "d1"])
    for _ in range(batches_behind):
        _one_batch(database, encoder, first.id)
    assert 0 < job(database, first.id).created < 400
    again = enqueue(database, located(400), resume=True)
    assert (again.id > first.id, job(database, first.id).state) == (True, JobState.CANCELLED)
    done = worker_of(database, FakeEncoder()).finish(again.id)
    assert (done.state, len(ids(database))) == (JobState.DONE, 400)


def _one_batch(database: Database, encoder: FakeEncoder, job_id: int) -> None:
    worker = worker_of(database, encoder)
    encoder.before = lambda texts: worker.stop()  # with this batch
    worker.finish(job_id)
    encoder.before = lambda texts: None


def test_the_collection_goes_meanwhile(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "FLUSHED_BYTES", 1)

    def source() -> Iterator[Located]:
        yield from located(200)
        with database.write() as session:
            delete_collection(session, "c")

    with pytest.raises(CollectionNotFound):
        receive(database, collection, source(), receiver="test")
    assert (rows(database, schema.job), rows(database, schema.job_batch)) == (0, 0)


@pytest.mark.usefixtures("collection")
def test_a_sender_that_was_taken_for_dead_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "FLUSHED_BYTES", 1)

    def source() -> Iterator[Located]:
        yield from located(200)
        while sweep(database, now=9e9):  # long after
            pass
        yield from located(200, "e")

    with pytest.raises(LeaseLost):
        enqueue(database, source())
    assert (rows(database, schema.job), rows(database, schema.job_batch)) == (0, 0)


@pytest.mark.usefixtures("collection")
def test_a_slow_sender_keeps_its_lease(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "FLUSHED_BYTES", 1)
    monkeypatch.setattr(intake, "LEASE_SECONDS", 1.5)

    def source() -> Iterator[Located]:
        yield from located(200)
        threading.Event().wait(2.5)
        with database.read() as session:
            now = database_now(session)
        while sweep(database, now=now):
            pass
        yield from located(1, "e")

    assert enqueue(database, source()).pending == 201


@pytest.mark.usefixtures("collection")
def test_a_full_queue_takes_no_more(database: Database) -> None:
    enqueue(database, located(5))
    enqueue(database, located(5, "e"))
    check_room(database, 11)
    with pytest.raises(QueueFull, match="10 documents wait"):
        check_room(database, 10)
    with database.write() as session:
        cancel_job(session, 1, now=0.0)
    check_room(database, 10)


@pytest.mark.usefixtures("collection")
def test_memory_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight times as many documents take no more memory, but for the ids that are remembered."""
    monkeypatch.setattr(intake, "FLUSHED_BYTES", 100_000)
    peaks = []
    for count in (1000, 8000):
        tracemalloc.start()
        enqueue(database, located(count, f"x{count}-", text="word " * 100))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + 8000 * 100


@pytest.mark.usefixtures("collection")
def test_nothing_is_a_job_that_is_done(database: Database) -> None:
    assert enqueue(database, []).state is JobState.DONE
    with database.read() as session:
        assert list_jobs(session, limit=9, state=JobState.DONE) == [job(database)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["bad, good", "good, bad"])
def test_an_id_that_came_twice_is_a_duplicate_by_every_way_in(database: Database, order: tuple[int, int]) -> None:
    """Whether or not the other document of that id can be stored."""
    found = [Document(id="a", text="bad", metadata={"n": float("nan")}), Document(id="a", text="good")]
    items = [found[number] for number in order]
    encoder = FakeEncoder()
    create(database, "direct")
    report = pipeline_of(database, encoder).add("direct", items)
    assert (report.created, report.failed_count, report.duplicates) == (1, 1, ("a",))
    create(database)
    enqueue(database, [(None, item) for item in items])
    done = worker_of(database, encoder).finish(1)
    assert (done.created, done.failed, done.duplicates) == (1, 1, 1)
