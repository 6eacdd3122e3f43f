"""Changing a document's metadata."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from core.errors import CollectionNotFound, DocumentNotFound, InvalidDocument, SalienceError, TooLarge
from core.filters import parse_filter
from indexer.metadata import change_metadata, merged
from store import Database, Views
from store.catalog import get_collection
from store.documents import get_document
from tests.store.library import Item, create, put


@pytest.fixture
def library(tmp_path: Path) -> Database:
    database = Database.open(tmp_path / "data")
    metadata = {"price": 5, "place": {"aisle": 1, "shelf": 2}, "tags": ["old"]}
    put(database, create(database), Item(id="a", text="one\ntwo", metadata=metadata), Item(id="b", text="one"))
    return database


def metadata_of(database: Database, id_: str = "a") -> Any:
    with database.read() as session:
        return get_document(session, get_collection(session, "books").id, id_).document.metadata


# The examples of RFC 7396, appendix A, whose target is an object.
@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"a": "foo"}, {"a": {"b": None}}, {"a": {}}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_patches_are_merged_as_the_standard_says(target: Any, patch: Any, result: Any) -> None:
    before = repr((target, patch))
    assert merged(target, patch) == result
    assert repr((target, patch)) == before


def test_a_change_is_found_by_filters_and_leaves_text_passages_and_vectors(library: Database) -> None:
    with Views(library).open("books") as view:
        before = view.fetch(view.filter(parse_filter("price = 5")))
    receipt = change_metadata(library, "books", "a", {"price": 7, "place": {"shelf": None}, "new": True})
    assert (receipt.updated, receipt.unchanged) == (1, 0)
    assert metadata_of(library) == {"price": 7, "place": {"aisle": 1}, "tags": ["old"], "new": True}
    with Views(library).open("books") as view:
        assert view.seq == receipt.seq
        after = view.fetch(view.filter(parse_filter("price = 7 and new = true")))
        assert [(hit.id, hit.text) for hit in after] == [(hit.id, hit.text) for hit in before]
        assert len(view.filter(parse_filter("price = 5 or exists(place.shelf)"))) == 0


def test_a_change_to_what_is_there_is_none(library: Database) -> None:
    seq = change_metadata(library, "books", "a", {"price": 6}).seq
    receipt = change_metadata(library, "books", "a", {"price": 6, "nothing": None})
    assert (receipt.updated, receipt.unchanged, receipt.seq) == (0, 1, seq)


def test_changes_to_different_fields_at_once_are_all_kept(library: Database) -> None:
    fields = [f"f{number}" for number in range(24)]

    def change(mine: list[str]) -> None:
        for name in mine:
            change_metadata(library, "books", "b", {name: name})

    threads = [threading.Thread(target=change, args=(fields[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metadata_of(library, "b") == {name: name for name in fields}


def deep(levels: int) -> dict[str, Any]:
    return {"a": deep(levels - 1)} if levels else {}


@pytest.mark.parametrize(
    ("name", "id_", "patch", "problem"),
    [
        ("songs", "a", {}, CollectionNotFound),
        ("books", "c", {}, DocumentNotFound),
        ("books", "\ud800", {}, DocumentNotFound),
        ("books", "a", {"x": float("inf")}, InvalidDocument),
        ("books", "a", {"x": 2**63}, InvalidDocument),
        ("books", "a", {"x\0": 1}, InvalidDocument),
        ("books", "a", deep(800), InvalidDocument),
        ("books", "a", {"x": "y" * 300_000}, TooLarge),
    ],
)
def test_what_cannot_be_stored_changes_nothing(
    library: Database, name: str, id_: str, patch: Any, problem: type[SalienceError]
) -> None:
    before = metadata_of(library)
    with pytest.raises(problem):
        change_metadata(library, name, id_, patch)
    assert metadata_of(library) == before


def test_many_small_changes_do_not_grow_it_over_the_limit(library: Database) -> None:
    change_metadata(library, "books", "a", {"x": "y" * 200_000})
    with pytest.raises(TooLarge, match="metadata: 4"):
        change_metadata(library, "books", "a", {"z": "y" * 200_000})
    assert "z" not in metadata_of(library)
