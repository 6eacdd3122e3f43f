"""Collections that go to an engine by a reindex, or leave it: what is there is sound at every moment, and then gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.records import IndexKind
from core.reindexes import ReindexState
from indexer.reindexing import Reindexing
from store import Database, Views
from store.catalog import get_collection
from store.passageindex.record import find_record, list_records
from store.segments.rows import active_segments
from store.segments.sealing import seal
from store.verify import verify
from tests.indexer.reindexing.place import Place, fresh
from tests.store.passageindex.bringing import bring
from tests.store.passageindex.plain import PlainIndex


class Indexed(Place):
    """Whose process knows of an engine."""

    def __init__(self, database: Database, index: PlainIndex) -> None:
        self.index = index
        super().__init__(database)

    def restart(self) -> None:
        super().restart()
        self.views = Views(self.database, self.index)
        self.reindexing = Reindexing(self.database, self.pipeline, self.views)

    def check(self) -> None:
        """But for the log, and what goes by it, of a generation that is being removed piece by piece."""
        findings = verify(self.database.directory, index=self.index).findings
        assert [one for one in findings if one.check == "passage index" or "!" not in str(one.collection)] == []

    def is_elsewhere(self) -> bool:
        with self.database.read() as session:
            return find_record(session, get_collection(session, "c").active.id) is not None


@pytest.fixture
def place(database: Database) -> Indexed:
    found = Indexed(database, PlainIndex())
    found.add(**{f"d{i}": f"whale {i} of the sea" for i in range(20)}, **{f"same{i}": "ship" for i in range(3)})
    return found


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "second")
    yield opened
    opened.close()


def test_there_and_back(place: Indexed, second: Database, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.reindex.dropping._DOCUMENTS", 6)
    monkeypatch.setattr("store.reindex.dropping._ROWS", 9)
    seal(database, place.views.collection("c").active.id)
    for number, kind in enumerate((IndexKind.MILVUS, IndexKind.AUTO)):
        place.begin(settings={"index": kind})
        place.add(**{f"meanwhile{number}": "harpoon captain"})
        bring(database, place.index)
        done = place.work()
        place.check()
        bring(database, place.index)
        assert place.is_elsewhere() == (kind is IndexKind.MILVUS)
        place.reindexing.end(done, (ReindexState.SWITCHED,), ReindexState.DONE)
        pieces = 0
        while place.reindexing.turn():
            pieces += 1
            place.check()
        assert pieces > 4
        bring(database, place.index)
        place.check()
        with database.read() as session:
            records = list_records(session)
            segments = active_segments(session, get_collection(session, "c").active.id)
        assert [record.generation_id is None for record in records] == [False] * (kind is IndexKind.MILVUS)
        assert place.index.names() == {record.name for record in records}
        assert segments == []
    assert place.contents() == fresh(place, second)


def test_one_that_is_cancelled_leaves_nothing_there(place: Indexed, database: Database) -> None:
    place.begin(settings={"index": IndexKind.MILVUS}, auto_switch=False)
    ready = place.work(ReindexState.READY)
    bring(database, place.index)
    assert len(place.index.names()) == 1
    place.reindexing.end(ready, (ReindexState.READY,), ReindexState.CANCELLED)
    place.clean()
    place.check()
    bring(database, place.index)
    assert place.index.names() == set()
    with database.read() as session:
        assert list_records(session) == []
