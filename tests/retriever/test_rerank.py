"""Reranked searches against a slow obvious version: the plain ranking, its window put in order by the formula."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.current import counted, models_read
from core.errors import HitNotFound, InvalidInput, InvalidQuery, ModelNotFound
from core.protocols import Priority
from core.records import CollectionSettings, Document, Explanation, Float64Array, Hit, Passage, Relevance
from embedder.crossencoder import load_reranker
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from indexer.pipeline import Pipeline
from retriever.beside import Beside
from retriever.cursor import Cursor
from retriever.diversity import diverse
from retriever.fusion import Fusion
from retriever.grouping import grouped
from retriever.inputs import Inputs
from retriever.legs import Leg
from retriever.query import Explain, Query
from retriever.reasons import explain_hit
from retriever.replay import Changed, replay
from retriever.rerank import MAX_DEPTH, Judge, Rerank, reranked
from retriever.result import SearchResult
from retriever.searcher import Searcher
from retriever.selection import GroupBy, Selection
from store import Database, Views
from store.catalog import create_collection
from store.documents import StoredPassage
from tests.embedder.test_crossencoder import save_classifier

TEXT = "friends play a game at night"
FUSIONS = [Fusion(), Fusion(method="convex", alpha=0.3), Fusion(method="rrf")]
LEGS = [None, (Leg.DENSE,), (Leg.SPARSE,)]


class Opinionated:
    """Judges by a digest of the pair, to one digit: another opinion than any leg's, with equals. Keeps what it read."""

    name, fingerprint = "opinionated", "f" * 32

    def __init__(self) -> None:
        self.read: list[list[str]] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def rerank(self, query: str, documents: Sequence[str], *, priority: Priority = Priority.INTERACTIVE) -> Relevance:
        self.read.append(list(documents))
        self.meanwhile()
        scores = np.array([opinion(query, document) for document in documents])
        return Relevance(scores=scores, token_counts=np.ones(len(documents), dtype=np.int64))


def opinion(query: str, document: str) -> float:
    return hashlib.sha256(f"{query}\0{document}".encode()).digest()[0] % 11 / 10


def judgement(query: Query, hit: Hit) -> float:
    return opinion(query.text, f"{hit.title.strip()} {hit.text}" if hit.title.strip() else hit.text)


def searching(database: Database, encoder: LocalEncoder, judge: Any) -> Searcher:
    return Searcher(Views(database), only(encoder), Analyzer(), rerankers={"judge": judge}.__getitem__)


@pytest.fixture
def judge() -> Opinionated:
    return Opinionated()


@pytest.fixture
def searcher(varied: Database, encoder: LocalEncoder, judge: Opinionated) -> Searcher:
    return searching(varied, encoder, judge)


@pytest.fixture(scope="module")
def lasting(varied: Database, encoder: LocalEncoder) -> Searcher:
    return searching(varied, encoder, Opinionated())


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools that have to be deepened."""
    for module in ("ranking", "candidates"):
        monkeypatch.setattr(f"retriever.{module}.POOL_DEPTH", 8)


def slowly(query: Query, hits: Sequence[Hit]) -> list[tuple[int, float]]:
    """Ids and scores of the plain ranking `hits`, its window in the order of the formula."""
    rerank = query.rerank
    assert rerank is not None
    window = hits[: rerank.depth]
    scores = [hit.score for hit in window]
    spread = max(scores) - min(scores)
    made = []
    for hit in window:
        norm = (hit.score - min(scores)) / spread if spread else 1.0
        made.append((hit.id, (1 - rerank.weight) * norm + rerank.weight * judgement(query, hit)))
    made.sort(key=lambda one: (-round(one[1], 9), one[0]))
    return [*made, *((hit.id, hit.score) for hit in hits[rerank.depth :])]


def same(found: Sequence[Hit], expected: Sequence[tuple[int, float]]) -> None:
    assert [hit.id for hit in found] == [id_ for id_, _ in expected]
    assert [hit.score for hit in found] == pytest.approx([score for _, score in expected], abs=1e-9)


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


def branches(tree: Explanation) -> Iterator[Explanation]:
    if tree.details:
        yield tree
        for detail in tree.details:
            yield from branches(detail)


def adds_up(hit: Hit) -> None:
    reasons = hit.explanation
    assert reasons is not None
    assert reasons.ledger.value == pytest.approx(hit.score, abs=1e-9)
    for branch in branches(reasons.ledger):
        assert math.fsum(d.value for d in branch.details) == pytest.approx(branch.value, abs=1e-6), branch.description
    by_query = math.fsum(w.dense + w.sparse for w in reasons.query_words) + reasons.query_rest
    assert by_query == pytest.approx(hit.score, abs=1e-6)
    lines = [line for line in reasons.ledger.details if line.kind == "rerank"]
    assert len(lines) == ("rerank" in hit.scores)
    for line in lines:
        assert line.value == hit.scores["rerank"].weight * hit.scores["rerank"].raw


@pytest.mark.parametrize("explain", [Explain.SCORES, Explain.WORDS])
@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_the_ledger_sums_after_reranking(lasting: Searcher, explain: Explain, weight: float) -> None:
    for fusion in FUSIONS:
        for legs in LEGS:
            rerank = Rerank(model="judge", depth=3, weight=weight)
            query = Query(text=TEXT, k=5, fusion=fusion, legs=legs, rerank=rerank, explain=explain)
            hits = lasting.search("varied", query).hits
            assert len(hits) == 5
            for hit in hits:
                adds_up(hit)


def test_a_hit_is_explained_with_the_score_that_it_was_shown_with(lasting: Searcher) -> None:
    query = Query(text=TEXT, k=12, rerank=Rerank(model="judge", depth=6, weight=0.5))
    for hit in lasting.search("varied", query).hits:
        [explained] = lasting.explain("varied", query, hit.id).hits
        assert (explained.score, explained.scores) == (hit.score, hit.scores)
        adds_up(explained)
    with pytest.raises(HitNotFound):
        lasting.explain("varied", query, 10**9)


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


def test_the_same_pair_is_read_once(searcher: Searcher, judge: Opinionated) -> None:
    query = Query(text=TEXT, k=5, rerank=Rerank(model="judge", depth=20))
    first = searcher.search("varied", query)
    searcher.search("varied", replace(query, offset=5, explain=Explain.CONTRAST))
    searcher.explain("varied", query, first.hits[0].id)
    texts = [text for call in judge.read for text in call]
    assert len(texts) == len(set(texts)) >= 20


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
    plain = Query(text=TEXT, k=10, beside=Beside(highlight=True, facets=("price",)))
    found = searcher.search("varied", replace(plain, rerank=Rerank(model="judge")))
    assert found.facets == searcher.search("varied", plain).facets
    assert all(hit.highlight is not None for hit in found.hits)
    least = replace(plain, beside=Beside(), k=90, selection=Selection(min_scores={Leg.SPARSE: 2.0}))
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


def test_a_model_that_does_not_answer_in_time_is_left_out(searcher: Searcher, judge: Opinionated) -> None:
    go = threading.Event()
    judge.meanwhile = lambda: go.wait(20)
    query = Query(text=TEXT, k=6, rerank=Rerank(model="judge", depth=9), timeout_ms=300, explain=Explain.SCORES)
    found = searcher.search("varied", query)
    go.set()
    assert found.left_out[0] == "rerank"
    assert found.legs == (Leg.DENSE, Leg.SPARSE)
    assert found.next is None
    plain = searcher.search("varied", replace(query, rerank=None, timeout_ms=None)).hits
    same(found.hits, [(hit.id, hit.score) for hit in plain])
    later = searcher.search("varied", replace(query, timeout_ms=60_000))
    assert not later.timed_out
    assert "rerank" in later.hits[0].scores


@pytest.fixture
def moving(tmp_path: Path, encoder: LocalEncoder) -> Iterator[tuple[Database, Pipeline]]:
    database = Database.open(tmp_path / "data")
    with database.write() as session:
        create_collection(
            session,
            "moving",
            CollectionSettings(),
            model=encoder.name,
            fingerprint=encoder.fingerprint,
            dimension=encoder.dimension,
        )
    pipeline = Pipeline(database, only(encoder), Analyzer())
    assert not pipeline.add("moving", [Document(id=f"{n}", text=f"A game for {n} friends.") for n in range(8)]).failed
    yield database, pipeline
    database.close()


def test_documents_that_come_while_a_model_judges_are_judged_too(
    moving: tuple[Database, Pipeline], encoder: LocalEncoder
) -> None:
    database, pipeline = moving
    judge, query = Opinionated(), Query(text="game for 3 friends", rerank=Rerank(model="judge", depth=4))
    searcher = searching(database, encoder, judge)

    def write() -> None:
        if len(judge.read) == 1:
            pipeline.add("moving", [Document(id="new", text="A game for 3 friends")])

    judge.meanwhile = write
    found = searcher.search("moving", query)
    assert not found.left_out
    assert "A game for 3 friends" in judge.read[1]
    same(found.hits, slowly(query, searcher.search("moving", replace(query, rerank=None)).hits))


def test_a_pair_is_counted_once_however_often_a_window_moves(
    moving: tuple[Database, Pipeline], encoder: LocalEncoder
) -> None:
    database, pipeline = moving
    judge = Opinionated()  # each pair has one token
    rerank = Rerank(model="judge", depth=4)
    queries = [Query(text=f"game for {n} friends", legs=(Leg.SPARSE,), rerank=rerank) for n in (3, 5)]

    def write() -> None:
        models_read(len(judge.read[-1]))
        if len(judge.read) == 1:  # somebody else's request
            Context().run(pipeline.add, "moving", [Document(id="new", text="A game for 3 friends")])

    judge.meanwhile = write
    searcher, read = searching(database, encoder, judge), list[int]()
    with counted(read.append):
        results = searcher.search_many("moving", queries)
    assert [result.left_out for result in results if isinstance(result, SearchResult)] == [(), ()]
    assert len(judge.read) > len(queries), "a window has moved"
    assert sum(read) == sum(map(len, judge.read))
    read.clear()
    with counted(read.append):
        searcher.search_many("moving", queries)
    assert sum(read) == sum(len(window_of(searcher, query)) for query in queries), "what is remembered counts again"


def window_of(searcher: Searcher, query: Query) -> tuple[Hit, ...]:
    return searcher.search("moving", replace(query, k=4, rerank=None)).hits


def test_what_another_state_of_a_model_said_is_asked_again() -> None:
    judge = Opinionated()
    ask = Judge({"judge": judge}.__getitem__)
    span = Passage(start=0, end=6, fresh=0)
    passages = [
        StoredPassage(
            id=number, document_id="a", title="", metadata={}, language="", passage=span, text=f"text {number}"
        )
        for number in range(3)
    ]
    first = ask.judged("judge", "a query", passages[:2])
    assert ask.judged("judge", "a query", passages, first).relevance.keys() == {0, 1, 2}
    assert judge.read == [["text 0", "text 1"], ["text 2"]]
    judge.fingerprint = "e" * 32
    assert ask.judged("judge", "a query", passages, first).fingerprint == "e" * 32
    assert judge.read[2] == ["text 0", "text 1", "text 2"]


def test_where_others_never_cease_to_write_a_search_does_without(
    moving: tuple[Database, Pipeline], encoder: LocalEncoder
) -> None:
    database, pipeline = moving
    judge, query = Opinionated(), Query(text="game for 3 friends", rerank=Rerank(model="judge", depth=4))

    def write() -> None:
        words = "friends " * len(judge.read)
        pipeline.add("moving", [Document(id=f"new{len(judge.read)}", text=f"game for 3 {words}")])

    judge.meanwhile = write
    searcher = searching(database, encoder, judge)
    found = searcher.search("moving", query)
    assert found.left_out == ("rerank",)
    judge.meanwhile = lambda: None
    same(found.hits, [(h.id, h.score) for h in searcher.search("moving", replace(query, rerank=None)).hits])


def test_no_transaction_is_open_while_a_model_judges(moving: tuple[Database, Pipeline], encoder: LocalEncoder) -> None:
    database, pipeline = moving
    judge, sizes = Opinionated(), []

    def write() -> None:
        pipeline.add("moving", [Document(id="last", text="Nothing of the kind.")])
        database.checkpoint()  # a reader would keep it from cutting the log
        sizes.append(database.log_bytes())

    judge.meanwhile = write
    searching(database, encoder, judge).search("moving", Query(text="game", rerank=Rerank(model="judge", depth=3)))
    assert sizes
    assert set(sizes) == {0}


def test_a_page_goes_on_in_its_own_part_of_the_ranking() -> None:
    ids = np.array([5, 9, 2, 7, 1])
    scores: Float64Array = np.array([0.3, 0.2, 0.1, 0.9, 0.8])  # three are reranked
    gone = Cursor(generation=1, seq=4, place=2, score=0.25, hit=8)
    assert gone.start(5, ids, scores, window=3) == 1
    assert replace(gone, score=0.05).start(5, ids, scores, window=3) == 3
    assert replace(gone, place=4, score=0.85).start(5, ids, scores, window=3) == 4
    assert replace(gone, hit=7).start(5, ids, scores, window=3) == 4
    assert gone.start(4, ids, scores, window=3) == 2


def test_contrast_of_hits_on_either_side_of_the_window(lasting: Searcher) -> None:
    query = Query(text=TEXT, k=4, rerank=Rerank(model="judge", depth=2, weight=0.3))
    hits = lasting.search("varied", query).hits
    for upper, lower in ((hits[0], hits[1]), (hits[1], hits[2])):
        explanation = explain_hit(lasting, "varied", query, upper.id, above=lower.id).hits[0].explanation
        assert explanation is not None
        assert explanation.contrast is not None
        tree = explanation.contrast.ledger
        assert tree.value == pytest.approx(upper.score - lower.score, abs=1e-9)
        for branch in branches(tree):
            assert math.fsum(d.value for d in branch.details) == pytest.approx(branch.value, abs=1e-6)
        [line] = [line for line in tree.details if line.kind == "rerank"]
        there = lower.scores["rerank"].raw if "rerank" in lower.scores else 0.0
        assert line.value == pytest.approx(0.3 * (upper.scores["rerank"].raw - there))
    with pytest.raises(InvalidQuery, match="ask why"):
        explain_hit(lasting, "varied", query, hits[2].id, above=hits[1].id)


def test_replay_names_another_reranker(varied: Database, encoder: LocalEncoder) -> None:
    views, judge = Views(varied), Opinionated()
    searcher = Searcher(views, only(encoder), Analyzer(), rerankers={"judge": judge}.__getitem__)
    query = Query(text=TEXT, k=3, rerank=Rerank(model="judge", depth=5, weight=0.6), explain=Explain.SCORES)
    explanation = searcher.search("varied", query).hits[0].explanation
    assert explanation is not None
    kept = json.loads(json.dumps(asdict(explanation)))
    assert kept["provenance"]["rerank"] == {
        "model": "judge", "fingerprint": "f" * 32, "depth": 5, "weight": 0.6,
    }  # fmt: skip
    same_again = replay(searcher, views, kept)
    assert same_again.agrees
    assert same_again.changed == ()

    class Other(Opinionated):
        fingerprint = "0" * 32

        def rerank(self, query: str, documents: Sequence[str], **options: Any) -> Relevance:
            return Relevance(scores=np.full(len(documents), 0.5), token_counts=np.ones(len(documents), dtype=np.int64))

    other = Searcher(views, only(encoder), Analyzer(), rerankers={"judge": Other()}.__getitem__)
    replayed = replay(other, views, kept)
    assert not replayed.agrees
    assert replayed.changed == (Changed.MODEL,)
    gone = replay(Searcher(views, only(encoder), Analyzer()), views, kept)
    assert (gone.agrees, gone.changed, gone.score_now) == (False, (Changed.MODEL,), None)


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


def test_a_real_cross_encoder_judges_title_and_passage(varied: Database, encoder: LocalEncoder, tmp_path: Path) -> None:
    model = load_reranker(save_classifier(tmp_path / "judge"), device="cpu")
    query = Query(text="play a game on the tv", k=8, rerank=Rerank(model="judge", depth=8, weight=0.5))
    result = searching(varied, encoder, model).search("varied", query)
    for hit in result.hits:
        read = f"{hit.title} {hit.text}" if hit.title else hit.text
        assert hit.scores["rerank"].raw == pytest.approx(model.rerank(query.text, [read]).scores[0], abs=1e-6)
    with pytest.raises(InvalidInput, match="query is empty"):
        model.rerank(" ", ["a"])


def test_each_pair_is_tokenized_once_and_counted_as_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenized, read = load_reranker(save_classifier(tmp_path / "judge"), device="cpu"), list[str](), list[int]()
    texts = ["the game console", "a red car house " * 12, "", "movie on tv"]
    original = model._tokenizer

    class Noting:
        def encode_batch(self, pairs: list[tuple[str, str]]) -> Any:
            tokenized.extend(text for _, text in pairs)
            return original.encode_batch(pairs)

    monkeypatch.setattr(model, "_tokenizer", Noting())
    monkeypatch.setattr(model, "_batch_tokens", 20)  # so that it takes several forward passes
    judge = Judge({"judge": model}.__getitem__)
    passages = [
        StoredPassage(
            id=n, document_id=f"d{n}", title="", metadata={}, language="en", text=text,
            passage=Passage(start=0, end=len(text), fresh=0),
        )
        for n, text in enumerate(texts)
    ]  # fmt: skip
    with counted(read.append):
        first = judge.judged("judge", TEXT, passages)
    assert sorted(tokenized) == sorted(texts)
    assert len(read) > 1, "a quota learns of each forward pass"
    assert sum(read) == sum(len(original.encode(TEXT, text).ids) for text in texts)
    again = list[int]()
    with counted(again.append):
        assert judge.judged("judge", TEXT, passages) == first
    assert (len(tokenized), sum(again)) == (len(texts), sum(read)), "remembered, and counted all the same"


@settings(max_examples=5, deadline=None)
@given(depth=st.integers(1, 60), weight=st.sampled_from([0.0, 0.5, 1.0]), text=st.sampled_from(["game", TEXT, "机器"]))
def test_the_same_query_twice_is_the_same_answer(lasting: Searcher, depth: int, weight: float, text: str) -> None:
    query = Query(text=text, k=20, rerank=Rerank(model="judge", depth=depth, weight=weight))
    one, other = (lasting.search("varied", query) for _ in range(2))
    assert one.hits == other.hits
