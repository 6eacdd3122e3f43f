"""Collections that are deleted: nobody finds them from then on, and what they left goes piece by piece."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.errors import CollectionNotFound
from core.records import Collection
from core.reindexes import Reindex, ReindexState
from store import Database, Views, schema
from store.catalog import create_collection, delete_collection, find_collection, list_collections
from store.figures import figures
from store.jobs.intake import begin as begin_job
from store.reindex import dropping
from store.reindex.dropping import drop_deleted, drop_deleted_piece, drop_piece
from store.reindex.record import changed, get, newest, unfinished
from store.segments.sealing import seal
from store.segments.upkeep import maintain
from store.verify import verify
from store.visibility import holdings
from tests.store.hidden import NOW, other_findings, reindex
from tests.store.library import DIMENSION, FINGERPRINT, Item, create, put
from tests.store.stocked import stock


def test_a_collection_that_goes_takes_both_generations(database: Database, collection: Collection) -> None:
    made, hidden = reindex(database, collection)
    put(database, hidden, Item(id="a", text="x"))
    with database.write() as session:
        changed(
            session, made, (made.state,), failures=3, paused_at=NOW, pause_seconds=3600.0, reason="a remote is down"
        )
        delete_collection(session, "books")
        ended = get(session, made.id)
    assert (ended.state, ended.hidden_id, ended.serving_id) == (ReindexState.CANCELLED, hidden.id, None)
    assert (ended.failures, ended.paused_at, ended.pause_seconds) == (0, None, None), "its removal waits for nothing"
    assert ended.reason == "the collection was deleted"
    assert other_findings(database) == []
    drop_deleted(database)
    with database.read() as session:
        for table in (schema.collection, schema.document, schema.passage, schema.reindex_pending):
            assert session.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 0
        assert unfinished(session) == []


def test_what_a_deleted_collection_left_goes_in_pieces_and_nobody_finds_it(
    database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dropping, "_DOCUMENTS", 1)
    monkeypatch.setattr(dropping, "_ROWS", 2)
    made, hidden = reindex(database, collection)
    put(database, collection, *(Item(id=id_, text="whale\nsea") for id_ in "abc"))
    put(database, hidden, Item(id="a", text="whale"))
    for one in (collection, hidden):
        assert seal(database, one.active.id)
    views = Views(database)
    with views.open("books"), database.write() as session:
        begin_job(session, collection, "somebody", seconds=30.0, key=None, now=NOW)
        delete_collection(session, "books")
        again = create_collection(
            session, "books", collection.settings, model="test", fingerprint=FINGERPRINT, dimension=DIMENSION
        )
    with database.read() as session:
        left = unfinished(session)
        assert [(one.hidden_id, one.state) for one in left] == [
            (hidden.id, ReindexState.CANCELLED), (collection.id, ReindexState.CANCELLED)
        ]  # fmt: skip
        assert newest(session, "books").id == made.id, "what never was a reindex is none of the collection's"
        assert list_collections(session) == [again]
        assert holdings(session, None) == (1, 0)
        for name in (hidden.name, f"books!{left[1].id}"):
            with pytest.raises(CollectionNotFound):
                find_collection(session, name)
        assert session.execute(sa.select(schema.job.c.collection_id)).scalars().all() == [None]
    assert [one.name for one in figures(database).collections] == ["books"]
    for one in (collection, hidden):
        with pytest.raises(CollectionNotFound, match="deleted meanwhile"):
            put(database, one, Item(id="late", text="b"))
        assert not seal(database, one.active.id)
    assert not maintain(database)
    put(database, again, Item(id="a", text="ship"))
    for reindex_ in left:
        pieces = 1
        while drop_piece(database, reindex_):
            pieces += 1
            assert other_findings(database) == []
        assert pieces >= 5
    with views.open("books") as view:
        assert view.passage_count == 1
    with database.read() as session:
        assert unfinished(session) == []
        rows = session.execute(sa.select(schema.reindex.c.id)).scalars().all()
        assert rows == [made.id], "the reindex itself is history, and nothing else is left"


def test_two_may_remove_the_same(database: Database, collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    put(database, collection, Item(id="a", text="whale"))
    with database.write() as session:
        delete_collection(session, "books")
    original = dropping.drop_piece

    def beaten(database: Database, reindex: Reindex) -> bool:
        while original(database, reindex):
            pass
        return original(database, reindex)

    monkeypatch.setattr(dropping, "drop_piece", beaten)
    assert drop_deleted_piece(database)
    assert not drop_deleted_piece(database)


@pytest.mark.parametrize("name", ["books", "songs", "logs"])
def test_what_is_left_is_sound_after_each_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """With jobs, with learned weights, and of what an engine elsewhere holds."""
    monkeypatch.setattr(dropping, "_DOCUMENTS", 10)
    monkeypatch.setattr(dropping, "_ROWS", 40)
    stock(tmp_path / "data")
    with closing(Database.open(tmp_path / "data")) as database:
        with database.write() as session:
            delete_collection(session, name)
        assert verify(database.directory).findings == ()
        with database.read() as session:
            (left,) = unfinished(session)
        while drop_piece(database, left):
            assert verify(database.directory).findings == ()
        assert verify(database.directory).findings == ()


def test_a_collection_is_deleted_by_few_writes_however_large_it_is(database: Database, collection: Collection) -> None:
    """Others wait meanwhile. What SQLite does for it is counted, as time is not the same everywhere."""

    def work() -> int:
        steps = [0]

        def count() -> None:
            steps[0] += 1

        with database.write() as session:
            driver = session._connection.connection.dbapi_connection
            driver.set_progress_handler(count, 100)  # type: ignore[union-attr]
            delete_collection(session, "books")
            driver.set_progress_handler(None, 0)  # type: ignore[union-attr]
        return steps[0]

    put(database, collection, Item(id="a", text="whale"))
    little = work()
    large = create(database)
    put(database, large, *(Item(id=str(number), text="whale\nsea\nship") for number in range(200)))
    assert work() < 2 * little + 10
