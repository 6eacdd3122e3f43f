"""The learned sparse leg, with real models over a real database."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.context import counted as tokens_counted
from core.errors import InvalidQuery, ModelMismatch, ModelNotFound
from core.filters import parse_filter
from core.prompts import Prompt, TextControl
from core.protocols import SparseEncoder
from core.records import CollectionSettings, Document, Representation, SparseScoring
from embedder.densemodels import only
from embedder.hybrid import HybridModel, load_hybrid
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from embedder.sparse import SparseModel
from indexer.pipeline import Pipeline, delete
from retriever.examples import TOKENS
from retriever.fusion import Fusion
from retriever.inputs import Inputs, sparse_input
from retriever.legs import Leg
from retriever.query import Explain, Query, steer
from retriever.searcher import Searcher
from store import Database, Views
from tests.collections import create_for
from tests.embedder.tinysparse import save_tiny_hybrid
from tests.retriever.conftest import branches, explained

DENSE, SPARSE, LEARNED = Leg.DENSE, Leg.SPARSE, Leg.LEARNED
TEXTS = ["I want to play^7 on my TV.", "red^4 dress for a summer wedding", "how do I feed a cat^0", "!?"]


def slow_scores(sparse: SparseModel, database: Database, query: Query) -> dict[str, float]:
    """The dot product with the best passage of every document that matches, each passage embedded anew and alone."""
    asked = sparse.encode_sparse([Prompt.of(query.text, query.controls)], Representation.QUERY).vectors[0]
    wanted = dict(zip(asked.ids.tolist(), asked.weights.tolist(), strict=True))
    scores: dict[str, float] = {}
    with Views(database).open("learned") as view:
        ids = view.nearest(np.zeros(view.generation.dimension, np.float32), 10_000).ids
        for passage in view.fetch(ids):
            text = f"{passage.title} {passage.text}" if passage.title else passage.text
            vector = sparse.encode_sparse([Prompt.of(text)], Representation.DOCUMENT).vectors[0]
            pairs = zip(vector.ids.tolist(), vector.weights.tolist(), strict=True)
            score = math.fsum(wanted.get(id_, 0.0) * weight for id_, weight in pairs)
            scores[passage.document_id] = max(scores.get(passage.document_id, 0.0), score)
    return {id_: score for id_, score in scores.items() if score > 0}


@pytest.mark.parametrize("text", TEXTS[:3])
def test_the_learned_leg_equals_the_slow_dot_products(
    text: str, search: Searcher, sparse: SparseModel, learned_database: Database
) -> None:
    clean, controls = steer(text)
    query = Query(text=clean, controls=controls, legs=(SPARSE,), k=40)
    expected = slow_scores(sparse, learned_database, query)
    hits = search.search("learned", query).hits
    assert len(hits) == min(40, len(expected)) > 30
    assert [hit.score for hit in hits] == pytest.approx(sorted(expected.values(), reverse=True)[:40], abs=1e-4)
    assert [hit.score for hit in hits] == pytest.approx([expected[hit.document_id] for hit in hits], abs=1e-4)
    assert all(hit.scores["sparse"].raw == hit.score for hit in hits)


def test_both_collections_score_by_the_same_weights(search: Searcher) -> None:
    query = Query(text="gaming console", k=30)
    alone = search.search("learned", replace(query, legs=(SPARSE,))).hits
    beside = search.search("both", replace(query, legs=(LEARNED,))).hits
    assert [hit.document_id for hit in alone] == [hit.document_id for hit in beside]
    # Each collection embedded its passages in batches of its own.
    assert [hit.score for hit in alone] == pytest.approx([hit.score for hit in beside], abs=1e-5)
    words = search.search("both", replace(query, legs=(SPARSE,))).hits
    assert [hit.score for hit in words] != [hit.score for hit in beside][: len(words)]


def test_a_collection_is_searched_by_the_legs_that_it_has(search: Searcher) -> None:
    for name, legs in (("bm25", (DENSE, SPARSE)), ("learned", (DENSE, SPARSE)), ("both", (DENSE, SPARSE, LEARNED))):
        result = search.search(name, Query(text="gaming console"))
        assert result.legs == legs
        assert list(result.hits[0].scores) == [leg.value for leg in legs]
        for hit in result.hits:
            assert hit.score == pytest.approx(math.fsum(s.weight * s.norm for s in hit.scores.values()))
    assert result.choice is not None
    assert [s.weight for s in result.hits[0].scores.values()] == list(result.choice.weights.values())
    even = search.search("both", Query(text="gaming console", fusion=Fusion(method="convex")))
    assert [s.weight for s in even.hits[0].scores.values()] == [0.5, 0.25, 0.25]
    for name in ("bm25", "learned"):
        with pytest.raises(InvalidQuery, match="no leg 'learned'; it has dense, sparse"):
            search.search(name, Query(text="x", legs=(LEARNED,)))


def test_controls_scale_what_a_word_brings(search: Searcher) -> None:
    text = "gaming console"
    brought = []
    for factor in (0.0, 0.5, 1.0, 3.0):
        controls = (TextControl(start=7, length=7, factor=factor),)
        query = Query(text=text, controls=controls, legs=(SPARSE,), explain=Explain.WORDS, k=40)
        hits = {hit.document_id: hit for hit in search.search("learned", query).hits}
        words = {word.text: word.sparse for word in explained(hits["console"]).query_words}
        brought.append(words["console"])
    assert brought[0] == 0
    assert brought == sorted(brought)
    assert brought[3] > 2 * brought[2] > 0


def test_filters_act_on_the_leg_and_history_on_no_score(
    search: Searcher, learned_database: Database, encoder: LocalEncoder, sparse: SparseModel, few: list[Document]
) -> None:
    query = Query(text="gaming console", legs=(LEARNED,), k=100)
    before = search.search("both", query)
    among = search.search("both", replace(query, filter=parse_filter({"kind": "product"}))).hits
    assert {hit.document_id for hit in among} == {"television", "console"}
    scores = {hit.id: hit.score for hit in before.hits}
    assert all(hit.score == scores[hit.id] for hit in among)
    pipeline = Pipeline(learned_database, only(encoder), Analyzer(), {"splade": sparse}.__getitem__)
    extra = Document(id="extra", text="A gaming console for a gaming console.")
    pipeline.add("both", [extra, replace(few[5], metadata={"kind": "new"})])
    with_extra = search.search("both", query)
    assert with_extra.hits[0].document_id == "extra"
    assert [(h.id, h.score) for h in with_extra.hits[1:]] == [(h.id, h.score) for h in before.hits]
    fresh = Searcher(Views(learned_database), only(encoder), Analyzer(), {"splade": sparse}.__getitem__)
    assert fresh.search("both", query).hits == with_extra.hits
    delete(learned_database, "both", [extra.id])
    assert [(h.id, h.score) for h in search.search("both", query).hits] == [(h.id, h.score) for h in before.hits]


def test_silence_is_said_of_all_sparse_legs_together(search: Searcher) -> None:
    stop_words = Query(text="to be or not to be")
    assert search.search("bm25", stop_words).sparse_silent
    assert not search.search("both", stop_words).sparse_silent  # the learned leg knows these words


def test_a_missing_or_changed_sparse_model_is_refused(
    learned_database: Database, encoder: LocalEncoder, sparse: SparseModel
) -> None:
    class Other:
        fingerprint = "another"

    def other(name: str) -> SparseEncoder:
        return Other()  # type: ignore[return-value]

    views = Views(learned_database)
    query = Query(text="gaming console")
    with pytest.raises(ModelNotFound, match="learned weights by splade"):
        Searcher(views, only(encoder), Analyzer()).search("learned", query)
    with pytest.raises(ModelMismatch, match=f"made by splade .*{sparse.fingerprint}.* now loads another model"):
        Searcher(views, only(encoder), Analyzer(), other).search("learned", query)
    dense_alone = Searcher(views, only(encoder), Analyzer()).search("learned", replace(query, legs=(DENSE,)))
    assert dense_alone.hits  # needs no sparse model


def test_a_hybrid_model_reads_the_query_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_hybrid(save_tiny_hybrid(tmp_path / "m"), name="hybrid", device="cpu")
    database = Database.open(tmp_path / "data")
    settings = CollectionSettings(sparse=SparseScoring.LEARNED, overlap_tokens=0)
    create_for(model, database, "words", settings, sparse=model)
    passes = []
    original = HybridModel.encode_hybrid

    def counted(self: HybridModel, prompts: list[Prompt], *rest: object, **options: object) -> object:
        passes.append(len(prompts))
        return original(self, prompts, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(HybridModel, "encode_hybrid", counted)
    models = {"hybrid": model}.__getitem__
    texts = ["the red car", "a blue house", "play on my tv", "the wolf train"]
    Pipeline(database, only(model), Analyzer(), models).add(
        "words", [Document(id=str(i), text=text) for i, text in enumerate(texts)]
    )
    assert passes == [len(texts)]
    searcher, prices = Searcher(Views(database), only(model), Analyzer(), models), list[int]()
    for _ in range(2):
        with tokens_counted(prices.append):
            searcher.search("words", Query(text="red car"))
    assert prices == [4, 4], "two words and two special tokens, read once and remembered"
    assert passes == [len(texts), 1]
    result = searcher.search("words", Query(text="red car", explain=Explain.WORDS))
    assert set(result.hits[0].scores) == {"dense", "sparse"}
    weights = [hit.scores["sparse"].raw for hit in result.hits]
    asked = model.encode_sparse([Prompt.of("red car")], Representation.QUERY).vectors[0]
    assert bool(len(asked.ids)) == any(weights)
    database.close()


def test_a_sparse_vector_finds_what_its_text_finds(search: Searcher, sparse: SparseModel) -> None:
    """On the leg of learned weights, whichever that is; the other legs have nothing to go by."""
    [asked] = sparse.encode_sparse([Prompt.of("gaming console")], Representation.QUERY).vectors
    given = Inputs(sparse_vector=sparse_input(dict(zip(asked.ids.tolist(), asked.weights.tolist(), strict=True))))
    for collection, leg in (("learned", SPARSE), ("both", LEARNED)):
        found = search.search(collection, Query(inputs=given, k=30, explain=Explain.WORDS))
        wanted = search.search(collection, Query(text="gaming console", legs=(leg,), k=30))
        assert found.legs == (leg,)
        assert [(hit.id, hit.score) for hit in found.hits] == [(hit.id, hit.score) for hit in wanted.hits]
        for hit in found.hits:
            for branch in branches(explained(hit).ledger):
                assert math.fsum(line.value for line in branch.details) == pytest.approx(branch.value, abs=1e-6)
    beside = search.search("both", Query(text="gaming console", inputs=given, k=30))
    assert beside.legs == (DENSE, SPARSE, LEARNED)
    wanted = search.search("both", Query(text="gaming console", k=30))
    assert [(hit.id, hit.score) for hit in beside.hits] == [(hit.id, hit.score) for hit in wanted.hits]


@pytest.mark.parametrize("explain", Explain)
def test_a_sparse_vector_of_tokens_that_the_model_lacks_is_refused(search: Searcher, explain: Explain) -> None:
    given = Inputs(sparse_vector=sparse_input({2000: 1.0, 2**31 - 1: 0.5}))
    for collection in ("learned", "both"):
        with pytest.raises(InvalidQuery, match="sparse_vector: token id 2147483647 is not in the model's") as refused:
            search.search(collection, Query(inputs=given, explain=explain))
        assert refused.value.param == "sparse_vector"


def test_examples_move_the_learned_leg_by_their_strongest_weights(
    search: Searcher, learned_database: Database, few: list[Document]
) -> None:
    example = few[5].id
    found = search.search("learned", Query(inputs=Inputs(like=(example,)), legs=(SPARSE,), k=30)).hits
    with Views(learned_database).open("learned") as view:
        [number] = view.document_numbers([example]).values()
        ids = np.array(view.passages_of([number])[number])
        own = view.learned_of(ids, np.full(len(ids), 1 / len(ids)))
        strongest = np.sort(np.argsort(-own.weights, kind="stable")[:TOKENS])
        weights = view.learned_weights(own.ids[strongest], np.array([hit.id for hit in found]))
    assert [hit.score for hit in found] == pytest.approx(weights @ own.weights[strongest].astype(np.float64), rel=1e-5)
    assert example not in {hit.document_id for hit in found}
