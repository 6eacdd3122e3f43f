"""Deleting by filter."""

from __future__ import annotations

from pathlib import Path

import pytest

import indexer.deletion
from core.errors import CollectionNotFound, InvalidFilter
from core.filters import parse_filter
from indexer.deletion import delete_where
from store import Database, Views
from tests.store.library import Item, create, put


def ids(database: Database, name: str = "books") -> list[str]:
    with Views(database).open(name) as view:
        return sorted(hit.document_id for hit in view.fetch(view.filter(parse_filter({"not": {"n": -1}}))))


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setattr(indexer.deletion, "_BATCH_DOCUMENTS", 3)
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
