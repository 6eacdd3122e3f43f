"""Hidden generations and aliases in the catalogue, and writers that are held back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

import store.views
from core.errors import (
    AliasNotFound,
    CollectionExists,
    CollectionMoved,
    CollectionNotFound,
    Conflict,
    InvalidSettings,
    StorageBusy,
)
from core.records import Collection
from core.reindexes import Reindex, ReindexState
from store import Database, ReadSession, Views, schema
from store.aliases import Alias, delete_alias, get_alias, list_aliases, set_alias
from store.catalog import (
    change_settings,
    delete_collection,
    find_collection,
    get_collection,
    list_collections,
)
from store.changes import current_seq
from store.jobs.intake import begin as begin_job
from store.reindex.dropping import drop_piece
from store.reindex.pending import pending_count
from store.reindex.record import changed
from store.reindex.switching import NotCaughtUp, switch
from store.visibility import holdings
from tests.store.hidden import NOW, other_findings, reindex
from tests.store.library import Item, create, put


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "data", busy_timeout_ms=300)
    yield opened
    opened.close()


@pytest.fixture
def books(database: Database) -> Collection:
    return create(database)


def waiting(database: Database, made: Reindex) -> set[str]:
    pending = schema.reindex_pending.c
    with database.read() as session:
        found = set(session.execute(sa.select(pending.external_id)).scalars())
        assert pending_count(session, made) == len(found)
    return found


def test_a_hidden_generation_is_seen_by_its_own_name_alone(database: Database, books: Collection) -> None:
    made, hidden = reindex(database, books)
    assert hidden.name == f"books!{made.id}"
    assert hidden.created_at == books.created_at
    with database.read() as session:
        assert list_collections(session) == [books]
        assert find_collection(session, hidden.name) == hidden
        assert holdings(session, None) == (1, 0)
        with pytest.raises(CollectionNotFound, match="did you mean 'books'"):
            get_collection(session, hidden.name)
    with database.write() as session, pytest.raises(CollectionNotFound):
        delete_collection(session, hidden.name)
    assert other_findings(database) == []


def test_every_write_is_noted_and_nothing_else(database: Database, books: Collection) -> None:
    put(database, books, Item(id="before", text="x"))
    made, hidden = reindex(database, books)
    put(database, books, Item(id="new", text="a"), Item(id="before", text="x"))
    assert waiting(database, made) == {"new"}, "what is unchanged is not"
    put(database, books, Item(id="before", text="x", metadata={"n": 1}))
    put(database, books, delete=["new", "nobody"])
    put(database, hidden, Item(id="there", text="b"))
    assert waiting(database, made) == {"new", "before", "nobody"}
    with database.read() as session:
        first = session.execute(sa.select(sa.func.max(schema.reindex_pending.c.id))).scalar_one()
    put(database, books, Item(id="before", text="y"))
    with database.read() as session:
        ids = session.execute(
            sa.select(schema.reindex_pending.c.id).where(schema.reindex_pending.c.external_id == "before")
        ).scalars()
        assert list(ids) == [first + 1], "a later write has a later number"


def test_the_names_change_at_one_moment(database: Database, books: Collection) -> None:
    put(database, books, Item(id="a", text="whale"))
    made, hidden = reindex(database, books)
    put(database, hidden, Item(id="a", text="whale"))
    views = Views(database)
    with views.open(hidden.name) as view:
        assert view.collection.name == hidden.name
    seq = put(database, books, Item(id="a", text="whale", metadata={"n": 1})).seq
    states = (ReindexState.BUILDING,)
    with pytest.raises(NotCaughtUp), database.write() as session:
        switch(session, made, states=states, into=ReindexState.SWITCHED, now=NOW)
    with database.write() as session:
        set_alias(session, "shelf", "books")
        change_settings(session, "books", {"alpha": 0.9})
        session.execute(sa.delete(schema.reindex_pending))
        done = switch(session, made, states=states, into=ReindexState.SWITCHED, now=NOW)
    assert (done.serving_id, done.hidden_id) == (hidden.id, books.id)
    with database.read() as session:
        for name in ("books", "shelf"):
            now = get_collection(session, name)
            assert (now.id, now.name, now.settings.language, now.settings.alpha) == (hidden.id, "books", "de", 0.9)
        assert find_collection(session, f"books!{made.id}").id == books.id
        assert current_seq(session, hidden.active.id) > seq, "whoever waits for a write of before is not kept waiting"
    with views.open("books") as view:
        assert (view.collection.name, view.collection.settings.alpha, view.passage_count) == ("books", 0.9, 1)
    with pytest.raises(CollectionMoved):
        put(database, books, Item(id="late", text="b"))
    assert waiting(database, made) == set(), "nothing of it was written"
    put(database, hidden_now(database), Item(id="late", text="b"))
    assert waiting(database, made) == {"late"}, "the roles are reversed"
    assert other_findings(database) == []


def test_a_writer_that_comes_after_the_old_generation_is_gone_is_told_that_another_answers(
    database: Database, books: Collection
) -> None:
    made, hidden = reindex(database, books)
    with database.write() as session:
        done = switch(session, made, states=(ReindexState.BUILDING,), into=ReindexState.SWITCHED, now=NOW)
        done = changed(session, done, (ReindexState.SWITCHED,), state=ReindexState.DONE.value)
    while drop_piece(database, done):
        pass
    with pytest.raises(CollectionMoved):
        put(database, books, Item(id="late", text="b"))
    with database.write() as session:
        lease = begin_job(session, books, "somebody", seconds=30.0, key=None, now=NOW)
        job = schema.job.c
        assert session.execute(sa.select(job.collection_id).where(job.id == lease.job_id)).scalar() == hidden.id
    with database.write() as session:
        delete_collection(session, "books")
    with pytest.raises(CollectionNotFound, match="deleted meanwhile"):
        put(database, books, Item(id="late", text="b"))
    with pytest.raises(CollectionNotFound, match="deleted meanwhile"), database.write() as session:
        begin_job(session, books, "somebody", seconds=30.0, key=None, now=NOW)


def hidden_now(database: Database) -> Collection:
    with database.read() as session:
        return get_collection(session, "books")


def test_what_is_ended_is_not_switched(database: Database, books: Collection) -> None:
    made, _ = reindex(database, books)
    with database.write() as session:
        changed(session, made, (ReindexState.BUILDING,), state=ReindexState.CANCELLED.value)
    with pytest.raises(Conflict, match="is cancelled; this needs one that is building"), database.write() as session:
        switch(session, made, states=(ReindexState.BUILDING,), into=ReindexState.SWITCHED, now=NOW)
    put(database, books, Item(id="a", text="x"))
    assert waiting(database, made) == set()


def test_a_hidden_generation_of_nobody_is_a_finding(database: Database, books: Collection) -> None:
    _, hidden = reindex(database, books)
    with database.write() as session:
        session.execute(sa.delete(schema.reindex))
    assert other_findings(database) == [
        (f"collection {hidden.name!r}", "is a hidden generation, and no reindex made or keeps it")
    ]


@pytest.mark.parametrize("empty", [True, False])
def test_whoever_waits_for_a_write_under_an_alias_is_not_kept_waiting_when_it_moves(
    database: Database, books: Collection, empty: bool
) -> None:
    films = create(database, "films")
    if not empty:
        put(database, films, Item(id="a", text="shark"))
    with database.write() as session:
        set_alias(session, "shelf", "books")
    seq = put(database, books, Item(id="a", text="whale")).seq
    with database.write() as session:
        set_alias(session, "shelf", "films")
    views = Views(database)
    with views.open("shelf") as view:
        assert (view.collection.name, view.passage_count, view.seq > seq) == ("films", int(not empty), True)
        at = view.seq
    with database.write() as session:
        set_alias(session, "shelf", "films")
    with views.open("shelf") as view:
        assert view.seq == at, "it stands where it stood"
    assert other_findings(database) == []


def test_aliases(database: Database, books: Collection) -> None:
    other = create(database, "films")
    tenant = create(database, "acme~books")
    with database.write() as session:
        assert set_alias(session, "shelf", "books") == Alias(name="shelf", collection="books")
        assert set_alias(session, "shelf", "films").collection == "films"
        assert set_alias(session, "acme~shelf", "acme~books").collection == "acme~books"
        assert get_collection(session, "acme~shelf") == tenant
        assert set_alias(session, "best", "shelf").collection == "films", "of an alias: what it stands for"
        assert [alias.name for alias in list_aliases(session)] == ["acme~shelf", "best", "shelf"]
        assert get_collection(session, "shelf") == other
        with pytest.raises(CollectionExists, match="there is a collection 'books'"):
            set_alias(session, "books", "films")
        for name in ("", "a!1", "a b", "\ud800"):
            with pytest.raises(InvalidSettings):
                set_alias(session, name, "books")
        with pytest.raises(InvalidSettings, match="within the tenant"):
            set_alias(session, "shelf", "acme~books")
        with pytest.raises(CollectionNotFound):
            set_alias(session, "x", "nowhere")
        with pytest.raises(Conflict, match="the alias 'best' points at the collection 'films'"):
            delete_collection(session, "shelf")
        for name in ("shelf", "best"):
            delete_alias(session, name)
        with pytest.raises(AliasNotFound):
            get_alias(session, "shelf")
        with pytest.raises(AliasNotFound):
            get_alias(session, "\ud800")
        delete_collection(session, "films")
    with pytest.raises(CollectionExists, match="is an alias"):
        create(database, "acme~shelf")


def test_writers_wait_while_they_are_held_and_readers_do_not(database: Database) -> None:
    done: list[str] = []

    def write() -> None:
        with database.write():
            done.append("writer")

    with database.writers_held() as begin_writing:
        thread = threading.Thread(target=write)
        thread.start()
        time.sleep(0.05)
        with begin_writing():
            done.append("holder")
        with database.read() as session:
            session.execute(sa.select(schema.collection)).all()
        assert done == ["holder"]
    thread.join(60)
    assert done == ["holder", "writer"]
    with database.writers_held(), pytest.raises(StorageBusy), database.write():
        pass


def test_what_another_thread_begins_to_search_is_not_taken_for_gone(
    database: Database, books: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(database, books, Item(id="a", text="whale"))
    put(database, create(database, "films"), Item(id="b", text="whale"))
    views = Views(database)
    with views.open("books"):
        pass
    states = store.views.current_states

    def meanwhile(session: ReadSession, condition: sa.ColumnElement[bool]) -> dict[int, tuple[int, int]]:
        monkeypatch.setattr(store.views, "current_states", states)
        other = threading.Thread(target=lambda: views.open("films").__enter__())
        other.start()
        other.join(60)
        return states(session, condition)

    monkeypatch.setattr(store.views, "current_states", meanwhile)
    views.let_go()
    assert {held.collection for held in views.held()} == {"books", "films"}
