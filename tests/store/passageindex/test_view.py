"""Searches of a collection that an engine holds: the same answers as the slow, obvious way, whatever is there yet."""

from __future__ import annotations

import random

import numpy as np
import pytest

from core.errors import IndexMissing, IndexUnavailable, InvalidFilter, InvalidQuery
from core.filters import parse_filter
from core.records import Collection, Int64Array
from store import Database, Views, dense
from store import indexedview as indexed_view
from store.database import ReadSession
from store.holders import documents_of_passages, documents_with_terms
from store.passageindex.milvus import Milvus
from store.passageindex.protocol import MOST, PassageIndex, Weights
from store.segments.segment import Segment, read_segment
from tests.milvus import MilvusServer
from tests.store.library import WORDS, Item, create, put, random_item, vector_of
from tests.store.passageindex.bringing import bring
from tests.store.passageindex.brought import INDEXED
from tests.store.passageindex.plain import PlainIndex
from tests.store.test_search import check_view


@pytest.mark.parametrize("exact_matches", [5_000, 0], ids=["few read from the database", "all asked of the engine"])
def test_searches_through_a_long_history_equal_the_oracle(
    database: Database,
    collection: Collection,
    index: PlainIndex,
    exact_matches: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dense, "EXACT_MATCHES", exact_matches)
    check_history(database, collection, index, turns=40)


def test_through_milvus_they_do_too(
    database: Database, collection: Collection, milvus: MilvusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense, "EXACT_MATCHES", 0)
    engine = Milvus(milvus.uri)
    check_history(database, collection, engine, turns=12)
    engine.close()


def check_history(database: Database, collection: Collection, index: PassageIndex, *, turns: int) -> None:
    """Documents come, change and go; some of it is brought to the engine; every state is searched."""
    views, chance = Views(database, index), random.Random(1)
    items: dict[str, Item] = {}
    in_tail = set()
    for turn in range(turns):
        new = [random_item(chance, str(chance.randrange(60))) for _ in range(chance.randint(0, 8))]
        gone = chance.sample(sorted(items), min(len(items), chance.randint(0, 5)))
        put(database, collection, *new, delete=gone)
        items |= {item.id: item for item in new}
        for id_ in gone:
            items.pop(id_, None)
        if turn % 7 == 3:
            bring(database, index)
        for opened in (views, Views(database, index)):
            with opened.open("books") as view:
                check_view(view, items, chance)
                in_tail.add(len(view.snapshot.parts) > 0)
    assert in_tail == {True, False}


def test_filters_that_leave_little_lose_nothing(
    database: Database, collection: Collection, index: PlainIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense, "EXACT_MATCHES", 0)
    monkeypatch.setattr(indexed_view, "MOST", 70)  # so that the best of all do not suffice, and parts are asked about
    monkeypatch.setattr(indexed_view, "_CHUNK", 5)
    put(database, collection, *(Item(id=f"d{number}", text=f"whale {number}") for number in range(200)))
    bring(database, index)
    with Views(database, index).open("books") as view:
        query = vector_of("whale")
        every = view.every_passage()
        scores = view.dense_scores(query, every)
        worst = np.sort(every[np.argsort(scores, kind="stable")[:20]])
        found = view.nearest(query, 6, worst)
        expected = np.sort(view.dense_scores(query, worst))[::-1][:6]
        assert found.scores.tolist() == expected.tolist()
        assert np.isin(found.ids, worst).all()
        assert len(view.matching({"whale": 1.0}, 6, worst).ids) == 6


def test_what_was_deleted_just_now_is_not_found_though_the_engine_has_it(
    database: Database, collection: Collection, index: PlainIndex
) -> None:
    items = [Item(id=f"d{number}", text=f"whale {number}") for number in range(300)]
    put(database, collection, *items)
    bring(database, index)
    put(database, collection, delete=[f"d{number}" for number in range(290)])
    with Views(database, index).open("books") as view:
        left = {f"d{number}" for number in range(290, 300)}
        for found in (view.nearest(vector_of("whale 3"), 10), view.matching({"whale": 1.0}, 10)):
            assert {hit.document_id for hit in view.fetch(found.ids)} == left
        assert view.term_statistics(["whale"]).df == {"whale": 10}


def test_a_graph_that_loses_its_way_still_gives_as_many_as_there_are(
    database: Database, collection: Collection
) -> None:
    class Lost(PlainIndex):
        def nearest(self, name: str, vector: object, limit: int, among: object = None) -> Int64Array:
            return np.empty(0, dtype=np.int64)

    index = Lost()
    put(database, collection, *(Item(id=f"d{number}", text=f"whale {number}") for number in range(30)))
    bring(database, index)
    with Views(database, index).open("books") as view:
        assert len(view.nearest(vector_of("whale"), 12).ids) == 12


def test_passages_of_others_are_not_shown_whatever_the_engine_names(database: Database, collection: Collection) -> None:
    """As when two data directories write to one place there: the same text is another collection's, too."""

    class Mixed(PlainIndex):
        def nearest(self, *_: object, **__: object) -> Int64Array:
            return every

        def matching(self, *_: object, **__: object) -> Int64Array:
            return every

        def holding(self, *_: object, **__: object) -> Int64Array:
            return every

    index, every = Mixed(), np.arange(1, 21)
    for one in (collection, create(database, "others", INDEXED)):
        put(database, one, *(Item(id=f"{one.name} {number}", text="whale") for number in range(10)))
    bring(database, index)
    with Views(database, index).open("books") as view:
        own = view.every_passage()
        assert view.nearest(vector_of("whale"), 20).ids.tolist() == own.tolist()
        assert view.matching({"whale": 1.0}, 20).ids.tolist() == own.tolist()
        holding = documents_with_terms(view, ["whale"])
        assert holding.ids.tolist() == view.every_document().tolist()


def test_documents_that_hold_words_are_those_of_the_engine_and_of_the_tail(
    database: Database, collection: Collection, index: PlainIndex
) -> None:
    put(database, collection, Item(id="a", text="whale ship"), Item(id="b", text="sea"), Item(id="gone", text="whale"))
    bring(database, index)
    put(database, collection, Item(id="c", text="leg\nwhale"), delete=["gone"])
    with Views(database, index).open("books") as view:
        numbers = view.document_numbers(["a", "b", "c"])
        assert documents_with_terms(view, ["whale"]).ids.tolist() == [numbers["a"], numbers["c"]]
        assert documents_with_terms(view, ["whale", "sea"]).ids.tolist() == sorted(numbers.values())
        assert documents_with_terms(view, ["unknown"]).ids.tolist() == []
        assert view.documents_holding(Weights.BM25, []).ids.tolist() == []
        assert documents_of_passages(view, None).tolist() == sorted(numbers.values())


def test_a_rescored_state_is_searched_by_the_other_settings(
    database: Database, collection: Collection, index: PlainIndex
) -> None:
    local = create(database, "local")
    items = [random_item(random.Random(number), f"d{number}") for number in range(40)]
    for one in (collection, local):
        put(database, one, *items)
    bring(database, index)
    views = Views(database, index)
    with views.open("books") as view, views.open("local") as other:
        factors = dict.fromkeys(WORDS, 1.0)
        found = view.rescored(k1=0.3, b=0.1).matching(factors, 50)
        expected = other.rescored(k1=0.3, b=0.1).matching(factors, 50)
        assert found.scores.tolist() == expected.scores.tolist()
        assert found.scores.tolist() != view.matching(factors, 50).scores.tolist()


def test_what_cannot_be_done_is_refused_and_says_why(
    database: Database, collection: Collection, index: PlainIndex
) -> None:
    put(database, collection, *(Item(id=f"d{number}", text=f"whale {number}") for number in range(10)))
    bring(database, index)
    with Views(database, index).open("books") as view:
        with pytest.raises(InvalidFilter, match="one collection for each tenant"):
            view.only(parse_filter("year = 1"))
        with pytest.raises(InvalidQuery, match=f"at most {MOST - 64}|{MOST - 64} can be looked at"):
            view.nearest(vector_of("whale"), MOST)
    with Views(database).open("books") as view, pytest.raises(IndexUnavailable, match="SALIENCE_MILVUS__URI"):
        view.nearest(vector_of("whale"), 3)
    with Views(database, PlainIndex()).open("books") as view, pytest.raises(IndexMissing):
        view.nearest(vector_of("whale"), 3)


def test_what_was_brought_leaves_the_tail_that_is_not_read_again(
    database: Database, collection: Collection, index: PlainIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    views, read = Views(database, index), []

    def noted(session: ReadSession, generation_id: int, dimension: int, ids: Int64Array) -> Segment | None:
        read.extend(ids.tolist())
        return read_segment(session, generation_id, dimension, ids)

    monkeypatch.setattr("store.snapshot.read_segment", noted)
    items = [Item(id=f"d{number}", text=f"whale {number}") for number in range(40)]
    put(database, collection, *items[:20])
    with views.open("books") as view:
        assert len(view.snapshot.parts[0].segment.ids) == 20
    bring(database, index)
    put(database, collection, *items[20:], delete=["d3"])
    with views.open("books") as view:
        assert sum(part.live_count for part in view.snapshot.parts) == 20
        check_view(view, {item.id: item for item in items if item.id != "d3"}, random.Random(2))
    bring(database, index)
    with views.open("books") as view:
        assert view.snapshot.parts == ()
        assert view.passage_count == 39
    assert len(read) == len(set(read)) == 40
