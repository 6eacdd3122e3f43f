"""What a search asks the database for: once for a state where that will do, and never by way of a whole collection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

import store.view
from core.filters import Filter, parse_filter
from core.records import Collection, CollectionSettings, FieldKind, Int64Array
from store import Database, Views, schema
from store.contents import read_contents
from store.database import ReadSession
from store.documents import list_documents
from store.fieldvalues import FieldReader, FieldValue
from store.segments.segment import read_segment
from store.segments.upkeep import Seen, maintain
from tests.store.effort import steps
from tests.store.library import Item, create, put


@contextmanager
def statements(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """The statements that are executed meanwhile, and their parameters."""
    found: list[tuple[str, Any]] = []

    def heard(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        found.append((statement, parameters))

    def rows(session: ReadSession, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        if session._connection.engine is database._engine:  # a server that other tests share reads, too
            found.append((sql, tuple(values)))
        return answered(session, sql, values)

    answered = ReadSession.rows
    sa.event.listen(database._engine, "before_cursor_execute", heard)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ReadSession, "rows", rows)
            yield found
    finally:
        sa.event.remove(database._engine, "before_cursor_execute", heard)


@pytest.fixture
def views(database: Database) -> Views:
    collection = create(database, settings=CollectionSettings())
    items = [Item(id=f"b{i}", text=f"whale number{i} in the sea", metadata={"shelf": f"s{i % 7}"}) for i in range(60)]
    put(database, collection, *items)
    return Views(database)


def test_terms_and_languages_are_read_once_for_a_state(database: Database, views: Views) -> None:
    def ask() -> tuple[object, object]:
        with views.open("books") as view:
            return view.languages, dict(view.term_statistics(["whale", "sea", "nothing"]).df)

    first = ask()
    with statements(database) as again:
        assert ask() == first
    assert not [statement for statement, _ in again if "term" in statement or "min(" in statement]
    put(database, views.collection("books"), Item(id="new", text="nothing but a whale", language="de"))
    languages, df = ask()
    assert languages == ("de", "en")
    assert df == {"whale": 61, "sea": 60, "nothing": 1}


def test_what_is_remembered_has_a_limit(views: Views, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.view, "_KNOWN_TERMS", 3)
    for begin in range(0, 40, 4):
        with views.open("books") as view:
            terms = [f"number{i}" for i in range(begin, begin + 4)]
            assert set(view.term_statistics(terms).df.values()) == {1}
            assert len(view.snapshot.known_terms) <= 3 + 4
            assert view.term_statistics([*terms, "whale"]).df["whale"] == 60


@pytest.mark.parametrize("count", [1, 10, 50])
def test_passages_and_values_are_found_by_their_keys(database: Database, views: Views, count: int) -> None:
    """However many: SQLite may find it cheaper to go through a collection, which it takes to be small."""
    with views.open("books") as view:
        ids = view.nearest(np.zeros(view.generation.dimension, np.float32), count).ids
        with statements(database) as asked:
            assert [passage.id for passage in view.fetch(ids)] == ids.tolist()
            reader = FieldReader(view, "shelf", param="group_by")
            assert len(reader.values_of(view.documents_of(ids))) == min(count, 60)
        read = [one for one in asked if "substr" in one[0] or "longitude" in one[0] or " IN (" in one[0]]
        assert len(read) >= 2
        for statement, parameters in read:
            rows = view.session._connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plan = " ".join(row[3] for row in rows)
            assert "collection_id=?" not in plan, plan
            assert "field_id=?" not in plan, plan
            assert "SCAN" not in plan, plan


@pytest.mark.parametrize("where", [None, parse_filter("exists(shelf)")])
@pytest.mark.parametrize("within", [None, parse_filter("shelf != 's1'")])
def test_a_page_of_documents_is_read_as_such(
    database: Database, views: Views, within: Filter | None, where: Filter | None
) -> None:
    """However many there are: no statement that reads texts goes through the collection."""
    number = views.collection("books").id
    with database.read() as session, statements(database) as asked:
        found = list_documents(session, number, limit=30, after="b1", within=within, where=where)
        assert len(found) == 30
        assert [one.document.id for one in found] == sorted(one.document.id for one in found)
        reading = [one for one in asked if "document.text" in one[0]]
        assert len(reading) == 1
        for statement, parameters in reading:
            rows = session._connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plan = " ".join(row[3] for row in rows)
            assert ("external_id>?" if within is None and where is None else "rowid=?") in plan, plan
            assert "SCAN" not in plan, plan
            assert "TEMP B-TREE" not in plan, plan


def test_what_some_passages_hold_is_not_read_by_way_of_all(database: Database) -> None:
    few, many = create(database, "few"), create(database, "many")
    put(database, few, *(Item(id=f"d{i}", text=f"whale number{i}") for i in range(200)))
    put(database, many, *(Item(id=f"d{i}", text=f"ship number{i}") for i in range(2_000)))
    for read in (_segment, _contents):
        assert read(database, many) < 1.5 * read(database, few)


def _segment(database: Database, collection: Collection) -> int:
    with database.read() as session:
        ids = np.arange(*_ids(session, collection), dtype=np.int64)
        with steps(session) as found:
            segment = read_segment(session, collection.active.id, collection.active.dimension, ids)
        assert segment is not None
        assert len(segment.ids) == 150
    return len(found)


def _contents(database: Database, collection: Collection) -> int:
    with database.read() as session:
        ids = np.arange(*_ids(session, collection), dtype=np.int64)
        with steps(session) as found:
            read_contents(session, collection.active.id, ids, learned=False)
    return len(found)


def _ids(session: ReadSession, collection: Collection) -> tuple[int, int]:
    """Of 150 of its passages."""
    least = sa.select(sa.func.min(schema.passage.c.id)).join_from(schema.passage, schema.document)
    first = int(session.execute(least.where(schema.document.c.collection_id == collection.id)).scalar_one())
    return first, first + 150


def test_upkeep_looks_at_many_idle_collections_at_once(database: Database) -> None:
    """Each second anew, and there may be thousands."""
    for number in range(8):
        put(database, create(database, f"c{number}"), Item(id="a", text="whale"))
    seen = Seen()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("store.segments.upkeep.QUIET_SECONDS", 0.0)
        assert not maintain(database, seen)
        seen.looked = None
        with statements(database) as found:
            assert not maintain(database, seen)
    assert len(found) <= 4, found


def test_a_facet_reads_the_values_that_it_lists(
    database: Database, views: Views, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: of all others only the numbers of documents are read."""
    monkeypatch.setattr("store.fieldvalues.FEW", 0)
    read: list[int] = []
    values = FieldReader._read

    def watched(self: FieldReader, kind: FieldKind, rows: Int64Array) -> list[FieldValue]:
        read.append(len(rows))
        return values(self, kind, rows)

    monkeypatch.setattr(FieldReader, "_read", watched)
    with views.open("books") as view, statements(database) as asked:
        found = FieldReader(view, "shelf", param="facets").counts(view.every_document(), 2)
    assert [(value.json, count) for value, count in found.counts] == [("s0", 9), ("s1", 9)]
    assert found.distinct == 7
    assert read == [2]
    assert len(asked) <= 3, asked
