"""Fields that filters name, where a collection has very many."""

from __future__ import annotations

import pytest

from core.errors import InvalidFilter
from core.filters import parse_filter
from store import Database
from store.catalog import list_collections
from store.filters.sql import document_ids_where, documents_where, external_ids_where
from store.repair.embeddings import drop_embeddings
from tests.store.effort import allow_variables, steps
from tests.store.library import Item, create, put

MANY = 7_000
LIMIT = 6_000  # variables of a statement


@pytest.fixture
def wide(database: Database) -> Database:
    """A collection with many names below `x`, one with few, and names that are neither."""
    for name, count in (("books", MANY), ("few", 3)):
        nested = {f"k{i}": i for i in range(count)}
        put(
            database,
            create(database, name),
            Item(id="wide", text="t", metadata={"x": nested, "year": 1999}),
            Item(id="own", text="t", metadata={"x": 5, "year": 2000}),
            Item(id="null", text="t", metadata={"x": {"k1": None}}),
            Item(id="beside", text="t", metadata={"x-y": 1, "xy": 1, "x/z": 1, "x!": {"k": 1}, "y": {"x": 1}}),
        )
    allow_variables(database, LIMIT)
    return database


def found(database: Database, text: str, name: str = "books") -> list[str]:
    with database.read() as session:
        tree = parse_filter(text)
        documents = document_ids_where(session, ids(database)[name], tree).tolist()
        return sorted(external_ids_where(session, ids(database)[name], tree, among=documents))


def ids(database: Database) -> dict[str, int]:
    with database.read() as session:
        return {one.name: one.id for one in list_collections(session)}


@pytest.mark.parametrize("name", ["books", "few"])
def test_an_object_may_have_any_number_of_fields(wide: Database, name: str) -> None:
    assert found(wide, "exists(x)", name) == ["own", "wide"]
    assert found(wide, "missing(x)", name) == ["beside"]
    assert found(wide, "not exists(x)", name) == ["beside", "null"]


def test_an_objects_only_key_may_be_empty(database: Database) -> None:
    put(database, create(database, "books"), Item(id="a", text="t", metadata={"x": {"": 1}}), Item(id="b", text="t"))
    assert found(database, "exists(x)") == ["a"]
    assert found(database, "missing(x)") == ["b"]
    with pytest.raises(InvalidFilter, match=r"'x' is an object, .*: 'x\.'$"):
        found(database, "x = 1")


def test_a_filter_reads_only_the_fields_that_it_names(wide: Database) -> None:
    numbers, effort = ids(wide), {}
    for name, number in numbers.items():
        with wide.read() as session, steps(session) as taken:
            documents_where(session, number, parse_filter("year = 1999 and exists(year)"))
        effort[name] = len(taken)
    assert effort["books"] <= effort["few"] + 2, effort


def test_errors_name_the_first_or_the_closest_of_many_fields(wide: Database) -> None:
    with pytest.raises(InvalidFilter, match=r"'x!' is an object, .*: 'x!\.k'$"):
        found(wide, "`x!` = 1")
    with pytest.raises(InvalidFilter, match="unknown field 'yaer'; did you mean 'year'"):
        found(wide, "yaer = 1")
    with pytest.raises(InvalidFilter, match=r"'q'; there are 'x', 'x!\.k', 'x-y', 'x\.k0', .* and others$"):
        found(wide, "q = 1")
    with pytest.raises(InvalidFilter, match=r"unknown field 'x\.k'; did you mean"):
        found(wide, "exists(x.k)")


def test_any_number_of_embeddings_is_dropped(wide: Database) -> None:
    drop_embeddings(wide, range(10**6, 10**6 + MANY))
