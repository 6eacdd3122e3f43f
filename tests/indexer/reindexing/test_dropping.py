"""What a reindex leaves goes piece by piece, and the directory is sound at every moment."""

from __future__ import annotations

import pytest

from core.reindexes import ReindexState
from store.maintenance import maintain_once
from store.reindex import dropping
from store.verify import verify
from tests.indexer.reindexing.place import Place


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
