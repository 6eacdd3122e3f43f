"""Pages that make up one long list, while nothing changes and while something does."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import CursorExpired, InvalidQuery
from core.filters import parse_filter
from core.records import CollectionSettings, Document, Hit
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from indexer.pipeline import Pipeline, delete
from retriever.cursor import Cursor, query_key, unpacked
from retriever.fusion import Fusion
from retriever.inputs import Inputs
from retriever.legs import Leg
from retriever.query import Explain, Query
from retriever.searcher import Searcher
from retriever.selection import Selection
from store import Database, Views
from store.aliases import set_alias
from store.catalog import change_settings, delete_collection
from tests.collections import create_for
from tests.retriever.conftest import documents
from tests.retriever.pools import with_pools_of

QUERY = Query(text="red dress for a summer wedding")
QUERIES = [
    QUERY,
    replace(QUERY, fusion=Fusion(method="rrf")),
    replace(QUERY, legs=(Leg.SPARSE,)),
    replace(QUERY, filter=parse_filter({"length": {"gt": 60}})),
    Query(inputs=Inputs(like=("fashion-long",))),
]


def paged(searcher: Searcher, collection: str, query: Query, sizes: list[int]) -> list[Hit]:
    """All pages, of the given sizes in turn."""
    found: list[Hit] = []
    for number in range(1000):
        result = searcher.search(collection, replace(query, k=sizes[number % len(sizes)]))
        found += result.hits
        assert not result.changed
        if result.next is None:
            return found
        query = replace(query, cursor=result.next)
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize("depth", [1000, 2, 7])
@given(query=st.sampled_from(QUERIES), sizes=st.lists(st.integers(3, 60), min_size=1, max_size=4))
@settings(max_examples=8, deadline=None)
def test_pages_by_cursor_or_offset_make_up_one_big_k(
    searcher: Searcher, depth: int, query: Query, sizes: list[int]
) -> None:
    """Also where pools have to be deepened on the way: with a depth of 2 for every other page."""
    with pytest.MonkeyPatch.context() as patch:
        with_pools_of(depth, patch)
        whole = searcher.search("things", replace(query, k=200))
        assert whole.next is None
        assert paged(searcher, "things", query, sizes) == list(whole.hits)
        assert len({hit.document_id for hit in whole.hits}) == len(whole.hits)
        first = sizes[0]
        assert searcher.search("things", replace(query, k=first, offset=5)).hits == whole.hits[5 : 5 + first]


def test_k_fields_and_reasons_may_change_from_page_to_page_and_nothing_else(searcher: Searcher) -> None:
    cursor = searcher.search("things", QUERY).next
    assert cursor is not None
    going_on = replace(QUERY, cursor=cursor)
    wanted = searcher.search("things", replace(QUERY, offset=10, k=3)).hits
    free = replace(going_on, k=3, fields=("title",), timeout_ms=60_000, profile=True)
    assert searcher.search("things", free).hits == wanted
    assert searcher.search("things", replace(going_on, explain=Explain.SCORES)).hits[0].id == wanted[0].id
    for other in (
        replace(going_on, text="red dress for a winter wedding"),
        replace(going_on, legs=(Leg.DENSE,)),
        replace(going_on, fusion=Fusion(alpha=0.3)),
        replace(going_on, filter=parse_filter({"kind": "fashion"})),
        replace(going_on, inputs=Inputs(like=("console",))),
    ):
        with pytest.raises(InvalidQuery, match="another query") as refused:
            searcher.search("things", other)
        assert refused.value.param == "cursor"
    with pytest.raises(CursorExpired, match="of another generation"):
        searcher.search("empty", going_on)
    with pytest.raises(InvalidQuery, match="leave offset out"):
        replace(going_on, offset=3)


@given(place=st.integers(0, 10**6), change=st.integers(1, 255))
def test_a_cursor_that_was_altered_is_noticed(searcher: Searcher, place: int, change: int) -> None:
    collection = searcher._views.collection("things")
    key = query_key(collection, QUERY)
    made = Cursor(generation=collection.active.id, seq=7, place=10, score=0.5, hit=3).packed(key)
    assert unpacked(made, key, collection.active.id).place == 10
    data = bytearray(base64.urlsafe_b64decode(made))
    data[place % len(data)] ^= change
    with pytest.raises(InvalidQuery, match=r"damaged|another query|invalid cursor"):
        unpacked(base64.urlsafe_b64encode(data).decode(), key, collection.active.id)


@given(st.text(max_size=100))
def test_any_other_text_is_no_cursor(text: str) -> None:
    with pytest.raises(InvalidQuery, match="invalid cursor"):
        unpacked(text, bytes(32), 1)


@pytest.fixture
def changing(tmp_path: Path, encoder: LocalEncoder) -> Iterator[tuple[Database, Pipeline]]:
    """The collection "moving", which a test may write to."""
    database = Database.open(tmp_path / "data")
    create(database, encoder)
    pipeline = Pipeline(database, only(encoder), Analyzer())
    assert not pipeline.add("moving", documents()[:45]).failed
    yield database, pipeline
    database.close()


def create(database: Database, encoder: LocalEncoder) -> None:
    create_for(encoder, database, "moving")


@pytest.mark.parametrize("size", [5, 10, 20, 30])
def test_a_hit_that_only_deeper_pools_find_is_gone_on_behind_all_the_same(
    changing: tuple[Database, Pipeline], encoder: LocalEncoder, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_pools_of(2, monkeypatch)
    database, pipeline = changing
    searcher = Searcher(Views(database), only(encoder), Analyzer())
    first = searcher.search("moving", replace(QUERY, k=size))
    assert not pipeline.add("moving", [Document(id="tax", text="The tax office sends a letter.")]).failed
    second = searcher.search("moving", replace(QUERY, k=3, cursor=first.next))
    now = searcher.search("moving", replace(QUERY, k=100)).hits
    [place] = [place for place, hit in enumerate(now) if hit.id == first.hits[-1].id]
    assert second.hits == now[place + 1 : place + 4]


@pytest.mark.parametrize("size", [5, 10, 20, 30])
def test_behind_a_hit_of_deeper_pools_that_is_gone_the_pages_do_not_begin_again(
    changing: tuple[Database, Pipeline], encoder: LocalEncoder, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What deeper pools found ranks behind all before, whatever its score: that tells no place."""
    with_pools_of(2, monkeypatch)
    database, _ = changing
    searcher = Searcher(Views(database), only(encoder), Analyzer())
    first = searcher.search("moving", replace(QUERY, k=size))
    delete(database, "moving", [first.hits[-1].document_id])
    second = searcher.search("moving", replace(QUERY, k=100, cursor=first.next))
    assert second.hits
    again = {hit.id for hit in second.hits} & {hit.id for hit in first.hits}
    assert len(again) <= 1  # without the hit that is gone another one may be among the first


@pytest.mark.parametrize("diversity", [0.3, 0.9])
def test_where_diversity_orders_the_hits_a_page_goes_on_by_the_place_of_a_hit_that_is_gone(
    changing: tuple[Database, Pipeline], encoder: LocalEncoder, diversity: float
) -> None:
    """By its score it would stand anywhere: the next page would be the first one again, or the last."""
    database, _ = changing
    searcher = Searcher(Views(database), only(encoder), Analyzer())
    query = replace(QUERY, legs=(Leg.DENSE,), selection=Selection(diversity=diversity))
    first = searcher.search("moving", replace(query, k=10))
    delete(database, "moving", [first.hits[-1].document_id])
    second = searcher.search("moving", replace(query, k=100, cursor=first.next))
    now = searcher.search("moving", replace(query, k=100)).hits
    assert second.changed
    assert second.hits == now[9:]


def test_while_the_collection_changes_a_page_goes_on_behind_the_last_hit_and_says_so(
    changing: tuple[Database, Pipeline], encoder: LocalEncoder
) -> None:
    database, pipeline = changing
    searcher = Searcher(Views(database), only(encoder), Analyzer())
    query = replace(QUERY, legs=(Leg.DENSE,))  # its scores do not depend on other documents
    whole = searcher.search("moving", replace(query, k=100)).hits
    first = searcher.search("moving", replace(query, k=10))
    assert first.next is not None
    going_on = replace(query, k=100, cursor=first.next)
    assert not pipeline.add("moving", [Document(id="top", text="red dress for a summer wedding")]).failed
    second = searcher.search("moving", going_on)
    assert second.changed
    assert [(hit.id, hit.score) for hit in second.hits] == [(hit.id, hit.score) for hit in whole[10:]]
    gone = whole[9].document_id  # the hit that the cursor names; the next page goes on behind its score
    pipeline.add("moving", [Document(id=gone, text="The tax office sends a letter about pensions.")])
    third = searcher.search("moving", going_on)
    assert third.changed
    assert [hit.id for hit in third.hits if hit.document_id != gone] == [hit.id for hit in whole[10:]]


def test_a_cursor_of_a_collection_that_was_made_anew_is_refused(
    changing: tuple[Database, Pipeline], encoder: LocalEncoder
) -> None:
    database, pipeline = changing
    searcher = Searcher(Views(database), only(encoder), Analyzer())
    cursor = searcher.search("moving", QUERY).next
    with database.write() as session:
        delete_collection(session, "moving")
    create(database, encoder)
    assert not pipeline.add("moving", documents()[:45]).failed
    with pytest.raises(CursorExpired, match="begin with the first page"):
        searcher.search("moving", replace(QUERY, cursor=cursor))


def test_a_cursor_under_an_alias_that_was_moved_is_refused_by_its_generation(
    changing: tuple[Database, Pipeline], encoder: LocalEncoder
) -> None:
    database, pipeline = changing
    searcher = Searcher(Views(database), only(encoder), Analyzer())
    create_for(encoder, database, "shorter", CollectionSettings(passage_tokens=64))
    assert not pipeline.add("shorter", documents()[:45]).failed
    with database.write() as session:
        set_alias(session, "current", "moving")
    going_on = replace(QUERY, cursor=searcher.search("current", QUERY).next)
    assert searcher.search("moving", going_on).hits
    with database.write() as session:
        set_alias(session, "current", "shorter")
    with pytest.raises(CursorExpired, match="its alias was moved"):
        searcher.search("current", going_on)
    with database.write() as session:
        change_settings(session, "moving", {"alpha": 0.9})
    with pytest.raises(InvalidQuery, match="settings were changed"):
        searcher.search("moving", going_on)


def test_where_a_cursor_goes_on_is_the_first_place_behind_its_hit() -> None:
    ids, scores = np.array([5, 9, 2, 7]), np.array([0.9, 0.5, 0.4, 0.4])
    cursor = Cursor(generation=1, seq=4, place=3, score=0.5, hit=9)
    assert cursor.start(4, ids, scores) == 3  # nothing changed: by its place
    assert cursor.start(5, ids, scores) == 2  # by the hit
    assert replace(cursor, hit=8).start(5, ids, scores) == 1  # it is gone: by score and id
    assert replace(cursor, hit=10).start(5, ids, scores) == 2
    assert replace(cursor, hit=10, score=0.1).start(5, ids, scores) == 4
