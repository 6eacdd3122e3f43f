"""What goes wrong is told and tried again, and holds up no other reindex."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

import indexer.reindexing as reindexing_module
from core.errors import (
    ModelError,
    ModelUnavailable,
    RemoteUnavailable,
    StorageBusy,
    StorageCorrupt,
    StorageError,
    StorageFull,
)
from core.records import Document, FieldKind
from core.reindexes import Reindex, ReindexState
from core.storedreason import stored_reason
from indexer.preemption import preemptible
from indexer.reindexstart import ReindexPlan, begin_reindex
from store import Database, schema
from store.reindex.record import ENDED, unfinished
from store.verify import verify
from tests.indexer.fakes import create
from tests.indexer.reindexing.place import Place, end_pause, raising, state_of
from tests.waiting import until


def test_a_model_that_is_down_is_waited_for(place: Place) -> None:
    place.add(**{f"d{number}": f"text {number}" for number in range(5)})
    begun = place.begin()
    place.new.before = raising(RemoteUnavailable("the model is down"))
    assert place.reindexing.turn()
    assert (place.now().reason, place.now().failures) == ("the model is down", 1)
    assert not place.reindexing.turn(), "it pauses"
    place.add(d1="written meanwhile")  # which does not depend on the new model
    place.new.before = lambda texts: None
    end_pause(place, begun)
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
    end_pause(place, begun)
    place.work()
    assert place.contents()["d3"][1] == "something else"


def test_a_write_that_is_refused_is_no_turn_of_others(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is raised is logged by whoever runs it, and tried again later and later."""
    place.add(a="text")
    place.begin()
    monkeypatch.setattr(place.reindexing, "_next", raising(StorageBusy("somebody writes")))
    with pytest.raises(StorageBusy, match="somebody writes"):
        place.reindexing.turn()
    with preemptible(place.database.directory):
        assert not place.reindexing.turn()


def test_where_a_models_files_lie_is_in_the_log_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place.add(a="text")
    place.begin()
    lost = ModelUnavailable("model m cannot be loaded", detail="/models/m is not a folder")
    monkeypatch.setattr(place.reindexing, "_next", raising(lost))
    with caplog.at_level("INFO"):
        place.reindexing.turn()
    assert place.now().reason == "model m cannot be loaded"
    assert "/models/m is not a folder" in caplog.text


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


def test_what_a_document_holds_is_told_by_the_status_and_not_by_the_log(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.add(a="text")
    place.begin(settings={"fields": {"price": FieldKind.NUMBER}})
    place.work(ReindexState.READY)
    place.pipeline.add("c", [Document(id="secret", text="x", metadata={"price": "many"})])
    with caplog.at_level("INFO"):
        assert place.reindexing.turn(), "it was to be switched"
    assert place.now().state is ReindexState.READY
    assert "'secret' cannot be brought over" in (place.now().reason or "")
    assert "many" in (place.now().reason or "")
    assert "the reindex of c waits" in caplog.text
    assert not any(word in caplog.text for word in ("many", "secret"))


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
    monkeypatch.setattr(place.reindexing._backfill, "portion", _damaged(begun, place.reindexing._backfill.portion))
    begin_reindex(place.database, "other", ReindexPlan(encoder=place.new, settings={}, share=1.0))
    deadline = time.monotonic() + 30
    while state_of(place, "other") is not ReindexState.SWITCHED:
        assert time.monotonic() < deadline
        place.reindexing.turn()
    assert place.now().reason == "storage_corrupt: a page is damaged"  # by which others are told less
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
    moment, original = float(int(time.time())), place.reindexing._next

    def counted(reindex: Reindex) -> bool:
        if reindex.id == begun.id:
            tries.append(reindex.failures)
        return original(reindex)

    monkeypatch.setattr(place.reindexing, "_next", counted)
    monkeypatch.setattr(place.reindexing, "_clock", lambda session: moment)
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
        until(lambda: state_of(place, "other") is ReindexState.SWITCHED)
    for pause, so_often in ((0.0, 1), (0.75, 1), (0.25, 2), (1.75, 2), (0.25, 3)):
        moment += pause
        for _ in range(3):
            place.reindexing.turn()
        assert len(tries) == so_often, "once, and after each pause"
    told = place.now()
    assert (told.state, told.failures, told.hidden_id) == (state, 3, begun.hidden_id)
    if state is ReindexState.FAILED:
        assert told.reason == "found wanting"
    else:
        assert "unexpected failure (IntegrityError)" in (told.reason or "") or "kept" in (told.reason or "")
    with place.database.write() as session:
        session.execute(sa.text("DROP TRIGGER kept"))
    place.restart()
    end_pause(place, begun)
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

    tries: list[float] = []

    def damaged(database: Database, reindex: Reindex) -> bool:
        assert reindex.id == begun.id
        tries.append(time.time())
        raise error

    monkeypatch.setattr(reindexing_module, "drop_piece", damaged)
    until(lambda: not place.reindexing.turn() and state_of(place, "other") is ReindexState.SWITCHED)
    place.reindexing.drain()
    told = place.now()  # a machine that stood still meanwhile may have tried more than once, after its pauses
    assert (told.reason, told.failures, told.pause_seconds) == (
        stored_reason(error),
        len(tries),
        2.0 ** (len(tries) - 1),
    )
    for failures, (earlier, later) in enumerate(itertools.pairwise(tries)):
        assert later - earlier >= 2.0**failures


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
    until(lambda: not place.reindexing.turn() and {state_of(place, name) for name in ids} == {ReindexState.READY})
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


def _put(place: Place, id_: int, **values: Any) -> None:
    with place.database.write() as session:
        session.execute(sa.update(schema.reindex).where(schema.reindex.c.id == id_).values(**values))


def _rows(place: Place) -> dict[str, Reindex]:
    with place.database.read() as session:
        return {found.collection: found for found in unfinished(session)}


def _damaged(reindex: Reindex, portion: Callable[[Reindex], bool]) -> Callable[[Reindex], bool]:
    def found(given: Reindex) -> bool:
        if given.id == reindex.id:
            raise StorageCorrupt("a page is damaged")
        return portion(given)

    return found
