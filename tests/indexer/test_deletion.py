"""Deleting by filter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import indexer.deletion
from core.errors import CollectionNotFound, InvalidFilter
from core.filters import parse_filter
from core.records import Int64Array
from indexer.deletion import _next_size, delete_where
from store import Database, Views
from store.catalog import get_collection
from store.database import ReadSession
from store.filters.sql import document_ids_where, external_ids_where
from tests.store.effort import steps
from tests.store.library import Item, create, put


def ids(database: Database, name: str = "books") -> list[str]:
    with Views(database).open(name) as view:
        return sorted(hit.document_id for hit in view.fetch(view.filter(parse_filter({"not": {"n": -1}}))))


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setattr(indexer.deletion, "_FIRST_BATCH", 3)
    monkeypatch.setattr(indexer.deletion, "_LARGEST_BATCH", 3)
    database = Database.open(tmp_path / "data")
    for name in ("books", "films"):
        put(database, create(database, name), *(Item(id=f"{i}", text=f"t{i}", metadata={"n": i}) for i in range(10)))
    return database


def test_what_satisfies_the_filter_goes_and_nothing_else(library: Database) -> None:
    done = delete_where(library, "books", parse_filter("n >= 3"))  # more than two batches
    assert done.deleted == 7
    assert ids(library) == ["0", "1", "2"]
    assert len(ids(library, "films")) == 10
    with Views(library).open("books") as view:
        assert view.seq == done.seq


def test_a_negated_filter_stays_in_its_collection(library: Database) -> None:
    assert delete_where(library, "books", parse_filter("not n < 4")).deleted == 6
    assert ids(library) == ["0", "1", "2", "3"]
    assert delete_where(library, "books", parse_filter("not n = -1")).deleted == 4
    assert (ids(library), len(ids(library, "films"))) == ([], 10)


def test_nothing_to_delete(library: Database) -> None:
    before = delete_where(library, "books", parse_filter("n > 100"))
    assert before.deleted == 0
    assert len(ids(library)) == 10
    with pytest.raises(InvalidFilter, match="did you mean 'n'"):
        delete_where(library, "books", parse_filter("nn = 1"))
    with pytest.raises(CollectionNotFound):
        delete_where(library, "songs", parse_filter("n = 1"))


def test_what_changes_before_its_turn_is_judged_anew(library: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document that no longer satisfies the filter stays; one that came to satisfy it meanwhile goes, too."""
    looked = indexer.deletion.document_ids_where
    writes = [
        [Item(id="8", text="t8", metadata={"n": 0}), Item(id="0", text="t0", metadata={"n": 50})],
        [Item(id="1", text="other", metadata={"n": 51})],
    ]

    def then_changed(session: ReadSession, *given: Any, **options: Any) -> Int64Array:
        found = looked(session, *given, **options)
        if writes:
            put(library, get_collection(session, "books"), *writes.pop(0))
        return found

    monkeypatch.setattr(indexer.deletion, "document_ids_where", then_changed)
    done = delete_where(library, "books", parse_filter("n >= 3"))
    assert done.deleted == 8
    assert ids(library) == ["2", "8"]
    with Views(library).open("books") as view:
        assert view.seq == done.seq


def test_a_row_filter_hides_what_it_does_not_show(library: Database) -> None:
    done = delete_where(library, "books", parse_filter("n >= 3 or unknown = 1"), within=parse_filter("n < 6"))
    assert done.deleted == 3
    assert ids(library) == ["0", "1", "2", "6", "7", "8", "9"]


def test_the_filter_is_not_resolved_while_other_writers_wait(library: Database) -> None:
    """In the write transactions only the values of the batch's own documents are read."""
    many = create(library, "many")
    for begin in range(0, 3_000, 500):
        put(library, many, *(Item(id=f"{i}", text="t", metadata={"n": i}) for i in range(begin, begin + 500)))
    taken: dict[str, int] = {}
    for name in ("books", "many"):
        with library.read() as session:
            collection = get_collection(session, name)
            tree = parse_filter("not n < 2 and not every(n > 100000) and exists(n)")
            batch = document_ids_where(session, collection.id, tree)[:3].tolist()
            with steps(session) as found:
                assert len(external_ids_where(session, collection.id, tree, among=batch)) == 3
        taken[name] = len(found)
    assert taken["many"] <= taken["books"] + 10, taken


def test_batches_take_about_as_long_as_others_may_wait() -> None:
    assert _next_size(64, 0.01) == 128, "it grows step by step"
    assert _next_size(1_000, 0.5) == 400
    assert _next_size(2_000, 0.001) == 2_000
    assert _next_size(1, 100.0) == 1
