"""What a model is asked: each pair once, outside of any transaction, again where the ranking has moved."""

from __future__ import annotations

import threading
from contextvars import Context
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.context import counted, models_read
from core.records import Document, Hit, Passage
from embedder.crossencoder import load_reranker
from embedder.local import LocalEncoder
from indexer.pipeline import Pipeline
from retriever.legs import Leg
from retriever.query import Explain, Query
from retriever.rerank import Judge, Rerank
from retriever.result import SearchResult
from retriever.searcher import Searcher
from store import Database
from store.documents import StoredPassage
from tests.embedder.classifiers import save_classifier
from tests.retriever.rerank.judging import TEXT, Opinionated, same, searching, slowly

ALL = (1, None)  # the audience: who sees all documents of generation 1


def test_the_same_pair_is_read_once(searcher: Searcher, judge: Opinionated) -> None:
    query = Query(text=TEXT, k=5, rerank=Rerank(model="judge", depth=20))
    first = searcher.search("varied", query)
    searcher.search("varied", replace(query, offset=5, explain=Explain.CONTRAST))
    searcher.explain("varied", query, first.hits[0].id)
    texts = [text for call in judge.read for text in call]
    assert len(texts) == len(set(texts)) >= 20


def test_a_model_that_does_not_answer_in_time_is_left_out(searcher: Searcher, judge: Opinionated) -> None:
    go = threading.Event()
    judge.meanwhile = lambda: go.wait(20)
    query = Query(text=TEXT, k=6, rerank=Rerank(model="judge", depth=9), timeout_ms=1000, explain=Explain.SCORES)
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
    first = ask.judged("judge", "a query", passages[:2], ALL)
    assert ask.judged("judge", "a query", passages, ALL, first).relevance.keys() == {0, 1, 2}
    assert judge.read == [["text 0", "text 1"], ["text 2"]]
    judge.fingerprint = "e" * 32
    assert ask.judged("judge", "a query", passages, ALL, first).fingerprint == "e" * 32
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


def test_a_real_cross_encoder_judges_title_and_passage(varied: Database, encoder: LocalEncoder, tmp_path: Path) -> None:
    model = load_reranker(save_classifier(tmp_path / "judge"), device="cpu")
    query = Query(text="play a game on the tv", k=8, rerank=Rerank(model="judge", depth=8, weight=0.5))
    result = searching(varied, encoder, model).search("varied", query)
    for hit in result.hits:
        read = f"{hit.title} {hit.text}" if hit.title else hit.text
        assert hit.scores["rerank"].raw == pytest.approx(model.rerank(query.text, [read]).scores[0], abs=1e-6)


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
        first = judge.judged("judge", TEXT, passages, ALL)
    assert sorted(tokenized) == sorted(texts)
    assert len(read) > 1, "a quota learns of each forward pass"
    assert sum(read) == sum(len(original.encode(TEXT, text).ids) for text in texts)
    again = list[int]()
    with counted(again.append):
        assert judge.judged("judge", TEXT, passages, ALL) == first
    assert (len(tokenized), sum(again)) == (len(texts), sum(read)), "remembered, and counted all the same"
    with counted(again.append):
        assert judge.judged("judge", TEXT, passages, (2, None)) == first
    assert len(tokenized) == 2 * len(texts), "another audience learns nothing of it"
