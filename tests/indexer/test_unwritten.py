"""Turns whose end cannot be written down, as on a full disk: that comes first once there is room again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from core.errors import StorageCorrupt, StorageFull
from core.records import JobState
from indexer import worker as worker_module
from indexer.worker import Worker
from store import Database, schema
from store.clock import database_now
from store.database import WriteSession
from store.jobs import cancel_job
from tests.indexer.fakes import FakeEncoder, create, enqueue, job, located, pipeline_of
from tests.indexer.working import QUICK, running
from tests.waiting import until


class Place:
    """A worker at a job; from its first text on the database takes no write, until `room` is there again."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = True
        self.database = database
        encoder, write = FakeEncoder(), database.write

        @contextmanager
        def limited() -> Iterator[WriteSession]:
            if not self.room:
                raise StorageFull("no room to write")
            with write() as session:
                yield session

        def fill(texts: list[str]) -> None:
            self.room, encoder.before = False, lambda texts: None

        monkeypatch.setattr(database, "write", limited)
        create(database)
        enqueue(database, located(3))
        encoder.before = fill
        self.worker = Worker(database, pipeline_of(database, encoder), QUICK)

    def fail(self) -> None:
        with pytest.raises(StorageFull):
            self.worker.turn()
        assert (job(self.database).state, job(self.database).reason) == (JobState.RUNNING, None)
        with pytest.raises(StorageFull):
            self.worker.turn()

    def crashes(self) -> list[int]:
        with self.database.read() as session:
            return list(session.execute(sa.select(schema.job_batch.c.crashes)).scalars())


@pytest.fixture
def place(database: Database, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(database, monkeypatch)


def test_the_next_turn_gives_the_job_back_with_the_reason_and_no_crash_is_counted(place: Place) -> None:
    place.fail()
    place.room = True
    place.worker._write_down()
    waiting = job(place.database)
    assert (waiting.state, waiting.reason, waiting.worker) == (JobState.WAITING, "storage_full: no room to write", None)
    assert (waiting.attempts, place.crashes()) == (0, [0])


def test_a_job_that_was_cancelled_meanwhile_stays_so(place: Place) -> None:
    place.fail()
    place.room = True
    with place.database.write() as session:
        cancel_job(session, 1, now=database_now(session))
    assert not place.worker.turn()
    assert job(place.database).state is JobState.CANCELLED


def test_why_nothing_can_be_written_is_said_until_it_can_be(place: Place) -> None:
    assert place.worker.problem is None
    with running(place.worker):
        until(lambda: place.worker.problem == "the queue cannot be served: no room to write")
        place.room = True
        until(lambda: job(place.database).ended and place.worker.problem is None)
    assert job(place.database).created == 3


def test_a_worker_that_stops_writes_down_what_is_left_where_it_can(place: Place) -> None:
    place.fail()
    place.room = True
    place.worker.stop()
    place.worker.run()
    assert (job(place.database).state, job(place.database).worker) == (JobState.WAITING, None)


def test_an_end_that_can_never_be_written_stops_no_other_job(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.fail()
    place.room = True

    def damaged(*_: object, **__: object) -> None:
        raise StorageCorrupt("a page is damaged")

    monkeypatch.setattr(worker_module, "postpone", damaged)
    with pytest.raises(StorageCorrupt):
        place.worker.turn()
    other = enqueue(place.database, located(2, "other-"))
    assert place.worker.turn(other.id)
    assert job(place.database, other.id).created == 2
