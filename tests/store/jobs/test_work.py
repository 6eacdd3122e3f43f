"""The way of a job to its end: batches, crashes, cancel, retry, and what is kept of it."""

from __future__ import annotations

from contextlib import AbstractContextManager

import pytest
import sqlalchemy as sa

from core.errors import JobConflict, JobNotFound, LeaseLost
from core.records import Collection, JobState
from store import Database, WriteSession, catalog, schema
from store.aliases import set_alias
from store.jobs import cancel_job, get_job, list_jobs, queued_documents
from store.jobs import intake as job_intake
from store.jobs import retry as job_retry
from store.jobs import sweep as job_sweep
from store.jobs.crashes import LAST_CRASHES, WORKER_LOST
from store.jobs.intake import Intake, append, begin, finish
from store.jobs.lease import give_up, release
from store.jobs.notices import JobNotice, NoticeKind, job_notices
from store.jobs.payload import pack
from store.jobs.retry import retry_job
from store.jobs.work import complete, conclude
from store.verify import verify
from store.visibility import holdings
from tests.store import library
from tests.store.jobs.queueing import (
    LEASE,
    NOW,
    batch_of,
    batches,
    item,
    job,
    outcome,
    queue,
    swept,
    take,
    taken,
    taken_in,
    work,
)


def test_the_way_of_a_job(database: Database, collection: Collection) -> None:
    queued = queue(database, collection, 2, 1)
    assert (queued.state, queued.total, queued.pending) == (JobState.QUEUED, 3, 3)
    lease = taken(database)
    first = work(database, lease)
    assert (first.state, first.pending, first.created, first.seq, first.rate) == (JobState.RUNNING, 1, 2, 7, 4.0)
    assert first.seconds_left == 0.25
    last = work(database, lease, ("d2", "model_error", "no kernel"))
    assert (last.state, last.pending, last.failed, last.worker) == (JobState.DONE, 0, 1, None)
    assert last.ended_at is not None
    assert batches(database) == [], "what is done is not kept"
    with database.read() as session:
        (error,) = job_notices(session, 1, NoticeKind.ERROR, limit=9)
    assert (error.document_id, error.path, error.line, error.reason) == ("d2", "body", 3, "no kernel")
    assert take(database) is None


def test_a_batch_is_done_once(database: Database, collection: Collection) -> None:
    queue(database, collection, 1, 1)
    lease = taken(database)
    batch = batch_of(database, lease)
    assert batch is not None
    work(database, lease)
    with pytest.raises(LeaseLost, match="by another"), database.write() as session:
        complete(session, lease, batch, outcome(batch), now=NOW)
    assert (job(database).created, job(database).pending) == (1, 1)


def test_what_waits_is_held_until_its_job_ends(database: Database, collection: Collection) -> None:
    made = queue(database, collection, 2, 1)
    with database.write() as session:
        assert holdings(session, None) == (1, 3)
        cancel_job(session, made.id, now=NOW)
        assert holdings(session, None) == (1, 0)
        assert queued_documents(session) == 0


def test_a_batch_that_ends_workers_is_cut_until_the_document_stands_alone(
    database: Database, collection: Collection
) -> None:
    """Document 5 of 8 ends every worker that touches it; all others are done, and it is given up."""
    queue(database, collection, 8)
    now, done, crashes = NOW, 0, 0
    while not job(database).ended:
        lease = taken(database, now)
        batch = batch_of(database, lease)
        if batch is None:
            with database.write() as session:
                conclude(session, lease, now=now)
        elif any(found.document.id == "d5" for found in batch.documents):
            crashes += 1
            now += LEASE
            assert crashes < 20
        else:
            done += len(batch.documents)
            work(database, lease, now=now)
            with database.write() as session:
                release(session, lease, idle=False)
    assert (done, job(database).created, job(database).failed, job(database).pending) == (7, 7, 1, 0)
    with database.read() as session:
        (error,) = job_notices(session, 1, NoticeKind.ERROR, limit=9)
    assert (error.document_id, error.code, error.line) == ("d5", WORKER_LOST, 6)
    assert str(LAST_CRASHES) in (error.reason or "")


def test_one_vanished_worker_casts_no_suspicion(database: Database, collection: Collection) -> None:
    queue(database, collection, 4)
    taken(database)
    taken(database, NOW + LEASE)
    assert batches(database) == [(0, 4, 1)]
    taken(database, NOW + 2 * LEASE)
    assert batches(database) == [(0, 2, 1), (2, 2, 1)]


def test_cancel_ends_a_job_at_once(database: Database, collection: Collection) -> None:
    queue(database, collection, 1, 30)
    lease = taken(database)
    work(database, lease)
    with database.write() as session:
        cancelled = cancel_job(session, 1, now=NOW)
    assert (cancelled.state, cancelled.created, cancelled.pending) == (JobState.CANCELLED, 1, 30)
    with pytest.raises(LeaseLost):
        work(database, lease)
    with database.write() as session:
        assert cancel_job(session, 1, now=NOW + 5) == cancelled, "twice is no fault"
    with pytest.raises(JobConflict, match="cancelled"):
        retry_job(database, 1)
    swept(database)
    assert batches(database) == []
    queue(database, collection, 1)
    work(database, taken(database))
    with pytest.raises(JobConflict, match="is done"), database.write() as session:
        cancel_job(session, 2, now=NOW)
    with pytest.raises(JobNotFound, match="no job 99"), database.write() as session:
        cancel_job(session, 99, now=NOW)


def test_a_deleted_collections_jobs_fail_and_their_documents_go(database: Database, collection: Collection) -> None:
    queue(database, collection, 1, 1)
    lease = taken(database)
    with database.write() as session:
        catalog.delete_collection(session, collection.name)
    failed = job(database)
    assert (failed.state, failed.reason) == (JobState.FAILED, f"the collection {collection.name!r} was deleted")
    assert (failed.collection, failed.collection_id, failed.pending) == (collection.name, None, 2)
    with pytest.raises(LeaseLost):
        work(database, lease)
    library.create(database)  # of the same name: not the job's
    assert take(database, NOW + 999) is None
    with pytest.raises(JobConflict, match="was deleted"):
        retry_job(database, 1)
    swept(database)
    assert batches(database) == []


def test_failed_documents_are_tried_again(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_retry, "_AT_ONCE", 2)
    broken = JobNotice(kind=NoticeKind.ERROR, code="invalid_document", reason="broken JSON", path="body", line=9)
    with database.write() as session:
        lease = begin(session, collection, "receiver", seconds=LEASE, key=None, now=NOW)
        payload = pack([item(number) for number in range(5)])
        append(session, lease, Intake(read=6, batches=[(5, payload)], notices=[broken]), now=NOW)
        finish(session, lease, digest=b"", now=NOW)
    bad = [(f"d{number}", "model_error", "no kernel") for number in range(4)]
    assert work(database, taken(database), *bad).failed == 5
    again = retry_job(database, 1)
    assert (again.state, again.pending, again.failed, again.ended_at) == (JobState.QUEUED, 4, 1, None)
    assert [documents for _, documents, _ in batches(database)] == [1, 1, 1, 1]
    lease = taken(database)
    for _ in range(4):
        last = work(database, lease)
    assert (last.state, last.created, last.failed) == (JobState.DONE, 5, 1)
    with pytest.raises(JobConflict, match="mended and sent anew"):
        retry_job(database, 1)
    with database.read() as session:
        assert [error.line for error in job_notices(session, 1, NoticeKind.ERROR, limit=9)] == [9]


def test_a_job_that_was_given_up_begins_again(database: Database, collection: Collection) -> None:
    queue(database, collection, 1)
    with database.write() as session:
        give_up(session, taken_in(session), reason="the key is wrong", now=NOW)
    failed = job(database)
    assert (failed.state, failed.reason, failed.pending, failed.attempts) == (JobState.FAILED, "the key is wrong", 1, 1)
    swept(database)
    again = retry_job(database, 1)
    assert (again.state, again.reason, again.attempts) == (JobState.QUEUED, None, 0)
    assert work(database, taken(database)).state is JobState.DONE


def test_old_jobs_are_forgotten(database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_sweep, "KEPT_JOBS", 3)
    unended = queue(database, collection, 1)
    for _ in range(5):
        queue(database, collection)  # of nothing: done at once
    swept(database)
    with database.read() as session:
        assert [found.id for found in list_jobs(session, limit=9)] == [6, 5, 4, unended.id]


def test_the_jobs_that_ended_first_are_forgotten_first(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_sweep, "KEPT_JOBS", 2)
    long = queue(database, collection, 1)
    for _ in range(3):
        queue(database, collection)
    assert work(database, taken(database), now=NOW + 1).state is JobState.DONE
    swept(database)
    with database.read() as session:
        assert [found.id for found in list_jobs(session, limit=9)] == [4, long.id]


def test_the_jobs_of_one_collection_push_out_none_of_another(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_sweep, "KEPT_JOBS", 1)
    monkeypatch.setattr(job_sweep, "_AT_ONCE", 2)
    queue(database, collection)
    films, songs = library.create(database, "films"), library.create(database, "songs")
    for _ in range(6):
        queue(database, films)
    for _ in range(2):
        queue(database, songs)
    swept(database)
    with database.read() as session:
        assert [found.id for found in list_jobs(session, limit=9)] == [9, 7, 1]
    with database.write() as session:
        for name in ("films", "songs"):
            catalog.delete_collection(session, name)
    swept(database)
    with database.read() as session:
        assert [found.id for found in list_jobs(session, limit=9)] == [9, 1], "of those that are gone it is one in all"


def test_a_failed_job_that_documents_wait_in_is_kept(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_sweep, "KEPT_JOBS", 1)
    queue(database, collection, 2)
    with database.write() as session:
        give_up(session, taken_in(session), reason="the key is wrong", now=NOW)
    for _ in range(3):
        queue(database, collection)
    swept(database)
    with database.read() as session:
        assert [found.id for found in list_jobs(session, limit=9)] == [4, 1]
    assert [documents for _, documents, _ in batches(database)] == [2]
    with database.write() as session:
        cancel_job(session, 1, now=NOW - 1)
    swept(database)
    with database.read() as session:
        assert [found.id for found in list_jobs(session, limit=9)] == [4]


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_said_of_a_job_goes_before_it_in_pieces(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """There may be one for each of a job's documents: all at once would hold the write lock for long."""
    monkeypatch.setattr(job_sweep, "KEPT_JOBS", 1)
    monkeypatch.setattr(job_intake, "_NOTICES_AT_ONCE", 3)
    with database.write() as session:
        lease = begin(session, collection, "receiver", seconds=LEASE, key=None, now=NOW)
        broken = [
            JobNotice(kind=NoticeKind.ERROR, code="c", reason="r", path="body", line=n, document=item(n))
            for n in range(10)
        ]
        append(session, lease, Intake(read=10, notices=broken), now=NOW)
        if whole:
            finish(session, lease, digest=b"", now=NOW)
    queue(database, collection)
    left = []
    while job_sweep.sweep(database, now=NOW + LEASE):
        with database.read() as session:
            left.append(session.execute(sa.select(sa.func.count()).select_from(schema.job_notice)).scalar())
        assert verify(database.directory).findings == ()
        with pytest.raises((JobConflict, JobNotFound)):
            retry_job(database, 1)
    assert left == [7, 4, 1]
    with database.read() as session:
        assert session.execute(sa.select(sa.func.count()).select_from(schema.job_notice)).scalar() == 0
        assert [found.id for found in list_jobs(session, limit=9)] == [2]


def test_a_job_that_is_tried_again_meanwhile_is_not_forgotten(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue(database, collection, 1)
    assert work(database, taken(database), ("d0", "model_error", "no kernel")).state is JobState.DONE
    for _ in range(2):
        queue(database, collection)
    monkeypatch.setattr(job_sweep, "KEPT_JOBS", 1)
    opened = database.write

    def write() -> AbstractContextManager[WriteSession]:
        monkeypatch.setattr(database, "write", opened)
        retry_job(database, 1)
        return opened()

    monkeypatch.setattr(database, "write", write)
    swept(database)
    with database.read() as session:
        assert [found.id for found in list_jobs(session, limit=9)] == [3, 1]


def test_the_list_has_pages_and_conditions(database: Database, collection: Collection) -> None:
    for _ in range(3):
        queue(database, collection, 1)
    queue(database, library.create(database, "films"))
    with database.write() as session:
        set_alias(session, "cinema", "films")
    with database.read() as session:

        def ids(**conditions: object) -> list[int]:
            return [found.id for found in list_jobs(session, **{"limit": 9, **conditions})]  # type: ignore[arg-type]

        assert ids() == [4, 3, 2, 1]
        assert ids(limit=2, before=4) == [3, 2]
        assert ids(collection="films") == ids(collection="cinema") == [4]
        assert ids(collection="cinema", among=["cin*"]) == [4]
        assert ids(collection="cinema", among=["films"]) == []  # nobody is told of an alias of others
        assert ids(collection="\ud800") == []
        assert ids(state=JobState.QUEUED, before=2**70) == [3, 2, 1]
        assert queued_documents(session) == 3
        for number in (0, -1, 2**63, 2**70):
            with pytest.raises(JobNotFound):
                get_job(session, number)
