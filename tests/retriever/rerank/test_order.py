"""Reranked searches against a slow obvious version: the plain ranking, its window put in order by the formula."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidQuery, ModelNotFound
from core.records import Float64Array, Hit
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from retriever.cursor import Cursor
from retriever.diversity import diverse
from retriever.extras import Extras
from retriever.fusion import Fusion
from retriever.grouping import grouped
from retriever.inputs import Inputs
from retriever.legs import Leg
from retriever.query import Query
from retriever.rerank import MAX_DEPTH, Rerank, reranked
from retriever.result import SearchResult
from retriever.searcher import Searcher
from retriever.selection import GroupBy, Selection
from store import Database, Views
from tests.retriever.rerank.judging import FUSIONS, LEGS, TEXT, Opinionated, judgement, same, slowly


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("legs", LEGS)
@pytest.mark.parametrize(("depth", "weight"), [(1, 1.0), (7, 1.0), (30, 0.4), (200, 0.7), (30, 0.0)])
def test_the_window_is_put_in_order_and_what_is_behind_stays(
    lasting: Searcher, fusion: Fusion, legs: tuple[Leg, ...] | None, depth: int, weight: float
) -> None:
    plain = Query(text=TEXT, k=200, fusion=fusion, legs=legs)
    query = replace(plain, rerank=Rerank(model="judge", depth=depth, weight=weight))
    before = lasting.search("varied", plain).hits
    found = lasting.search("varied", query)
    same(found.hits, slowly(query, before))
    assert not found.left_out
    for place, hit in enumerate(found.hits):
        assert ("rerank" in hit.scores) == (place < depth)
        if place < depth:
            judged = hit.scores["rerank"]
            assert (judged.raw, judged.norm, judged.weight) == (judgement(query, hit), judgement(query, hit), weight)
    ranks = sorted((hit.scores["rerank"].rank or 0, -hit.scores["rerank"].raw) for hit in found.hits[:depth])
    assert [rank for rank, _ in ranks] == list(range(1, len(ranks) + 1))
    assert ranks == sorted(ranks, key=lambda one: one[1])


@given(
    fused=st.lists(st.sampled_from([0.0, 0.25, 0.5, 7.0, -3.0]), min_size=1, max_size=6),
    weight=st.floats(0, 1),
    data=st.data(),
)
def test_the_formula_by_hand(fused: list[float], weight: float, data: st.DataObject) -> None:
    size = len(fused)
    relevance = data.draw(st.lists(st.floats(0, 1), min_size=size, max_size=size))
    found = reranked(np.array(fused), np.array(relevance), weight)
    low, high = min(fused), max(fused)
    for place in range(size):
        norm = (fused[place] - low) / (high - low) if high > low else 1.0
        assert found.scores[place] == pytest.approx((1 - weight) * norm + weight * relevance[place], abs=1e-12)
    swapped = reranked(np.array(fused) * 3 + 1, np.array(relevance), weight)
    assert swapped.scores == pytest.approx(found.scores, abs=1e-9)  # whatever scale the fusion has


@pytest.mark.parametrize("fused", [[3e-310, 1e-310], [1e-320, 0.0], [0.7 + 5e-7, 0.7]])
def test_a_spread_that_cannot_be_used_is_none(fused: list[float]) -> None:
    found = reranked(np.array(fused), np.array([0.25, 0.75]), 0.5)
    assert (found.scale, found.constant) == (0.0, 0.5)
    assert found.scores.tolist() == [0.625, 0.875]


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("depth", [5, 20])
def test_pages_by_cursor_or_offset_make_up_one_big_k(searcher: Searcher, depth: int) -> None:
    query = Query(text=TEXT, k=60, rerank=Rerank(model="judge", depth=depth, weight=0.8))
    whole = searcher.search("varied", query).hits
    same(whole, slowly(query, searcher.search("varied", replace(query, rerank=None)).hits))
    found: list[Hit] = []
    page = replace(query, k=7)
    while len(found) < 60:
        result = searcher.search("varied", page)
        found += result.hits
        assert result.next is not None
        page = replace(page, cursor=result.next)
    assert found[:60] == list(whole)
    assert list(searcher.search("varied", replace(query, offset=3, k=9)).hits) == list(whole[3:12])
    with pytest.raises(InvalidQuery, match="another query"):
        searcher.search("varied", replace(page, rerank=Rerank(model="judge", depth=depth, weight=0.7)))


def test_a_page_goes_on_in_its_own_part_of_the_ranking() -> None:
    ids = np.array([5, 9, 2, 7, 1])
    scores: Float64Array = np.array([0.3, 0.2, 0.1, 0.9, 0.8])  # three are reranked
    gone = Cursor(generation=1, seq=4, place=2, score=0.25, hit=8)
    assert gone.start(5, ids, scores, window=3) == 1
    assert replace(gone, score=0.05).start(5, ids, scores, window=3) == 3
    assert replace(gone, place=3, score=0.05).start(5, ids, scores, window=3) == 3  # it was the window's last
    assert replace(gone, place=4, score=0.85).start(5, ids, scores, window=3) == 4
    assert replace(gone, hit=7).start(5, ids, scores, window=3) == 4
    assert gone.start(4, ids, scores, window=3) == 2


@pytest.mark.usefixtures("shallow")
def test_diversity_and_groups_go_by_the_new_order(searcher: Searcher, varied: Database) -> None:
    plain = Query(text=TEXT, k=90)
    query = replace(plain, rerank=Rerank(model="judge", depth=25))
    everything = {hit.id: hit for hit in searcher.search("varied", plain).hits}
    order = [hit.id for hit in searcher.search("varied", query).hits]
    scores = np.array([score for _, score in slowly(query, list(everything.values()))])
    with Views(varied).open("varied") as view:
        vectors = view.vectors(np.array(order[:25]))
    spread = [order[place] for place in diverse(scores[:25], vectors, 0.5)] + order[25:]
    found = searcher.search("varied", replace(query, selection=Selection(diversity=0.5))).hits
    assert [hit.id for hit in found] == spread

    values = {id_: [hit.metadata["price"]] for id_, hit in everything.items()}
    for k, hits in ((2, 3), (3, 40)):
        expected: list[tuple[Any, list[int]]] = [
            (group.value, [order[place] for place in group.places])
            for group in grouped(range(len(order)), dict(enumerate(values[id_] for id_ in order)), hits)[:k]
        ]
        asked = replace(query, k=k, selection=Selection(group_by=GroupBy(field="price", hits=hits)))
        result = searcher.search("varied", asked)
        assert result.groups is not None
        assert [(group.value.json, list(group.hits)) for group in result.groups if group.value] == expected


def test_thresholds_facets_and_highlights_are_as_without(searcher: Searcher) -> None:
    plain = Query(text=TEXT, k=10, extras=Extras(highlight=True, facets=("price",)))
    found = searcher.search("varied", replace(plain, rerank=Rerank(model="judge")))
    assert found.facets == searcher.search("varied", plain).facets
    assert all(hit.highlight is not None for hit in found.hits)
    least = replace(plain, extras=Extras(), k=90, selection=Selection(min_scores={Leg.SPARSE: 2.0}))
    over = searcher.search("varied", least).hits
    query = replace(least, rerank=Rerank(model="judge", depth=4))
    same(searcher.search("varied", query).hits, slowly(query, over))


def test_several_queries_at_once(searcher: Searcher, judge: Opinionated) -> None:
    rerank = Rerank(model="judge", depth=9)
    nobody = replace(rerank, model="nobody")

    class Known(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            raise ModelNotFound(f"there is no model {name!r} here")

    searcher._judge._rerankers = Known(judge=judge).__getitem__
    queries = [
        Query(text=TEXT, rerank=rerank),
        Query(text=TEXT, rerank=nobody),
        Query(text=TEXT),
        Query(text="game", rerank=rerank, legs=(Leg.SPARSE,)),
    ]
    found = searcher.search_many("varied", queries)
    assert isinstance(found[1], ModelNotFound)
    for query, answer in zip(queries, found, strict=True):
        if query.rerank != nobody:
            assert isinstance(answer, SearchResult)
            same(answer.hits, [(hit.id, hit.score) for hit in searcher.search("varied", query).hits])
    with pytest.raises(ModelNotFound, match="nobody"):
        searcher.search("varied", queries[1])


@settings(max_examples=5, deadline=None)
@given(depth=st.integers(1, 60), weight=st.sampled_from([0.0, 0.5, 1.0]), text=st.sampled_from(["game", TEXT, "机器"]))
def test_the_same_query_twice_is_the_same_answer(lasting: Searcher, depth: int, weight: float, text: str) -> None:
    query = Query(text=text, k=20, rerank=Rerank(model="judge", depth=depth, weight=weight))
    one, other = (lasting.search("varied", query) for _ in range(2))
    assert one.hits == other.hits


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"depth": 0}, "rerank.depth"),
        ({"depth": MAX_DEPTH + 1}, "rerank.depth"),
        ({"weight": -0.1}, "rerank.weight"),
        ({"weight": 1.5}, "rerank.weight"),
        ({"weight": math.nan}, "rerank.weight"),
        ({"model": ""}, "rerank.model"),
    ],
)
def test_what_is_out_of_range_is_refused(wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        Rerank(**{"model": "judge", **wrong})
    assert refused.value.param == param


def test_without_a_text_or_a_model_there_is_nothing_to_judge_by(
    varied: Database, encoder: LocalEncoder, searcher: Searcher
) -> None:
    with pytest.raises(InvalidQuery, match="reads the text of the query"):
        Query(inputs=Inputs(like=("d1",)), rerank=Rerank(model="judge"))
    bare = Searcher(Views(varied), only(encoder), Analyzer())
    with pytest.raises(ModelNotFound, match="no models are configured"):
        bare.search("varied", Query(text=TEXT, rerank=Rerank(model="judge")))
    nothing = searcher.search("varied", Query(text="zzzz", legs=(Leg.SPARSE,), rerank=Rerank(model="judge")))
    assert (nothing.hits, nothing.left_out) == ((), ())
