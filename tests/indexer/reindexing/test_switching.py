"""Collections made anew beside themselves: whatever happens meanwhile, nothing is lost and nothing is mixed."""

from __future__ import annotations

import threading
import time
from typing import Any

import hypothesis
import pytest
import sqlalchemy as sa
from hypothesis import strategies as st

import store.failpoints
from core.context import check_awaited
from core.prompts import Prompt
from core.protocols import Priority
from core.records import Document, Embeddings, Representation
from core.reindexes import ReindexState
from indexer.pipeline import delete
from indexer.worker import Worker
from store import Database, schema
from store.catalog import change_settings, get_collection, list_collections
from store.jobs import get_job
from store.verify import verify
from store.waiting import wait_for_seq
from tests.indexer.fakes import FakeEncoder, enqueue, located
from tests.indexer.reindexing.place import OtherEncoder, Place, fresh

STEPS = (
    "reindex.begun", "reindex.embedded", "reindex.portion_written", "reindex.portion_committed", "reindex.validating",
    "reindex.validated", "reindex.switch_held", "reindex.switch_written", "reindex.switch_committed",
)  # fmt: skip


class Killed(BaseException):
    """The process ends here, as far as its work is concerned."""


def test_another_model_and_another_splitting(place: Place, second: Database) -> None:
    place.add(**{f"d{number}": " ".join(f"w{number}-{i}" for i in range(40)) for number in range(300)})
    before = place.contents()
    place.begin(settings={"passage_tokens": 9, "overlap_tokens": 2})
    with place.database.read() as session:
        assert [found.name for found in list_collections(session)] == ["c"], "what is not ready is not seen"
        old = get_collection(session, "c")
    assert place.contents() == before
    done = place.work()
    with place.database.read() as session:
        now = get_collection(session, "c")
    assert (now.active.fingerprint, now.settings.passage_tokens, now.created_at) == (
        OtherEncoder.fingerprint, 9, old.created_at,
    )  # fmt: skip
    assert place.contents() == fresh(place, second)
    assert (done.total, done.done) == (300, 300)
    assert done.report is not None
    assert '"recall": 1.0' in done.report
    assert place.contents(f"c!{done.id}") == before, "the old one is kept"
    place.reindexing.end(done, (ReindexState.SWITCHED,), ReindexState.DONE)
    place.clean()
    assert place.now().hidden_id is None
    with place.database.read() as session:
        assert session.execute(sa.select(sa.func.count()).select_from(schema.collection)).scalar() == 1
        for table, count in ((schema.reindex_pending, 0), (schema.document, 300)):
            assert session.execute(sa.select(sa.func.count()).select_from(table)).scalar() == count
    assert verify(place.database.directory).findings == ()


def test_writes_follow_before_and_after_the_switch_and_rollback_embeds_only_what_was_written_since(
    place: Place, second: Database
) -> None:
    place.add(**{f"d{number}": f"text {number}" for number in range(200)})
    place.begin(auto_switch=False)
    place.reindexing.turn()
    place.add(d0="changed early", d199="changed late", extra="new")
    delete(place.database, "c", ["d1", "d198", "nobody"])
    ready = place.work(ReindexState.READY)
    place.add(d5="changed when ready")
    switched = place.reindexing.switch(ready)
    assert switched.state is ReindexState.SWITCHED
    texts = {id: found[1] for id, found in place.contents().items()}
    assert len(texts) == 199
    assert (texts["d0"], texts["d199"], texts["extra"], texts["d5"]) == (
        "changed early", "changed late", "new", "changed when ready",
    )  # fmt: skip
    assert place.contents() == fresh(place, second)
    place.add(d7="after the switch")
    delete(place.database, "c", ["d8"])
    embedded: list[str] = []
    place.old.before = place.new.before = embedded.extend
    back = place.reindexing.rollback(place.now())
    assert len(embedded) == 1, "d7 alone of 199"
    assert back.state is ReindexState.ROLLED_BACK
    texts = {id: found[1] for id, found in place.contents().items()}
    assert texts["d7"] == "after the switch", "nothing of what the new one took is lost"
    assert "d8" not in texts
    with place.database.read() as session:
        assert get_collection(session, "c").active.fingerprint == FakeEncoder.fingerprint
    place.clean()
    assert verify(place.database.directory).findings == ()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("visit", [1, 2])
def test_killed_at_any_step_it_goes_on(
    place: Place, second: Database, monkeypatch: pytest.MonkeyPatch, step: str, visit: int
) -> None:
    place.add(**{f"d{number}": f"text {number}" for number in range(140)})
    visits = 0

    def kill(reached: str) -> None:
        nonlocal visits
        visits += reached == step
        if reached == step and visits == visit:
            raise Killed

    monkeypatch.setattr(store.failpoints, "observer", kill)
    try:
        place.begin(auto_switch=True)
        place.reindexing.turn()
        place.add(d3="written meanwhile")
        place.work()
    except Killed:
        pass
    monkeypatch.setattr(store.failpoints, "observer", None)
    place.restart()
    place.add(d4="written after the crash")
    place.work()
    texts = {id: found[1] for id, found in place.contents().items()}
    assert (texts["d4"], len(texts)) == ("written after the crash", 140)
    assert place.contents() == fresh(place, second)
    assert verify(place.database.directory).findings == ()


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 12), st.integers(0, 3)),
        st.tuples(st.just("delete"), st.integers(0, 12), st.just(0)),
        st.tuples(st.just("turn"), st.just(0), st.just(0)),
        st.tuples(st.just("restart"), st.just(0), st.just(0)),
        st.tuples(st.just("settings"), st.integers(1, 9), st.just(0)),
        st.tuples(st.just("rollback"), st.just(0), st.just(0)),
    ),
    max_size=25,
)


@hypothesis.given(actions=ACTIONS)
@hypothesis.settings(max_examples=12, deadline=None, derandomize=True, database=None)
def test_whatever_is_written_meanwhile_the_end_is_what_a_fresh_index_is(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int, int]]
) -> None:
    database, other = Database.open(tmp_path_factory.mktemp("a")), Database.open(tmp_path_factory.mktemp("b"))
    place = Place(database)
    texts = {f"d{number}": f"first {number}" for number in range(8)}
    place.add(**texts)
    place.begin()
    alpha = 0.5
    for action, number, version in actions:
        id = f"d{number}"
        if action == "put":
            texts[id] = f"version {version} of {number}"
            place.add(**{id: texts[id]})
        elif action == "delete":
            delete(database, "c", [id])
            texts.pop(id, None)
        elif action == "turn":
            place.reindexing.turn()
        elif action == "settings":
            alpha = number / 10
            with database.write() as session:
                change_settings(session, "c", {"alpha": alpha})
        elif action == "rollback" and place.now().state is ReindexState.SWITCHED:
            place.reindexing.rollback(place.now())
        elif action == "restart":
            place.restart()
        assert {id: found[1] for id, found in place.contents().items()} == texts
    if place.now().state is not ReindexState.ROLLED_BACK:
        place.work()
    assert {id: found[1] for id, found in place.contents().items()} == texts
    assert place.contents() == fresh(place, other)
    with database.read() as session:
        assert get_collection(session, "c").settings.alpha == alpha
    database.close()
    other.close()


def test_writers_readers_and_jobs_while_it_is_switched_to_and_fro(place: Place) -> None:
    place.add(**{f"d{number}": f"text {number}" for number in range(150)})
    place.begin()
    acknowledged: dict[str, str] = {}
    over, failures = threading.Event(), []

    def write(name: str) -> None:
        try:
            for number in range(10**6):
                if over.is_set():
                    return
                id = f"{name}{number % 7}"
                place.add(**{id: f"{name} {number}"})
                acknowledged[id] = f"{name} {number}"
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            failures.append(error)

    def read() -> None:
        try:
            while not over.is_set():
                with place.views.open("c") as view:
                    encoder = place.model(view.collection)
                    vector = encoder.encode([Prompt.of("t\n\ntext 7")], Representation.DOCUMENT).vectors[0]
                    assert len(view.nearest(vector, 5).ids) == 5
                    generations = view.session.execute(
                        sa.select(sa.func.count())
                        .select_from(schema.document)
                        .where(schema.document.c.collection_id == view.collection.id)
                    ).scalar_one()
                    assert generations >= 150, "never a part of a generation"
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"] + [threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    try:
        job = enqueue(place.database, located(60, prefix="j"))
        worker = Worker(place.database, place.pipeline)
        working = threading.Thread(target=worker.finish, args=(job.id,))
        working.start()
        place.work()
        place.reindexing.rollback(place.now())
        place.clean()
        working.join(60)
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
    assert failures == []
    texts = {id: found[1] for id, found in place.contents().items()}
    assert {id: texts.get(id) for id in acknowledged} == acknowledged
    with place.database.read() as session:
        done = get_job(session, job.id)
        assert (done.state.value, done.created) == ("done", 60)
        assert done.collection_id == get_collection(session, "c").id
    assert len(texts) == 150 + 60 + len(acknowledged)
    assert verify(place.database.directory).findings == ()


def test_who_was_told_of_a_change_sees_it_in_an_empty_collection(place: Place) -> None:
    place.add(a="one", b="two")
    place.begin(auto_switch=False)
    ready = place.work(ReindexState.READY)
    told = delete(place.database, "c", ["a", "b"]).seq
    for switch in (place.reindexing.switch, place.reindexing.rollback):
        told = max(told, delete(place.database, "c", ["nobody"]).seq)
        switch(ready)
        wait_for_seq(place.database, "c", told, 0.0)
        with place.views.open("c") as view:
            assert view.seq >= told
            assert view.passage_count == 0
            told = view.seq
    place.clean()
    place.add(c="three")
    with place.views.open("c") as view:
        assert (view.seq > told, view.passage_count) == (True, 1)
    assert verify(place.database.directory).findings == ()


@pytest.mark.parametrize("auto", [True, False])
def test_few_documents_of_much_metadata_keep_no_switch_from_its_end(place: Place, auto: bool) -> None:
    """They are few, and their texts are short; but they are more than goes into one portion."""
    place.add(a="one")
    place.begin(auto_switch=auto)
    place.work(ReindexState.READY)
    metadata = {f"f{number}": "x" * 900 for number in range(7)}
    report = place.pipeline.add("c", [Document(id=f"d{i}", text="short", metadata=metadata) for i in range(10)])
    assert not report.failed
    if auto:
        assert place.reindexing.turn()
    else:
        place.reindexing.switch(place.now())
    assert place.now().state is ReindexState.SWITCHED
    assert len(place.contents()) == 11


def test_one_that_never_held_anything_is_switched(place: Place) -> None:
    place.begin()
    place.work()
    with place.views.open("c") as view:
        assert (view.seq, view.passage_count) == (0, 0)
    assert verify(place.database.directory).findings == ()


def test_a_rollback_does_not_wait_for_the_portion_at_hand(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.add(a="one")
    place.begin()
    place.work()
    at_it, original = threading.Event(), place.old.encode

    def in_line(prompts: Any, representation: Representation, **options: Any) -> Embeddings:
        """As a model that queries keep busy: passages wait, until nobody wants them."""
        deadline = time.monotonic() + 30
        while options["priority"] is Priority.BULK:
            at_it.set()
            check_awaited()
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return original(prompts, representation, **options)

    monkeypatch.setattr(place.old, "encode", in_line)
    place.add(b="two")
    working = threading.Thread(target=place.reindexing.turn)
    working.start()
    assert at_it.wait(10)
    assert place.reindexing.rollback(place.now()).state is ReindexState.ROLLED_BACK
    working.join(60)
    assert set(place.contents()) == {"a", "b"}
    assert place.now().failures == 0


def test_it_rests_by_its_share(place: Place) -> None:
    place.add(**{f"d{number}": f"text {number}" for number in range(300)})
    place.new.before = lambda texts: time.sleep(0.05)
    place.begin(share=0.1)
    assert place.reindexing.turn()
    assert not place.reindexing.turn()
    now = place.now()
    assert now.pause_seconds == pytest.approx(now.busy_seconds * 9, rel=0.01)
    assert now.seconds_left == pytest.approx((300 - now.done) / now.done * now.busy_seconds / 0.1)
