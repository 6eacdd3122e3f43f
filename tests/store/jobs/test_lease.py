"""Who has a job, until when, and that nobody else writes: leases, their fence, clocks, and turns."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from core.errors import LeaseLost
from core.records import Collection, CollectionSettings, JobState, SparseScoring
from store import Database, WriteSession, catalog
from store.clock import database_now
from store.jobs.lease import (
    Lease,
    fenced,
    give_up,
    postpone,
    release,
    renew,
    runnable,
    unserved_seconds,
    wanted_models,
)
from store.jobs.work import JobBatch, complete, conclude
from tests.store import library
from tests.store.effort import steps
from tests.store.jobs.queueing import LEASE, NOW, batch_of, job, outcome, queue, take, taken, taken_in, work
from tests.store.library import FINGERPRINT


def test_the_clock_is_that_of_the_database(database: Database) -> None:
    import time

    with database.read() as session:
        assert abs(database_now(session) - time.time()) < 60  # a wrong zone or unit is further away


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


@pytest.mark.parametrize("way", ["released, idle", "released", "postponed"])
def test_a_lease_that_was_given_back_writes_nothing_more(database: Database, collection: Collection, way: str) -> None:
    """Also where nobody else has the job yet."""
    queue(database, collection, 1)
    lease = taken(database)
    with database.write() as session:
        if way == "postponed":
            postpone(session, lease, reason="r", pause_seconds=1, counts=True, now=NOW)
        else:
            release(session, lease, idle=way == "released, idle")
    before = job(database)
    with pytest.raises(LeaseLost), database.write() as session:
        fenced(session, lease)
    with pytest.raises(LeaseLost):
        work(database, lease)
    assert job(database) == before


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


def test_a_job_without_a_sign_of_life_is_unserved(database: Database, collection: Collection) -> None:
    def unserved(now: float) -> float:
        with database.read() as session:
            return unserved_seconds(session, now=now)

    assert unserved(NOW) == 0
    queue(database, collection, 1)
    assert unserved(NOW + 100) == 100, "no worker has taken it"
    killed = taken(database, NOW + 100)
    assert unserved(NOW + 100 + 20 * LEASE) == 20 * LEASE, "whatever its lease says"
    with database.write() as session:
        renew(session, killed, now=NOW + 5000)
    assert unserved(NOW + 5003) == 3
    with database.write() as session:
        postpone(session, killed, reason="down", pause_seconds=60, counts=False, now=NOW + 5003)
    assert (unserved(NOW + 5050), unserved(NOW + 5070)) == (0, 7), "a pause is no neglect"
    other = queue(database, collection, 1)
    assert other
    assert unserved(NOW + 5070) > 5000, "the one that waited longest counts"
    assert unserved(NOW - 10_000) == 0, "as where the clock was set back"


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


def test_the_models_of_many_jobs_are_looked_up_once_for_each_collection(
    database: Database, collection: Collection
) -> None:
    with database.write() as session:
        other = catalog.create_collection(
            session, "another", CollectionSettings(), model="m", fingerprint="other", dimension=8
        )
    for _ in range(20):
        queue(database, collection, 1)
    queue(database, other, 1)
    with database.read() as session, steps(session) as few:
        assert wanted_models(session) == {FINGERPRINT: collection.name, "other": "another"}
    for _ in range(200):
        queue(database, collection, 1)
    with database.read() as session, steps(session) as many:
        wanted_models(session)
    assert len(many) - len(few) <= 200 * 12 / 100, "a dozen instructions for each job"


def test_a_worker_needs_the_sparse_model_as_well(database: Database) -> None:
    sparse = {"sparse_model": "splade", "sparse_fingerprint": "sparse"}
    settings = CollectionSettings(sparse=SparseScoring.BOTH)
    with database.write() as session:
        learned = catalog.create_collection(
            session, "learned", settings, model="m", fingerprint=FINGERPRINT, dimension=8, **sparse
        )
    queue(database, learned, 1)
    with database.read() as session:
        assert wanted_models(session) == {f"{FINGERPRINT} sparse": "learned"}
        assert runnable(session, fingerprints=[FINGERPRINT], now=NOW) is None
        assert runnable(session, fingerprints=[FINGERPRINT, f"{FINGERPRINT} sparse"], now=NOW) == 1


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
