"""What a name stands for may change between two searches, and the later one must not go by what was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import CollectionNotFound, InvalidQuery
from core.records import Collection, CollectionSettings, Document, Scoring
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from indexer.pipeline import Pipeline
from retriever import searcher as module
from retriever.encoding import QueryEncoder
from retriever.inputs import Inputs
from retriever.query import Query
from retriever.searcher import Searcher
from retriever.stopwatch import Stopwatch
from store import Database, Views
from store.aliases import delete_alias, set_alias
from store.catalog import create_collection, delete_collection
from tests.collections import create_for

WOLF = Query(text="wolf")
THREE = Query(inputs=Inputs(vector=np.array([1, 0, 0], dtype=np.float32)))


@pytest.fixture
def place(tmp_path: Path, encoder: LocalEncoder) -> Iterator[tuple[Database, Searcher]]:
    """With the collection "old", of one document, which "name" stands for and was searched by."""
    database = Database.open(tmp_path)
    create_for(encoder, database, "old")
    Pipeline(database, only(encoder), Analyzer()).add("old", [Document(id="w", text="A wolf in the wood.")])
    with database.write() as session:
        set_alias(session, "name", "old")
    searcher = Searcher(Views(database), only(encoder), Analyzer())
    assert [hit.document_id for hit in searcher.search("name", WOLF).hits] == ["w"]
    yield database, searcher
    database.close()


def of_three_dimensions(database: Database, name: str) -> None:
    with database.write() as session:
        create_collection(session, name, CollectionSettings(), model="other", fingerprint="0" * 32, dimension=3)


def test_a_name_that_was_moved_is_searched_where_it_is_now(place: tuple[Database, Searcher]) -> None:
    """Also where what it stood for could not have answered."""
    database, searcher = place
    of_three_dimensions(database, "new")
    with pytest.raises(InvalidQuery, match="384 dimensions"):
        searcher.search("name", THREE)
    with database.write() as session:
        set_alias(session, "name", "new")
    assert searcher.search("name", THREE).collection == "new"


def test_a_name_that_was_moved_is_found_out_before_anything_is_answered(
    place: tuple[Database, Searcher], encoder: LocalEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where what it stood for could have answered; and the time for the whole answer is one."""
    database, searcher = place
    watches = list[Stopwatch]()
    monkeypatch.setattr(module, "Stopwatch", lambda **given: watches.append(Stopwatch(**given)) or watches[-1])
    create_for(encoder, database, "new")
    with database.write() as session:
        set_alias(session, "name", "new")
    found = searcher.search("name", WOLF)
    assert (found.collection, found.hits) == ("new", ())
    assert len(watches) == 1


def test_settings_are_tried_by_the_model_of_what_is_scored(
    place: tuple[Database, Searcher], encoder: LocalEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that moves between the encoding and the scoring: the query is encoded again, in no transaction."""
    database, searcher = place
    create_for(encoder, database, "new")
    Pipeline(database, only(encoder), Analyzer()).add("new", [Document(id="w", text="A wolf.")])
    asked: list[int] = []
    encode = QueryEncoder.encode

    def moving(self: QueryEncoder, collection: Collection, *arguments: Any) -> Any:
        made = encode(self, collection, *arguments)
        asked.append(collection.active.id)
        with database.write() as session:
            set_alias(session, "name", "new")
        return made

    monkeypatch.setattr(QueryEncoder, "encode", moving)
    found = searcher.try_scorings("name", WOLF, [Scoring(k1=1.2, b=0.75, alpha=0.5)])
    assert [len(documents) for documents in found] == [1]
    with searcher._views.open("old") as old, searcher._views.open("new") as new:
        assert asked == [old.generation.id, new.generation.id]


def test_what_is_gone_is_not_found(place: tuple[Database, Searcher]) -> None:
    database, searcher = place
    assert searcher.search("old", WOLF).hits
    with database.write() as session:
        delete_alias(session, "name")
        delete_collection(session, "old")
    for name in ("name", "old"):
        with pytest.raises(CollectionNotFound):
            searcher.search(name, WOLF)
        assert searcher._views.lately(name) is None, "the next one would ask a model in vain"
        with pytest.raises(CollectionNotFound):
            searcher.search(name, THREE)


def test_a_search_reads_once(place: tuple[Database, Searcher], monkeypatch: pytest.MonkeyPatch) -> None:
    database, searcher = place
    reads = 0
    read = Database.read

    @contextmanager
    def counted(self: Database) -> Iterator[object]:
        nonlocal reads
        reads += self is database  # threads of other tests may be at theirs
        with read(self) as session:
            yield session

    monkeypatch.setattr(Database, "read", counted)
    searcher.search("name", WOLF)
    assert reads == 1


def test_no_more_names_are_remembered_than_that(
    place: tuple[Database, Searcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, _ = place
    monkeypatch.setattr("store.views._NAMES", 2)
    views = Views(database)
    for name in ("name", "old", *(f"other{i}" for i in range(3))):
        if name.startswith("other"):
            with database.write() as session:
                set_alias(session, name, "old")
        with views.open(name):
            pass
        assert len(views._lately) <= 2
        assert views.lately(name) == views.collection("old")
