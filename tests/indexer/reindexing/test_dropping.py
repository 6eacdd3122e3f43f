"""What a reindex leaves goes piece by piece, and the directory is sound at every moment."""

from __future__ import annotations

import pytest

from core.reindexes import ReindexState
from store.catalog import delete_collection
from store.maintenance import maintain_once
from store.reindex import dropping
from store.reindex.record import unfinished
from store.verify import verify
from tests.indexer.reindexing.place import Place
from tests.store import library
from tests.store.library import Item


@pytest.mark.parametrize("sealed", [False, True])
def test_what_is_left_is_sound_after_each_piece(place: Place, monkeypatch: pytest.MonkeyPatch, sealed: bool) -> None:
    monkeypatch.setattr(dropping, "_DOCUMENTS", 1)
    monkeypatch.setattr(dropping, "_ROWS", 1)
    place.add(a="one two", b="two three")
    place.begin(auto_switch=False)
    place.work(ReindexState.READY)
    if sealed:
        maintain_once(place.database)
    place.reindexing.end(place.now(), (ReindexState.READY,), ReindexState.CANCELLED)
    pieces = 1
    while dropping.drop_piece(place.database, place.now()):
        pieces += 1
        assert verify(place.database.directory).findings == ()
    assert pieces > 8, "documents, embeddings, changes and terms one by one"
    assert verify(place.database.directory).findings == ()


def test_others_go_on_while_a_deleted_collection_goes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropping, "_DOCUMENTS", 1)
    large = library.create(place.database, "large")
    library.put(place.database, large, *(Item(id=str(number), text="a") for number in range(20)))
    place.add(**{f"d{number}": f"text {number}" for number in range(300)})
    place.begin()
    place.reindexing.turn()
    before = place.now().done
    with place.database.write() as session:
        delete_collection(session, "large")
    for _ in range(4):
        place.reindexing.turn()
    assert place.now().done > before
    with place.database.read() as session:
        left = sum(reindex.serving_id is None for reindex in unfinished(session))
    assert left == 1, "it takes longer than that"
    place.work()
    place.clean()
    with place.database.read() as session:
        assert all(reindex.serving_id is not None for reindex in unfinished(session))
