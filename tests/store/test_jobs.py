"""Jobs in the store: intake, leases and their fence, clocks, crashes, cancel, retry, sweep."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import hypothesis
import pytest
import sqlalchemy as sa
from hypothesis import strategies as st

from core.errors import CollectionNotFound, JobConflict, JobNotFound, LeaseLost
from core.records import Collection, CollectionSettings, Document, Job, JobState
from store import Database, WriteSession, catalog, schema
from store.among import holdings
from store.batch import Receipt
from store.jobs import cancel_job, get_job, list_jobs, queued_documents
from store.jobs import retry as job_retry
from store.jobs import sweep as job_sweep
from store.jobs.crashes import LAST_CRASHES, WORKER_LOST
from store.jobs.intake import Intake, append, begin, finish, job_with_key, unfinished_job
from store.jobs.lease import (
    Lease,
    claim,
    database_now,
    give_up,
    postpone,
    release,
    renew,
    runnable,
    wanted_models,
)
from store.jobs.notices import MAX_LISTED, JobNotice, NoticeKind, job_notices
from store.jobs.payload import QueuedDocument, pack, unpack
from store.jobs.retry import retry_job
from store.jobs.sweep import sweep
from store.jobs.work import BatchOutcome, JobBatch, complete, conclude, next_batch
from tests.store import library
from tests.store.library import FINGERPRINT

NOW = 1_800_000_000.0
LEASE = 30.0


def item(number: int) -> QueuedDocument:
    return QueuedDocument(document=Document(id=f"d{number}", text=f"text {number}"), path="body", line=number + 1)


def queue(database: Database, collection: Collection, *sizes: int, key: str | None = None, digest: bytes = b"x") -> Job:
    """A job of batches of these sizes."""
    items = [item(number) for number in range(sum(sizes))]
    batches, start = [], 0
    for size in sizes:
        batches.append((size, pack(items[start : start + size])))
        start += size
    with database.write() as session:
        lease = begin(session, collection, "receiver", seconds=LEASE, key=key, now=NOW)
        append(session, lease, Intake(read=sum(sizes), batches=batches), now=NOW)
        return finish(session, lease, digest=digest, now=NOW)


def take(database: Database, now: float = NOW, worker: str = "w", job_id: int | None = None) -> Lease | None:
    with database.write() as session:
        return claim(session, worker, seconds=LEASE, fingerprints=[FINGERPRINT], now=now, job_id=job_id)


def taken(database: Database, now: float = NOW, worker: str = "w") -> Lease:
    lease = take(database, now, worker)
    assert lease is not None
    return lease


def batch_of(database: Database, lease: Lease) -> JobBatch | None:
    with database.read() as session:
        return next_batch(session, lease)


def outcome(batch: JobBatch, *failures: tuple[str | None, str, str], truncated: Sequence[str] = ()) -> BatchOutcome:
    created = len(batch.documents) - len(failures)
    receipt = Receipt(seq=7, created=created, replaced=0, updated=0, unchanged=0, deleted=0)
    return BatchOutcome(
        receipt=receipt, failures=failures, truncated=truncated, passages=created, tokens=created, seconds=0.5
    )


def work(database: Database, lease: Lease, *failures: tuple[str | None, str, str], now: float = NOW) -> Job:
    batch = batch_of(database, lease)
    assert batch is not None
    with database.write() as session:
        return complete(session, lease, batch, outcome(batch, *failures), now=now)


def job(database: Database, id: int = 1) -> Job:
    with database.read() as session:
        return get_job(session, id)


def batches(database: Database) -> list[tuple[int, int, int]]:
    """(number, documents, crashes) of all batches."""
    columns = schema.job_batch.c
    with database.read() as session:
        rows = session.execute(sa.select(columns.number, columns.documents, columns.crashes).order_by(columns.number))
        return [(row.number, row.documents, row.crashes) for row in rows]


def test_what_waits_is_held_until_its_job_ends(database: Database, collection: Collection) -> None:
    made = queue(database, collection, 2, 1)
    with database.write() as session:
        assert holdings(session, None) == (1, 3)
        cancel_job(session, made.id, now=NOW)
        assert holdings(session, None) == (1, 0)
        assert queued_documents(session) == 0


def test_a_payload_comes_back_as_it_was() -> None:
    odd = Document(id="é\u2028", text="🎮 \x00 text", title="T", metadata={"a": [1, None, {"b": 0.5}]})
    items = [
        QueuedDocument(document=odd, path="na\udcffme", line=3),
        QueuedDocument(document=Document(id="b", text="")),
    ]
    assert unpack(pack(items)) == items


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


def test_the_clock_is_that_of_the_database(database: Database) -> None:
    import time

    with database.read() as session:
        assert abs(database_now(session) - time.time()) < 1


def test_a_job_is_seen_when_it_is_whole(database: Database, collection: Collection) -> None:
    with database.write() as session:
        lease = begin(session, collection, "receiver", seconds=LEASE, key="k", now=NOW)
        append(session, lease, Intake(read=1, batches=[(1, pack([item(0)]))]), now=NOW)
        with pytest.raises(JobNotFound):
            get_job(session, lease.job_id)
        assert list_jobs(session, limit=9) == []
        assert queued_documents(session) == 1
        found = job_with_key(session, collection.id, "k")
        assert found is not None
        assert found[1] is None
        with pytest.raises(JobConflict, match="being received"):
            begin(session, collection, "another", seconds=LEASE, key="k", now=NOW)
    assert take(database, NOW + 999) is None


def test_only_one_worker_has_a_job_and_the_lease_runs_out(database: Database, collection: Collection) -> None:
    queue(database, collection, 1)
    first = taken(database)
    assert take(database, NOW + LEASE - 1) is None
    late = taken(database, NOW + LEASE, "other")
    assert late.token == first.token + 1
    assert job(database).worker == "other"


def test_who_was_overtaken_writes_nothing(database: Database, collection: Collection) -> None:
    queue(database, collection, 1, 1)
    asleep = taken(database)
    stale = batch_of(database, asleep)
    assert stale is not None
    awake = taken(database, NOW + LEASE, "other")
    before = job(database)
    writes = (
        lambda session: complete(session, asleep, stale, outcome(stale), now=NOW),
        lambda session: renew(session, asleep, now=NOW),
        lambda session: postpone(session, asleep, reason="r", pause_seconds=1, counts=True, now=NOW),
        lambda session: give_up(session, asleep, reason="r", now=NOW),
        lambda session: conclude(session, asleep, now=NOW),
    )
    for write in writes:
        with pytest.raises(LeaseLost), database.write() as session:
            write(session)
    with database.write() as session:
        release(session, asleep, idle=True)
    assert job(database) == before
    assert work(database, awake, now=NOW + LEASE).pending == 1


def test_a_batch_is_done_once(database: Database, collection: Collection) -> None:
    queue(database, collection, 1, 1)
    lease = taken(database)
    batch = batch_of(database, lease)
    assert batch is not None
    work(database, lease)
    with pytest.raises(LeaseLost, match="by another"), database.write() as session:
        complete(session, lease, batch, outcome(batch), now=NOW)
    assert (job(database).created, job(database).pending) == (1, 1)


@pytest.mark.parametrize("jump", [-86_400.0, -LEASE, 86_400.0])
def test_after_a_clock_has_jumped_a_dead_workers_job_is_taken_over(
    database: Database, collection: Collection, jump: float
) -> None:
    queue(database, collection, 1)
    dead = taken(database)
    assert taken(database, NOW + jump, "other").token > dead.token
    with pytest.raises(LeaseLost):
        work(database, dead, now=NOW + jump)


def test_a_clock_that_is_set_back_a_little_ends_no_lease(database: Database, collection: Collection) -> None:
    queue(database, collection, 1)
    taken(database)
    assert take(database, NOW - 2) is None


def test_a_pause_ends_even_if_the_clock_is_set_back(database: Database, collection: Collection) -> None:
    queue(database, collection, 1)
    with database.write() as session:
        postpone(session, taken_in(session), reason="down", pause_seconds=60, counts=False, now=NOW)
    waiting = job(database)
    assert (waiting.state, waiting.reason, waiting.attempts, waiting.worker) == (JobState.WAITING, "down", 0, None)
    assert take(database, NOW + 59) is None
    assert take(database, NOW - 59) is None
    lease = taken(database, NOW - 3600)
    assert job(database).state is JobState.WAITING, "it runs when something was done"
    assert work(database, lease).reason is None


def taken_in(session: WriteSession) -> Lease:
    lease = claim(session, "w", seconds=LEASE, fingerprints=[FINGERPRINT], now=NOW)
    assert lease is not None
    return lease


def test_jobs_take_turns(database: Database, collection: Collection) -> None:
    for _ in range(3):
        queue(database, collection, 1, 1)
    served = []
    for turn in range(7):
        lease = taken(database)
        served.append(lease.job_id)
        with database.write() as session:
            release(session, lease, idle=False)
        if turn == 3:
            queue(database, collection, 1)
    assert served == [1, 2, 3, 1, 2, 3, 4], "a new job comes behind those that wait, and not behind all their work"


def test_a_worker_leaves_the_jobs_of_other_models_alone(database: Database, collection: Collection) -> None:
    queue(database, collection, 1)
    with database.read() as session:
        assert runnable(session, fingerprints=["another"], now=NOW) is None
        assert wanted_models(session) == {FINGERPRINT: collection.name}
        assert runnable(session, fingerprints=[FINGERPRINT, "another"], now=NOW) == 1


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


def swept(database: Database, now: float = NOW) -> None:
    for _ in range(200):
        if not sweep(database, now=now):
            return
    raise AssertionError("the sweep never ends")


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


def test_a_collection_that_goes_while_documents_come_in(database: Database, collection: Collection) -> None:
    with database.write() as session:
        lease = begin(session, collection, "r", seconds=LEASE, key=None, now=NOW)
        catalog.delete_collection(session, collection.name)
    with pytest.raises(CollectionNotFound), database.write() as session:
        finish(session, lease, digest=b"", now=NOW)
    with pytest.raises(CollectionNotFound), database.write() as session:
        begin(session, collection, "r", seconds=LEASE, key=None, now=NOW)


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


def test_what_never_came_whole_is_swept_away(database: Database, collection: Collection) -> None:
    with database.write() as session:
        lease = begin(session, collection, "receiver", seconds=LEASE, key="k", now=NOW)
        rows = [(1, pack([item(number)])) for number in range(45)]
        append(session, lease, Intake(read=45, batches=rows), now=NOW)
    swept(database, NOW + LEASE - 1)
    assert len(batches(database)) == 45
    swept(database, NOW + LEASE)
    assert batches(database) == []
    with pytest.raises(LeaseLost), database.write() as session:
        append(session, lease, Intake(), now=NOW)
    queue(database, collection, 1, key="k")


def test_old_jobs_are_forgotten(database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_sweep, "KEPT_JOBS", 3)
    unended = queue(database, collection, 1)
    for _ in range(5):
        queue(database, collection)  # of nothing: done at once
    swept(database)
    with database.read() as session:
        assert [found.id for found in list_jobs(session, limit=9)] == [6, 5, 4, unended.id]


def test_the_list_has_pages_and_conditions(database: Database, collection: Collection) -> None:
    for _ in range(3):
        queue(database, collection, 1)
    queue(database, library.create(database, "films"))
    with database.read() as session:

        def ids(**conditions: object) -> list[int]:
            return [found.id for found in list_jobs(session, **{"limit": 9, **conditions})]  # type: ignore[arg-type]

        assert ids() == [4, 3, 2, 1]
        assert ids(limit=2, before=4) == [3, 2]
        assert ids(collection="films") == [4]
        assert ids(collection="\ud800") == []
        assert ids(state=JobState.QUEUED, before=2**70) == [3, 2, 1]
        assert queued_documents(session) == 3
        for number in (0, -1, 2**63, 2**70):
            with pytest.raises(JobNotFound):
                get_job(session, number)


def test_the_same_content_is_recognised_while_something_is_left(database: Database, collection: Collection) -> None:
    queue(database, collection, 1, digest=b"a")
    with database.read() as session:
        found = unfinished_job(session, collection.id, b"a")
        assert found is not None
        assert unfinished_job(session, collection.id, b"b") is None
    work(database, taken(database))
    with database.read() as session:
        assert unfinished_job(session, collection.id, b"a") is None


def test_errors_are_all_kept_and_other_notices_up_to_a_limit(database: Database, collection: Collection) -> None:
    count = MAX_LISTED + 5
    kinds = (NoticeKind.ERROR, NoticeKind.DUPLICATE)
    notices = [JobNotice(kind=kind, document_id=f"\udfff{n}", reason="r") for n in range(count) for kind in kinds]
    with database.write() as session:
        lease = begin(session, collection, "receiver", seconds=LEASE, key=None, now=NOW)
        append(session, lease, Intake(read=count, notices=notices[:100]), now=NOW)
        append(session, lease, Intake(notices=notices[100:]), now=NOW)
        done = finish(session, lease, digest=b"", now=NOW)
    assert (done.state, done.failed, done.duplicates) == (JobState.DONE, count, count)
    with database.read() as session:
        listed = {kind: len(job_notices(session, 1, kind, limit=9999)) for kind in kinds}
    assert listed == {NoticeKind.ERROR: count, NoticeKind.DUPLICATE: MAX_LISTED}


def test_a_data_directory_from_before_there_were_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        for module in ("store.migrate", "store.database"):
            before.setattr(f"{module}.SCHEMA_VERSION", "0002")
        old = Database.open(tmp_path)
        with old.write() as session:
            generation = f"1, 1, 'test', '{FINGERPRINT}', {library.DIMENSION}, 'active'"
            values = f"1, 1, 'a', 'en', x'{library.sha_of('whale').hex()}', '', '{{}}', 'whale'"
            session.execute(
                sa.insert(sa.table("collection", *map(sa.column, ("id", "name", "settings", "created_at")))),
                {"id": 1, "name": "books", "settings": json.dumps(asdict(CollectionSettings())), "created_at": "2026"},
            )
            session.execute(
                sa.text(
                    "INSERT INTO generation (id, collection_id, model, fingerprint, dimension, state) "
                    f"VALUES ({generation})"
                )
            )
            columns = "id, collection_id, external_id, language, content_sha, title, metadata, text"
            session.execute(sa.text(f"INSERT INTO document ({columns}) VALUES ({values})"))
        with pytest.raises(sa.exc.OperationalError, match="no such table: job"), old._engine.connect() as connection:
            connection.exec_driver_sql("SELECT * FROM job")
        old.close()
    opened = Database.open(tmp_path)
    with opened.read() as session:
        collection = catalog.get_collection(session, "books")
    queue(opened, collection, 1)
    assert work(opened, taken(opened)).state is JobState.DONE
    with opened.read() as session:
        assert catalog.counts(session, collection.id).documents == 1
    opened.close()


ACTIONS = st.one_of(
    st.tuples(st.just("claim"), st.integers(0, 2)),
    st.tuples(st.just("work"), st.integers(0, 2)),
    st.tuples(st.just("release"), st.integers(0, 2)),
    st.tuples(st.just("postpone"), st.integers(0, 2)),
    st.tuples(st.just("renew"), st.integers(0, 2)),
    st.tuples(st.just("clock"), st.sampled_from([-100_000, -31, -5, 1, 20, 31, 100_000])),
)


@hypothesis.given(actions=st.lists(ACTIONS, max_size=40))
@hypothesis.settings(max_examples=25, deadline=None, derandomize=True, database=None)
def test_whatever_workers_and_clocks_do_each_document_is_committed_once(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int]]
) -> None:
    """Three workers over two jobs. The oracle: a job is whose it was given to last, until that one gives it back."""
    database = Database.open(tmp_path_factory.mktemp("jobs"))
    collection = library.create(database)
    for _ in range(2):
        queue(database, collection, 2, 1, 2)
    now = NOW
    believed: dict[int, Lease] = {}  # by worker
    owner: dict[int, int] = {}  # by job
    committed: list[tuple[int, str]] = []
    to_the_end = [("clock", 31), ("claim", 3), ("work", 3)] * 30
    for action, number in [*actions, *to_the_end]:
        if action == "clock":
            now += number
        elif action == "claim":
            lease = take(database, now, f"worker {number}")
            if lease is not None:
                believed[number] = lease
                owner[lease.job_id] = number
        elif number in believed:
            lease = believed[number]
            batch = batch_of(database, lease)
            rightful = owner.get(lease.job_id) == number and not job(database, lease.job_id).ended
            try:
                with database.write() as session:
                    act(session, action, lease, batch, now)
            except LeaseLost:
                assert not rightful
            else:
                assert rightful or action == "release" or (action == "work" and batch is None)
                if action == "work" and batch is not None:
                    committed += [(lease.job_id, found.document.id) for found in batch.documents]
                if action in ("release", "postpone") and rightful:
                    del owner[lease.job_id]
    assert sorted(committed) == [(job_id, f"d{number}") for job_id in (1, 2) for number in range(5)]
    for job_id in (1, 2):
        ended = job(database, job_id)
        assert (ended.state, ended.created, ended.pending, ended.failed) == (JobState.DONE, 5, 0, 0)
    database.close()


def act(session: WriteSession, action: str, lease: Lease, batch: JobBatch | None, now: float) -> None:
    if action == "work" and batch is not None:
        complete(session, lease, batch, outcome(batch), now=now)
    elif action == "renew":
        renew(session, lease, now=now)
    elif action == "postpone":
        postpone(session, lease, reason="r", pause_seconds=10, counts=False, now=now)
    elif action == "release":
        release(session, lease, idle=True)
