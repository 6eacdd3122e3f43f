"""Collections made anew beside themselves: whatever happens meanwhile, nothing is lost and nothing is mixed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import strategies as st

import indexer.reindexing as reindexing_module
import store.steps
from core.current import check_awaited
from core.errors import (
    CollectionNotFound,
    InvalidSettings,
    ModelError,
    ModelMismatch,
    ReindexConflict,
    RemoteUnavailable,
    StorageCorrupt,
    StorageError,
    StorageFull,
)
from core.prompts import Prompt
from core.protocols import Encoder, Priority
from core.records import Collection, Document, Embeddings, FieldKind, Representation
from core.reindexes import Reindex, ReindexState
from embedder.lexical import Analyzer
from indexer.pipeline import Pipeline, delete
from indexer.reindexing import Reindexing
from indexer.reindexstart import ReindexPlan, begin_reindex
from indexer.worker import Worker
from store import Database, Views, dense, schema
from store.catalog import change_settings, delete_collection, find_collection, get_collection, list_collections
from store.jobs import get_job
from store.reindex.pending import pending_count
from store.reindex.record import ENDED, get, newest, unfinished
from store.verify import verify
from store.view import View
from store.waiting import wait_for_seq
from tests.indexer.fakes import FakeEncoder, create, enqueue, located
from tests.waiting import until

STEPS = (
    "reindex.begun", "reindex.embedded", "reindex.portion_written", "reindex.portion_committed", "reindex.validating",
    "reindex.validated", "reindex.switch_held", "reindex.switch_written", "reindex.switch_committed",
)  # fmt: skip


class OtherEncoder(FakeEncoder):
    """Another model: other vectors, of another length."""

    name = "other"
    fingerprint = "fingerprint-of-the-other"
    dimension = 5
    max_tokens = 12

    def encode(self, prompts: Any, representation: Representation, **options: Any) -> Embeddings:
        made = super().encode(prompts, representation, **options)
        vectors = -made.vectors[:, :5]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return Embeddings(vectors=vectors, token_counts=made.token_counts, truncated=made.truncated)


class Killed(BaseException):
    """The process ends here, as far as its work is concerned."""


class Place:
    """A database with the collection "c", and a process over it that has both models."""

    def __init__(self, database: Database, *, create_it: bool = True) -> None:
        self.database = database
        self.old, self.new = FakeEncoder(), OtherEncoder()
        if create_it:
            create(database)
        self.restart()

    def restart(self) -> None:
        self.pipeline = Pipeline(self.database, self.model, Analyzer())
        self.views = Views(self.database)
        self.reindexing = Reindexing(self.database, self.pipeline, self.views)

    def model(self, collection: Collection) -> Encoder:
        found: Any = {encoder.fingerprint: encoder for encoder in (self.old, self.new)}.get(
            collection.active.fingerprint
        )
        if found is None:
            raise ModelMismatch
        encoder: Encoder = found
        return encoder

    def add(self, **texts: str) -> None:
        report = self.pipeline.add("c", [Document(id=id, text=text, title="t") for id, text in texts.items()])
        assert not report.failed

    def begin(self, **given: Any) -> Reindex:
        given = {"encoder": self.new, "settings": {}, "share": 1.0, **given}
        return begin_reindex(self.database, "c", ReindexPlan(**given))

    def now(self) -> Reindex:
        with self.database.read() as session:
            return newest(session, "c")

    def work(self, until: ReindexState = ReindexState.SWITCHED) -> Reindex:
        deadline = time.monotonic() + 30
        while self.now().state is not until:
            assert self.now().state is not ReindexState.FAILED, self.now().reason
            assert time.monotonic() < deadline, self.now()
            if not self.reindexing.turn():
                time.sleep(0.005)
        return self.now()

    def clean(self) -> None:
        while self.reindexing.turn():
            pass

    def contents(self, name: str = "c") -> dict[str, Any]:
        """Everything that searches go by: text and metadata, and of each passage its span, vector and terms."""
        with self.views.open(name) as view:
            found: dict[str, Any] = {}
            rows = view.session.execute(
                sa.select(schema.document).where(schema.document.c.collection_id == view.collection.id)
            ).all()
            for row in rows:
                ids = np.array(
                    sorted(view.passages_of([row.id]).get(row.id, [])),
                    dtype=np.int64,
                )
                spans = [(p.passage.start, p.passage.end) for p in view.fetch(ids)]
                terms = [view.terms_of(ids[i : i + 1], np.ones(1)) for i in range(len(ids))]
                weights = [sorted((term, round(weight, 6)) for term, weight in each.items()) for each in terms]
                found[row.external_id] = (
                    row.title, row.text, row.metadata, spans, view.vectors(ids).tobytes(), weights,
                )  # fmt: skip
            return found


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def place(database: Database) -> Place:
    return Place(database)


def fresh(place: Place, tmp_database: Database) -> dict[str, Any]:
    """What a collection of the new model is that got the documents one after the other: the oracle."""
    with place.database.read() as session:
        now = get_collection(session, "c")
        rows = session.execute(sa.select(schema.document).where(schema.document.c.collection_id == now.id)).all()
    from store.catalog import create_collection

    with tmp_database.write() as session:
        create_collection(
            session, "c", now.settings, model=now.active.model, fingerprint=now.active.fingerprint,
            dimension=now.active.dimension,
        )  # fmt: skip
    other = Place(tmp_database, create_it=False)
    documents = [Document(id=row.external_id, text=row.text, title=row.title) for row in rows]
    other.pipeline.add("c", documents)
    return other.contents()


@pytest.fixture
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    opened = Database.open(tmp_path_factory.mktemp("second"))
    yield opened
    opened.close()


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


def test_writes_follow_before_and_after_the_switch_and_rollback_is_quick(place: Place, second: Database) -> None:
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
    began = time.monotonic()
    back = place.reindexing.rollback(place.now())
    assert time.monotonic() - began < 1.0
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

    monkeypatch.setattr(store.steps, "observer", kill)
    try:
        place.begin(auto_switch=True)
        place.reindexing.turn()
        place.add(d3="written meanwhile")
        place.work()
    except Killed:
        pass
    monkeypatch.setattr(store.steps, "observer", None)
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


def test_cancel_leaves_nothing(place: Place) -> None:
    place.add(**{f"d{number}": f"text {number}" for number in range(200)})
    before = place.contents()
    begun = place.begin()
    place.reindexing.turn()
    place.reindexing.end(begun, (ReindexState.BUILDING,), ReindexState.CANCELLED)
    with pytest.raises(ReindexConflict, match="what it left is being removed"):
        place.begin()
    place.clean()
    assert place.contents() == before
    with place.database.read() as session:
        for table in (schema.collection, schema.generation):
            assert session.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 1
        assert session.execute(sa.select(sa.func.count()).select_from(schema.document)).scalar() == 200
    assert verify(place.database.directory).findings == ()
    place.begin()
    place.work()


def test_what_is_refused(place: Place) -> None:
    with pytest.raises(ReindexConflict, match="nothing to do"):
        place.begin(encoder=place.old)
    for given, said in (
        ({"share": 0.01}, "share"),
        ({"min_gain": 0.1}, "min_gain needs judgements"),
        ({"settings": {"alpha": 0.1}}, "can be changed at any time"),
        ({"settings": {"passage_tokens": 0}}, "passage_tokens"),
        ({"settings": {"overlap_tokens": 99, "passage_tokens": 9}}, "overlap_tokens"),
    ):
        with pytest.raises(InvalidSettings, match=said):
            place.begin(**given)
    place.new.before = _raises(ModelError("broken"))
    with pytest.raises(ModelError, match="broken"):
        place.begin()
    place.new.before = lambda texts: None
    with place.database.read() as session:
        assert session.execute(sa.select(sa.func.count()).select_from(schema.reindex)).scalar() == 0
    begun = place.begin(auto_switch=False)
    with pytest.raises(ReindexConflict, match="being reindexed already"):
        place.begin(settings={"language": "de"})
    with pytest.raises(ReindexConflict, match="not whole yet"):
        place.reindexing.switch(begun)
    with pytest.raises(ReindexConflict, match="not whole yet"):
        place.reindexing.rollback(begun)
    ready = place.work(ReindexState.READY)  # an empty collection
    with pytest.raises(ReindexConflict, match="needs one that is switched"):
        place.reindexing.end(ready, (ReindexState.SWITCHED,), ReindexState.DONE)
    place.reindexing.switch(ready)
    with pytest.raises(ReindexConflict, match="clean it up first"):
        place.begin(encoder=place.old)


def test_a_collection_that_is_deleted_meanwhile(place: Place) -> None:
    place.add(a="text")
    place.begin()
    place.reindexing.turn()
    with place.database.write() as session:
        delete_collection(session, "c")
        assert session.execute(sa.select(sa.func.count()).select_from(schema.collection)).scalar() == 0
    assert not place.reindexing.turn()
    assert (place.now().state, place.now().reason) == (ReindexState.CANCELLED, "the collection was deleted")
    with pytest.raises(CollectionNotFound):
        place.begin()


def test_a_model_that_is_down_is_waited_for(place: Place) -> None:
    place.add(**{f"d{number}": f"text {number}" for number in range(5)})
    begun = place.begin()
    place.new.before = _raises(RemoteUnavailable("the model is down"))
    assert place.reindexing.turn()
    assert (place.now().reason, place.now().failures) == ("the model is down", 1)
    assert not place.reindexing.turn(), "it pauses"
    place.add(d1="written meanwhile")  # which does not depend on the new model
    place.new.before = lambda texts: None
    _over(place, begun)
    place.work()
    assert place.contents()["d1"][1] == "written meanwhile"


def test_a_document_that_cannot_be_brought_over_is_named_and_waited_for(place: Place) -> None:
    place.add(**{f"d{number}": f"text {number}" for number in range(5)})
    begun = place.begin()

    def refuse(texts: list[str]) -> None:
        if any("text 3" in text for text in texts):
            raise ModelError("too odd")

    place.new.before = refuse
    while place.reindexing.turn():
        pass
    assert place.now().state is ReindexState.BUILDING
    assert "document 'd3' cannot be brought over" in (place.now().reason or "")
    place.add(d3="something else")
    _over(place, begun)
    place.work()
    assert place.contents()["d3"][1] == "something else"


def test_a_process_without_the_model_leaves_it_to_others(place: Place) -> None:
    place.add(a="text")
    place.begin()
    poor = Place(place.database, create_it=False)
    poor.new.fingerprint = "something else"
    assert not poor.reindexing.turn()
    assert not poor.reindexing.turn()
    place.work()


def test_settings_that_documents_do_not_suit(place: Place) -> None:
    place.pipeline.add("c", [Document(id="a", text="x", metadata={"price": "many"})])
    place.begin(settings={"fields": {"price": FieldKind.NUMBER}})
    while place.reindexing.turn():
        pass
    assert "price" in (place.now().reason or "")


def test_found_wanting_it_does_not_answer(place: Place) -> None:
    place.add(a="text")
    judged: list[tuple[str, str]] = []

    def judge(old: str, new: str, judgements: Any) -> dict[str, Any]:
        judged.append((old, new))
        return {"gain": -0.2, **judgements}

    place.reindexing = Reindexing(place.database, place.pipeline, place.views, judge)
    begun = place.begin(judgements='{"of": "a user"}', min_gain=0.0)
    while place.now().state is not ReindexState.FAILED:
        place.reindexing.turn()
    assert judged == [("c", f"c!{begun.id}")]
    assert "gains -0.2000 nDCG@10, and +0 are asked for" in (place.now().reason or "")
    assert '"of": "a user"' in (place.now().report or "")
    with place.database.read() as session:
        assert get_collection(session, "c").active.fingerprint == FakeEncoder.fingerprint
    with pytest.raises(ReindexConflict, match="cancel it first"):
        place.begin()
    place.reindexing.end(place.now(), (ReindexState.FAILED,), ReindexState.CANCELLED)
    place.clean()
    assert place.now().hidden_id is None


def test_no_state_is_held_while_all_vectors_are_read_again_and_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans: list[int] = []  # of each state that was opened
    opened, read = place.views.open, dense.dot

    @contextmanager
    def counted(name: str) -> Iterator[View]:
        scans.append(0)
        with opened(name) as view:
            yield view

    def noted(*given: Any) -> Any:
        scans[-1] += 1
        return read(*given)

    place.add(**{f"d{number}": f"text number {number} of them" for number in range(6)})
    place.begin(auto_switch=False)
    monkeypatch.setattr(place.views, "open", counted)
    monkeypatch.setattr("indexer.validation.dense.dot", noted)
    done = place.work(ReindexState.READY)
    assert json.loads(done.report or "")["recall"] == 1.0
    assert len([one for one in scans if one]) == 6, "a state for each vector of the sample"


def test_what_was_written_past_the_log_is_noticed(place: Place) -> None:
    place.add(a="text", b="text b")
    begun = place.begin(auto_switch=False)
    place.work(ReindexState.READY)
    with place.database.write() as session:
        hidden = find_collection(session, f"c!{begun.id}")
        document = schema.document
        values = {
            "external_id": "a",
            "language": "en",
            "content_sha": b"",
            "title": "t",
            "metadata": "{}",
            "controls": None,
        }
        mine = (document.c.collection_id == hidden.id) & (document.c.external_id == "a")
        session.execute(sa.update(document).where(mine).values(**values, text="damaged"))
        session.execute(sa.update(schema.reindex).values(state=ReindexState.VALIDATING.value))
    place.reindexing.turn()
    with place.database.read() as session:
        assert pending_count(session, get(session, begun.id)) == 1
    place.work(ReindexState.READY)
    place.clean()
    assert place.contents(f"c!{begun.id}")["a"][1] == "text"


def test_the_old_generation_goes_when_its_time_is_over(place: Place) -> None:
    place.add(a="text")
    place.begin(grace_seconds=0.0)
    place.work(ReindexState.DONE)
    place.clean()
    assert place.now().hidden_id is None


def test_it_rests_by_its_share(place: Place) -> None:
    place.add(**{f"d{number}": f"text {number}" for number in range(300)})
    place.new.before = lambda texts: time.sleep(0.05)
    place.begin(share=0.1)
    assert place.reindexing.turn()
    assert not place.reindexing.turn()
    now = place.now()
    assert now.pause_seconds == pytest.approx(now.busy_seconds * 9, rel=0.01)
    assert now.seconds_left == pytest.approx((300 - now.done) / now.done * now.busy_seconds / 0.1)


def _raises(error: BaseException) -> Callable[[list[str]], None]:
    def before(texts: list[str]) -> None:
        raise error

    return before


def _over(place: Place, reindex: Reindex) -> None:
    """Its pause is."""
    with place.database.write() as session:
        session.execute(sa.update(schema.reindex).where(schema.reindex.c.id == reindex.id).values(paused_at=None))


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


def test_one_that_never_held_anything_is_switched(place: Place) -> None:
    place.begin()
    place.work()
    with place.views.open("c") as view:
        assert (view.seq, view.passage_count) == (0, 0)
    assert verify(place.database.directory).findings == ()


def test_the_thread_goes_on_whatever_goes_wrong(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reindexing_module, "_LONGEST_PAUSE_SECONDS", 0.01)
    place.add(a="one")
    place.begin()
    faults: list[BaseException] = [
        OSError("a fault that nobody thought of"), StorageFull("the disk is full"), ZeroDivisionError()
    ]  # fmt: skip
    reasons: list[str | None] = []
    original = place.reindexing._rests

    def faulty(reindex: Reindex, now: float) -> bool:
        reasons.append(place.now().reason)
        if faults:
            raise faults.pop(0)
        return original(reindex, now)

    monkeypatch.setattr(place.reindexing, "_rests", faulty)
    thread = threading.Thread(target=place.reindexing.run)
    thread.start()
    deadline = time.monotonic() + 30
    while place.now().state is not ReindexState.SWITCHED:
        assert thread.is_alive()
        assert time.monotonic() < deadline, place.now()
        time.sleep(0.01)
    place.reindexing.stop()
    thread.join(60)
    assert reasons[:4] == [
        None,
        "an unexpected failure (OSError); see the log",
        "an unexpected failure (OSError); see the log",  # a full disk cannot be written to
        "an unexpected failure (ZeroDivisionError); see the log",
    ]
    assert place.now().reason is None, "what is over is not told any more"
    assert "a fault that nobody thought of" in caplog.text
    assert "the disk is full" in caplog.text


def test_what_is_damaged_is_told_and_holds_up_no_other(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.add(a="one")
    begun = place.begin()
    create(place.database, "other")
    monkeypatch.setattr(place.reindexing._bringing, "portion", _damaged(begun, place.reindexing._bringing.portion))
    begin_reindex(place.database, "other", ReindexPlan(encoder=place.new, settings={}, share=1.0))
    deadline = time.monotonic() + 30
    while _state(place, "other") is not ReindexState.SWITCHED:
        assert time.monotonic() < deadline
        place.reindexing.turn()
    assert place.now().reason == "a page is damaged"
    assert place.now().failures >= 1


@pytest.mark.parametrize("state", [state for state in ReindexState if state in ENDED])
def test_what_cannot_be_removed_holds_up_no_other(
    place: Place, monkeypatch: pytest.MonkeyPatch, state: ReindexState
) -> None:
    place.add(a="one", b="two")
    begun = place.begin(auto_switch=False)
    place.work(ReindexState.READY)
    with place.database.write() as session:  # the hidden generation's rows cannot be deleted: IntegrityError
        session.execute(
            sa.text(
                f"CREATE TRIGGER kept BEFORE DELETE ON document WHEN OLD.collection_id = {begun.hidden_id} "
                "BEGIN SELECT RAISE(ABORT, 'kept'); END"
            )
        )
        ended = {
            "state": state.value,
            "ended_at": 0.0,
            "reason": "found wanting" if state is ReindexState.FAILED else None,
        }
        session.execute(sa.update(schema.reindex).where(schema.reindex.c.id == begun.id).values(**ended))
    create(place.database, "other")
    begin_reindex(place.database, "other", ReindexPlan(encoder=place.new, settings={}, share=1.0))
    tries: list[int] = []
    original = place.reindexing._next

    def counted(reindex: Reindex) -> bool:
        if reindex.id == begun.id:
            tries.append(reindex.failures)
        return original(reindex)

    monkeypatch.setattr(place.reindexing, "_next", counted)
    draining = threading.Thread(target=place.reindexing.drain, daemon=True)
    draining.start()
    draining.join(10)
    over = not draining.is_alive()
    if not over:
        place.reindexing.stop()
        draining.join(60)
    assert over, "what cannot be done now is left"
    if state is ReindexState.FAILED:  # nobody is in haste to remove it
        place.reindexing.turn()
    with place.reindexing.running():
        until(lambda: _state(place, "other") is ReindexState.SWITCHED)
        time.sleep(0.5)
    assert 1 <= len(tries) <= 3, "once, and after a pause"
    told = place.now()
    assert (told.state, told.failures, told.hidden_id) == (state, len(tries), begun.hidden_id)
    if state is ReindexState.FAILED:
        assert told.reason == "found wanting"
    else:
        assert "unexpected failure (IntegrityError)" in (told.reason or "") or "kept" in (told.reason or "")
    with place.database.write() as session:
        session.execute(sa.text("DROP TRIGGER kept"))
    place.restart()
    _over(place, begun)
    while place.now().hidden_id is not None:
        assert place.reindexing.turn()
    assert place.now().failures == 0
    assert place.now().reason == ("found wanting" if state is ReindexState.FAILED else None)
    assert verify(place.database.directory).findings == ()


@pytest.mark.parametrize("error", [StorageCorrupt("a page is damaged"), StorageError("a page cannot be read")])
def test_what_cannot_be_removed_from_a_damaged_file_waits(
    place: Place, monkeypatch: pytest.MonkeyPatch, error: StorageError
) -> None:
    place.add(a="one")
    begun = place.begin()
    place.reindexing.turn()
    place.reindexing.end(place.now(), (ReindexState.BUILDING,), ReindexState.CANCELLED)
    create(place.database, "other")
    begin_reindex(place.database, "other", ReindexPlan(encoder=place.new, settings={}, share=1.0))

    def damaged(database: Database, reindex: Reindex) -> bool:
        assert reindex.id == begun.id
        raise error

    monkeypatch.setattr(reindexing_module, "drop_piece", damaged)
    until(lambda: not place.reindexing.turn() and _state(place, "other") is ReindexState.SWITCHED)
    place.reindexing.drain()
    assert (place.now().reason, place.now().failures, place.now().pause_seconds) == (error.message, 1, 1.0)


def test_what_is_cancelled_is_removed_at_once_whatever_it_waited_for(place: Place) -> None:
    place.add(a="one")
    place.begin()
    place.new.before = _raises(RemoteUnavailable("the model is down", retry_after=300.0))
    assert place.reindexing.turn()
    assert place.now().pause_seconds == 300.0
    place.reindexing.end(place.now(), (ReindexState.BUILDING,), ReindexState.CANCELLED)
    assert (place.now().failures, place.now().reason) == (0, None)
    place.reindexing.drain()
    assert place.now().hidden_id is None


def test_one_that_is_cancelled_while_it_fails_does_not_wait(place: Place) -> None:
    place.add(a="one")
    place.begin()

    def cancelled(texts: list[str]) -> None:
        place.reindexing.end(place.now(), (ReindexState.BUILDING,), ReindexState.CANCELLED)
        raise RemoteUnavailable("the model is down", retry_after=300.0)

    place.new.before = cancelled
    place.reindexing.turn()
    assert (place.now().state, place.now().reason) == (ReindexState.CANCELLED, None)
    place.reindexing.drain()
    assert place.now().hidden_id is None


def test_a_fault_that_holds_up_all_is_told_and_changes_nothing_else(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reindexing_module, "_LONGEST_PAUSE_SECONDS", 0.01)
    for name in ("ready", "refused"):
        create(place.database, name)
    place.pipeline.add("refused", [Document(id="a", text="one", title="t")])
    place.add(a="one")
    ids = {
        name: begin_reindex(
            place.database, name, ReindexPlan(encoder=place.new, settings={}, share=1.0, auto_switch=False)
        ).id
        for name in ("c", "ready", "refused")
    }
    until(lambda: not place.reindexing.turn() and {_state(place, name) for name in ids} == {ReindexState.READY})
    _put(place, ids["c"], reason="the model is down", failures=2, paused_at=time.time(), pause_seconds=300.0)
    said = "document 'a' cannot be brought over: too odd; change it or delete it"
    _put(place, ids["refused"], reason=said, paused_at=time.time(), pause_seconds=10.0)
    before = _rows(place)
    faults: list[BaseException] = [OSError("a fault"), ZeroDivisionError()]
    seen: list[dict[str, Reindex]] = []
    original = place.reindexing._rests

    def faulty(reindex: Reindex, now: float) -> bool:
        seen.append(_rows(place))
        if faults:
            raise faults.pop(0)
        return original(reindex, now)

    monkeypatch.setattr(place.reindexing, "_rests", faulty)
    with place.reindexing.running():
        until(lambda: len(seen) > 2 and _rows(place)["ready"].reason is None)
    assert seen[0] == before
    for rows, kind in ((seen[1], "OSError"), (seen[2], "ZeroDivisionError")):
        told = f"an unexpected failure ({kind}); see the log"
        assert rows == {**before, "ready": replace(before["ready"], reason=told)}
    assert _rows(place) == before, "what is over is not told any more, and who waited waits on"


def test_a_comparison_that_could_not_be_made_is_made_again(place: Place) -> None:
    place.add(a="text")
    down = [RemoteUnavailable("the model is down"), RemoteUnavailable("the model is down")]

    def judge(old: str, new: str, judgements: Any) -> dict[str, Any]:
        if down:
            raise down.pop()
        return {"gain": 0.1}

    place.reindexing = Reindexing(place.database, place.pipeline, place.views, judge)
    begun = place.begin(judgements="{}", min_gain=0.0, auto_switch=False)
    for failures, pause in ((1, 1.0), (2, 2.0)):
        until(lambda: place.reindexing.turn() and place.now().reason is not None)
        now = place.now()
        assert (now.reason, now.failures, now.pause_seconds) == ("the model is down", failures, pause)
        _over(place, begun)
    place.work(ReindexState.READY)
    assert (place.now().reason, place.now().failures) == (None, 0)


def _put(place: Place, id_: int, **values: Any) -> None:
    with place.database.write() as session:
        session.execute(sa.update(schema.reindex).where(schema.reindex.c.id == id_).values(**values))


def _rows(place: Place) -> dict[str, Reindex]:
    with place.database.read() as session:
        return {found.collection: found for found in unfinished(session)}


def _state(place: Place, name: str) -> ReindexState:
    with place.database.read() as session:
        return newest(session, name).state


def _damaged(reindex: Reindex, portion: Callable[[Reindex], bool]) -> Callable[[Reindex], bool]:
    def found(given: Reindex) -> bool:
        if given.id == reindex.id:
            raise StorageCorrupt("a page is damaged")
        return portion(given)

    return found


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
