"""Thresholds, diversity and groups, each against a slow obvious version over the whole ranking."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidQuery
from core.filters import parse_filter
from core.prompts import Prompt
from core.records import Representation
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from retriever.candidates import gather, rank
from retriever.diversity import diverse
from retriever.fusion import Fusion
from retriever.inputs import Inputs
from retriever.legs import Leg, SparseTerms
from retriever.query import Query
from retriever.searcher import Searcher
from retriever.selection import GroupBy, Selection
from retriever.terms import query_terms
from store import Database, Views
from tests.retriever.pools import with_pools_of

QUERIES = ["friends play a game at night", "die Spieler am Bildschirm", "机器学习", "a quick screen"]


@pytest.fixture(scope="module")
def searcher(varied: Database, encoder: LocalEncoder) -> Searcher:
    return Searcher(Views(varied), only(encoder), Analyzer())


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools that have to be deepened."""
    with_pools_of(8, monkeypatch)


def everything(searcher: Searcher, query: Query) -> list[Any]:
    return list(searcher.search("varied", replace(query, k=1000, offset=0, selection=Selection())).hits)


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("text", QUERIES)
@pytest.mark.parametrize("leg", [Leg.DENSE, Leg.SPARSE])
def test_hits_over_a_threshold_are_those_of_the_whole_ranking_without_the_ones_below(
    searcher: Searcher, text: str, leg: Leg
) -> None:
    query = Query(text=text, k=1000, legs=(leg,))
    ranking = everything(searcher, query)
    raws = [hit.scores[leg.value].raw for hit in ranking] or [1.0]
    for least in {raws[0], raws[len(raws) // 3], raws[-1], raws[0] + 1}:
        found = searcher.search("varied", replace(query, selection=Selection(min_scores={leg: least}))).hits
        assert [hit.id for hit in found] == [hit.id for hit in ranking if hit.scores[leg.value].raw >= least]


@pytest.mark.parametrize("text", QUERIES)
def test_thresholds_of_both_legs_equal_a_slow_pass_over_all_passages(
    searcher: Searcher, varied: Database, encoder: LocalEncoder, text: str
) -> None:
    """A document shows the best of its passages that reach both."""
    query = Query(text=text, k=1000, fusion=Fusion(method="convex", alpha=0.5))
    vector = encoder.encode([Prompt.of(text)], Representation.QUERY).vectors[0]
    with Views(varied).open("varied") as view:
        sparse: dict[Leg, SparseTerms] = {Leg.SPARSE: query_terms(text, (), view.languages, Analyzer())}
        found = gather(view, vector=vector, sparse=sparse, depth=1000, allowed=None)
        scores = rank(found, query.fusion).scores
    raw = {leg: found.legs[leg].raw for leg in found.legs}
    for place in range(0, len(found.ids), 40):
        least = {Leg.DENSE: float(raw[Leg.DENSE][place]), Leg.SPARSE: 0.5 * float(raw[Leg.SPARSE][place])}
        best: dict[int, tuple[float, int]] = {}
        for i, document in enumerate(found.documents.tolist()):
            if all(raw[leg][i] >= score for leg, score in least.items()):
                best[document] = max(best.get(document, (-1.0, 0)), (float(scores[i]), -int(found.ids[i])))
        hits = searcher.search("varied", replace(query, selection=Selection(min_scores=least))).hits
        assert [(hit.score, -hit.id) for hit in hits] == sorted(best.values(), reverse=True)


def test_a_threshold_keeps_scores_and_order(searcher: Searcher) -> None:
    query = Query(text=QUERIES[0], k=1000)
    ranking = everything(searcher, query)
    for hit in ranking[5:40:10]:
        least = hit.scores["dense"].raw
        found = searcher.search("varied", replace(query, selection=Selection(min_scores={Leg.DENSE: least}))).hits
        kept = [(one.id, one.score) for one in ranking if one.scores["dense"].raw >= least]
        shown = [(one.id, one.score) for one in found]
        assert [one for one in shown if one in kept] == kept
        assert all(one.scores["dense"].raw >= least for one in found)


def test_contradictory_and_impossible_selections_are_refused(searcher: Searcher) -> None:
    with pytest.raises(InvalidQuery, match=r"diversity is 1\.5; allowed are 0 to 1"):
        Selection(diversity=1.5)
    with pytest.raises(InvalidQuery, match="contradict"):
        Selection(diversity=0.5, group_by=GroupBy(field="brand"))
    with pytest.raises(InvalidQuery, match="hits_per_group is 0; allowed are 1 to 100"):
        GroupBy(field="brand", hits=0)
    with pytest.raises(InvalidQuery, match="finite"):
        Selection(min_scores={Leg.DENSE: float("nan")})
    with pytest.raises(InvalidQuery, match="their product may be 1000"):
        Query(text="x", k=100, selection=Selection(group_by=GroupBy(field="brand", hits=11)))
    wrong = Query(text="x", legs=(Leg.SPARSE,), selection=Selection(min_scores={Leg.DENSE: 0.1}))
    with pytest.raises(InvalidQuery, match="names the dense leg, and this search goes by sparse"):
        searcher.search("varied", wrong)


def slow_mmr(scores: list[float], vectors: np.ndarray[Any, Any], diversity: float) -> list[int]:
    """By the formula, over lists."""
    low, high = min(scores), max(scores)
    relevance = [(score - low) / (high - low) if high > low else 0.0 for score in scores]
    chosen: list[int] = []
    exact = vectors.astype(np.float64)
    while len(chosen) < len(scores):
        worth = {}
        for place in range(len(scores)):
            if place not in chosen:
                like = max((float(np.vecdot(exact[place], exact[other])) for other in chosen), default=0.0)
                worth[place] = (1 - diversity) * relevance[place] - diversity * like
        chosen.append(max(worth, key=lambda place: (round(worth[place], 12), -place)))
    return chosen


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 25), st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]))
def test_mmr_equals_the_slow_version(seed: int, count: int, diversity: float) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = -np.sort(-rng.random(count))
    assert diverse(scores, vectors, diversity).tolist() == slow_mmr(scores.tolist(), vectors, diversity)


def test_mmr_by_hand() -> None:
    """The second hit says what the first one says; the third, worse one, says something else."""
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    scores = np.array([1.0, 0.9, 0.5])
    assert diverse(scores, vectors, 0.0).tolist() == [0, 1, 2]
    assert diverse(scores, vectors, 0.5).tolist() == [0, 2, 1]


def test_what_differs_by_noise_alone_is_equally_relevant() -> None:
    """Blown up to 0..1, the last digit of a score would decide the order against any likeness."""
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1]], dtype=np.float32)
    for noise in (0.0, 1e-16, 1e-12, 4e-7):
        assert diverse(np.array([0.5, 0.5, 0.5 - noise]), vectors, 0.4).tolist() == [0, 2, 1]
    assert diverse(np.array([0.5, 0.5, 0.5 - 1e-6]), vectors, 0.4).tolist() == [0, 1, 2]


def test_the_relevance_is_over_all_scores_in_whatever_order() -> None:
    """Deeper pools may find better ones than stand before them."""
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]], dtype=np.float32)
    scores = np.array([0.5, 0.2, 1.0, 0.4])
    falling = np.argsort(-scores)
    expected = falling[diverse(scores[falling], vectors[falling], 0.3)]
    assert diverse(scores, vectors, 0.3).tolist() == expected.tolist()
    assert diverse(np.array([0.4, 0.5, 0.4]), np.eye(3, dtype=np.float32), 0.1).tolist() == [1, 0, 2]


@pytest.mark.parametrize("text", QUERIES)
def test_a_diverse_search_is_the_slow_mmr_of_the_ranking_page_by_page(searcher: Searcher, text: str) -> None:
    query = Query(text=text, k=1000, fusion=Fusion(method="convex"))
    ranking = everything(searcher, query)
    with Views(searcher_database(searcher)).open("varied") as view:
        vectors = view.vectors(np.array([hit.id for hit in ranking], dtype=np.int64))
    order = slow_mmr([hit.score for hit in ranking], vectors, 0.4)
    diversified = replace(query, k=10, selection=Selection(diversity=0.4))
    found = [searcher.search("varied", replace(diversified, offset=offset)).hits for offset in (0, 10, 20)]
    shown = [hit.id for page in found for hit in page]
    assert shown == [ranking[place].id for place in order[:30]]
    first = searcher.search("varied", diversified)
    second = searcher.search("varied", replace(diversified, cursor=first.next))
    assert [hit.id for hit in (*first.hits, *second.hits)] == shown[:20]
    same = searcher.search("varied", replace(query, k=30, selection=Selection(diversity=0.0)))
    assert [hit.id for hit in same.hits] == [hit.id for hit in ranking[:30]]


def searcher_database(searcher: Searcher) -> Database:
    return searcher._views._database


def slow_groups(ranking: list[Any], field: str, hits: int) -> list[tuple[Any, list[int]]]:
    """Values by the metadata of each hit; (kind, value) tells 1 from true."""
    groups: dict[Any, list[int]] = {}
    for hit in ranking:
        value = hit.metadata.get(field)
        values = [one for one in (value if isinstance(value, list) else [value]) if one is not None]
        values = [one for one in values if not (isinstance(one, str) and len(one) > 1024)]
        keys: list[Any] = sorted({(type(one).__name__, one) for one in values}, key=str)
        for one in keys or [None]:
            groups.setdefault(one, []).append(hit.id)
    return [(value, ids[:hits]) for value, ids in groups.items()]


def plain(value: Any) -> Any:
    return None if value is None else (type(value.json).__name__, value.json)


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("legs", [None, (Leg.SPARSE,)])
@pytest.mark.parametrize("field", ["brand", "price", "new", "mixed"])
def test_groups_equal_those_of_the_whole_ranking(searcher: Searcher, field: str, legs: tuple[Leg, ...] | None) -> None:
    for text in QUERIES:
        query = Query(text=text, legs=legs, filter=parse_filter({"price": {"gte": 6}}) if text[0] == "d" else None)
        ranking = everything(searcher, query)
        for hits in (1, 3, 30):
            wanted = slow_groups(ranking, field, hits)
            for k, offset in ((2, 0), (2, 1), (30, 0)):
                asked = replace(
                    query, k=k, offset=offset, selection=Selection(group_by=GroupBy(field=field, hits=hits))
                )
                found = searcher.search("varied", asked)
                assert found.groups is not None
                assert found.next is None
                got = sorted(((plain(group.value), list(group.hits)) for group in found.groups), key=str)
                cut = wanted[offset : offset + k]
                if len(wanted) <= k:
                    assert got == sorted(cut, key=str)
                else:  # groups whose best hit is one document of several values may change places
                    assert [ids for _, ids in got]
                    assert all(item in wanted for item in got)
                    assert [ids[0] for _, ids in [(g, list(g.hits)) for g in found.groups]] == [i[0] for _, i in cut]
                shown = [hit.id for hit in found.hits]
                assert len(set(shown)) == len(shown)
                assert set(shown) == {id_ for group in found.groups for id_ in group.hits}


def test_a_field_that_nobody_knows_is_refused_with_the_nearest_one(searcher: Searcher) -> None:
    query = Query(text="game", selection=Selection(group_by=GroupBy(field="brands")))
    with pytest.raises(InvalidQuery, match="group_by: unknown field 'brands'; did you mean 'brand'") as raised:
        searcher.search("varied", query)
    assert raised.value.param == "group_by"


def test_examples_are_in_no_group(searcher: Searcher) -> None:
    query = Query(inputs=Inputs(like=("d1", "d2")), selection=Selection(group_by=GroupBy(field="new", hits=100)))
    found = searcher.search("varied", query)
    assert len(found.hits) == 88
    assert not {"d1", "d2"} & {hit.document_id for hit in found.hits}
