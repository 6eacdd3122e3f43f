"""What is refused, and reindexes that end without a switch: what they made is removed."""

from __future__ import annotations

import os

import pytest
import sqlalchemy as sa

from core.errors import (
    CollectionNotFound,
    Conflict,
    InvalidSettings,
    ModelError,
    ReindexConflict,
    RemoteUnavailable,
    StorageBusy,
)
from core.records import Document, FieldKind
from core.reindexes import ReindexState
from indexer import preemption
from store import schema
from store.catalog import delete_collection
from store.directory import REINDEX_LOCK
from store.lock import held
from store.verify import verify
from tests.indexer.reindexing.place import Place, raising


def test_a_reindex_without_purpose_or_with_unusable_settings_is_refused(place: Place) -> None:
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
    place.new.before = raising(ModelError("broken"))
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


def test_a_collection_that_is_deleted_meanwhile(place: Place) -> None:
    place.add(a="text")
    place.begin()
    place.reindexing.turn()
    with place.database.write() as session:
        delete_collection(session, "c")
    assert place.reindexing.turn(), "what it left goes"
    place.reindexing.drain()
    with place.database.read() as session:
        assert session.execute(sa.select(sa.func.count()).select_from(schema.collection)).scalar() == 0
    assert not place.reindexing.turn()
    assert (place.now().state, place.now().reason) == (ReindexState.CANCELLED, "the collection was deleted")
    with pytest.raises(CollectionNotFound):
        place.begin()


def test_what_is_cancelled_is_removed_at_once_whatever_it_waited_for(place: Place) -> None:
    place.add(a="one")
    place.begin()
    place.new.before = raising(RemoteUnavailable("the model is down", retry_after=300.0))
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


def test_the_old_generation_goes_when_its_time_is_over(place: Place) -> None:
    place.add(a="text")
    place.begin(grace_seconds=0.0)
    place.work(ReindexState.DONE)
    place.clean()
    assert place.now().hidden_id is None


def test_a_switch_that_would_lose_a_document_is_refused(place: Place) -> None:
    place.add(a="text")
    place.begin(settings={"fields": {"price": FieldKind.NUMBER}}, auto_switch=False)
    ready = place.work(ReindexState.READY)
    place.pipeline.add("c", [Document(id="odd", text="x", metadata={"price": "many"})])
    with pytest.raises(Conflict, match=r"document 'odd' cannot be brought over.*change it or delete it"):
        place.reindexing.switch(ready)
    assert place.now().state is ReindexState.READY
    place.pipeline.add("c", [Document(id="odd", text="x", metadata={"price": 3})])
    assert place.reindexing.switch(place.now()).state is ReindexState.SWITCHED
    assert place.contents().keys() == {"a", "odd"}


def test_a_process_that_stands_still_is_named_to_whoever_waits_for_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.begin()
    place.work()
    monkeypatch.setattr(preemption, "LOCK_SECONDS", 0.1)
    with (
        held(place.database.directory, REINDEX_LOCK, timeout=5),
        pytest.raises(StorageBusy, match=rf"process {os.getpid()} on .* does not give way; nothing was switched"),
    ):
        place.reindexing.rollback(place.now())
    assert place.reindexing.rollback(place.now()).state is ReindexState.ROLLED_BACK
