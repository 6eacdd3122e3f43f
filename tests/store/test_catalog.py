"""Collections: their names, settings, and end."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
import sqlalchemy as sa

from core.errors import CollectionExists, CollectionNotFound, InvalidSettings
from core.filters import parse_filter
from core.records import Collection, CollectionSettings, FieldKind, GenerationState, IndexKind, Scoring
from store import Database, catalog, schema
from store.reindex.dropping import drop_deleted
from store.settings import parse_settings
from tests.store.effort import steps
from tests.store.library import FINGERPRINT, Item, create, put


def test_a_collection_comes_back_as_it_was_made(database: Database) -> None:
    settings = CollectionSettings(
        language="de",
        passage_tokens=100,
        overlap_tokens=10,
        whole_documents=True,
        k1=0.9,
        b=0.4,
        alpha=0.3,
        index=IndexKind.HNSW,
        fields={"price": FieldKind.NUMBER, "brand": FieldKind.TEXT},
    )
    made = create(database, "shop.v1_a-b", settings)
    assert made.settings == settings
    assert (made.active.fingerprint, made.active.state) == (FINGERPRINT, GenerationState.ACTIVE)
    with database.read() as session:
        assert catalog.get_collection(session, "shop.v1_a-b") == made
        assert catalog.list_collections(session) == [made]


def test_what_searches_score_by_can_be_changed_and_nothing_else(database: Database) -> None:
    made = create(database, "shop", CollectionSettings(language="de", passage_tokens=100))
    wanted = Scoring(alpha=0.2, k1=0.9, b=0.4)
    with database.write() as session:
        changed = catalog.change_scoring(session, "shop", wanted)
    assert changed == replace(made, settings=replace(made.settings, alpha=0.2, k1=0.9, b=0.4))
    with database.read() as session:
        assert catalog.get_collection(session, "shop") == changed
    for wrong in (Scoring(alpha=2), Scoring(k1=-1), Scoring(b=1.5)):
        with pytest.raises(InvalidSettings), database.write() as session:
            catalog.change_scoring(session, "shop", wrong)
    with pytest.raises(CollectionNotFound, match="did you mean 'shop'"), database.write() as session:
        catalog.change_scoring(session, "shops", wanted)


def test_a_new_collection_scores_by_the_defaults() -> None:
    settings = CollectionSettings()
    assert Scoring() == Scoring(alpha=settings.alpha, k1=settings.k1, b=settings.b)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../x", ".hidden", "-x", "ä", "x" * 129, "a\n", "a\0", "\ud800"])
def test_a_name_that_is_not_allowed(database: Database, name: str) -> None:
    with pytest.raises(InvalidSettings, match="1 to 128") as caught:
        create(database, name)
    assert caught.value.param == "name"
    with database.read() as session, pytest.raises(CollectionNotFound):
        catalog.get_collection(session, name)


@pytest.mark.parametrize(
    ("settings", "param"),
    [
        ({"language": "English"}, "language"),
        ({"language": ""}, "language"),
        ({"passage_tokens": 0}, "passage_tokens"),
        ({"overlap_tokens": -1}, "overlap_tokens"),
        ({"passage_tokens": 20, "overlap_tokens": 20}, "overlap_tokens"),
        ({"k1": -0.1}, "k1"),
        ({"alpha": 1.1}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"k1": float("nan")}, "k1"),
        ({"k1": float("inf")}, "k1"),
        ({"k1": 10.1}, "k1"),
        ({"b": 1.1}, "b"),
        ({"b": float("nan")}, "b"),
        ({"fields": {"": FieldKind.TEXT}}, "fields"),
        ({"fields": {"x" * 257: FieldKind.TEXT}}, "fields"),
        ({"fields": {"\ud800": FieldKind.TEXT}}, "fields"),
        ({"fields": {"x": "null"}}, "fields"),
        ({"index": "ivf"}, "index"),
        ({"title_weight": -1}, "title_weight"),
        ({"title_weight": 11}, "title_weight"),
    ],
)
def test_settings_that_are_not_allowed(database: Database, settings: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        create(database, "books", CollectionSettings(**settings))
    assert caught.value.param == param
    with database.read() as session:
        assert catalog.list_collections(session) == []


def test_settings_of_before_there_was_a_title_weight_count_titles_once() -> None:
    stored = {**asdict(CollectionSettings(language="de", title_weight=5)), "fields": {}}
    assert parse_settings(json.dumps(stored)).title_weight == 5
    del stored["title_weight"]
    assert parse_settings(json.dumps(stored)) == CollectionSettings(language="de", title_weight=1)


def test_a_name_is_given_once(database: Database, collection: Collection) -> None:
    with pytest.raises(CollectionExists, match="already a collection 'books'"):
        create(database, "books")


def test_an_unknown_collection_names_those_there_are(database: Database) -> None:
    with database.read() as session, pytest.raises(CollectionNotFound, match="there are none yet"):
        catalog.get_collection(session, "books")
    create(database, "books")
    create(database, "films")
    with database.read() as session:
        with pytest.raises(CollectionNotFound, match="did you mean 'books'"):
            catalog.get_collection(session, "boks")
        with pytest.raises(CollectionNotFound, match="there are 'books', 'films'"):
            catalog.get_collection(session, "zzz")


def test_counts_within_a_filter_are_those_of_its_documents(database: Database, collection: Collection) -> None:
    for number, branch in enumerate(("north", "south", "north")):
        lines = "\n".join(["a line"] * (number + 1))
        put(database, collection, Item(id=str(number), text=lines, metadata={"branch": branch}))
    put(database, create(database, "films"), Item(id="0", text="a line", metadata={"branch": "north"}))
    counted = {
        'branch = "north"': (2, 4),
        'not branch = "north"': (1, 2),
        'branch = "west"': (0, 0),
        'department = "sales"': (0, 0),
        'not department = "sales"': (3, 6),
    }
    with database.read() as session:
        for text, (documents, passages) in counted.items():
            found = catalog.counts(session, collection.id, parse_filter(text))
            assert found == catalog.Counts(documents=documents, passages=passages), text


def test_a_deleted_collection_leaves_nothing_and_touches_no_other(database: Database, collection: Collection) -> None:
    other = create(database, "films")
    item = Item(id="1", text="one line\nanother", metadata={"year": 1999, "tags": ["a", "b"]})
    put(database, collection, item)
    put(database, other, item)
    tables = ("document", "passage", "embedding", "term", "field", "document_field", "change", "generation")

    def sizes() -> dict[str, int]:
        with database.read() as session:
            return {
                name: session.execute(sa.select(sa.func.count()).select_from(schema.metadata.tables[name])).scalar_one()
                for name in tables
            }

    before = sizes()
    with database.write() as session:
        catalog.delete_collection(session, "books")
        with pytest.raises(CollectionNotFound):
            catalog.delete_collection(session, "books")
    drop_deleted(database)
    assert sizes() == {name: count // 2 for name, count in before.items()}
    with database.read() as reader:
        assert catalog.counts(reader, other.id) == catalog.Counts(documents=1, passages=2)
        assert catalog.counts(reader, collection.id) == catalog.Counts(documents=0, passages=0)


def test_whether_there_are_collections_is_known_from_one_of_them(database: Database) -> None:
    with database.read() as session:
        assert not catalog.has_collections(session)
    for number in range(60):
        create(database, f"c{number}")
    with database.read() as session:
        with steps(session) as one:
            assert catalog.has_collections(session)
        with steps(session) as all_of_them:
            catalog.list_collections(session)
    assert len(one) == 0 < len(all_of_them)
