"""Searching and explaining documents that have controls on their texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from app.schemas.explanations import ExplanationBody
from core.errors import InvalidQuery
from core.prompts import TextControl
from core.reasons import Explanation
from core.records import CollectionSettings, Document, Hit, Passage, Relevance, SparseScoring
from embedder.densemodels import only
from embedder.explaining.request import Granularity
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from embedder.sparse import load_sparse
from indexer.pipeline import Pipeline
from retriever.extras import Extras
from retriever.fusion import Fusion
from retriever.highlights import highlight
from retriever.legs import Leg
from retriever.query import Explain, Query
from retriever.replay import Changed, replay
from retriever.rerank import Rerank
from retriever.searcher import Searcher
from retriever.unit_request import UnitMethod, UnitRequest
from retriever.wordconditions import WordConditions
from store import Database, Views
from store.documents import StoredPassage
from tests.collections import create_for

TEXTS = {
    "wolf": "Home wolves shop. The gray wolf hunts in packs. Subscribe to wolf news now! It lives in cold forests.",
    "sheep": "The wolf eats sheep. Sheep graze on green hills all summer long.",
    "rain": "Rain falls in the forest all summer.",
    "radio": "A radio for the kitchen. It wakes you up, too.",
}
LEFT_OUT = ("Home wolves shop.", "Subscribe to wolf news now!")
DOUBLED = "Sheep graze on green hills"
UNITS = UnitRequest(method=UnitMethod.ATMAN, granularity=Granularity.SENTENCE)
GRADIENTS = UnitRequest(method=UnitMethod.INTEGRATED_GRADIENTS, granularity=Granularity.SENTENCE)


def spanning(text: str, part: str, factor: float) -> TextControl:
    return TextControl(start=text.index(part), length=len(part), factor=factor)


def documents() -> list[Document]:
    controls = {
        "wolf": tuple(spanning(TEXTS["wolf"], part, 0.0) for part in LEFT_OUT),
        "sheep": (spanning(TEXTS["sheep"], DOUBLED, 2.0),),
    }
    return [
        Document(id=id, text=text, title="Animals" if id == "sheep" else "", controls=controls.get(id, ()))
        for id, text in TEXTS.items()
    ]


class Place(NamedTuple):
    views: Views
    searcher: Searcher
    pipeline: Pipeline


class Recording:
    """A reranker that keeps what it is given to read."""

    name, fingerprint = "judge", "fingerprint-of-the-judge"

    def __init__(self) -> None:
        self.read: list[str] = []

    def rerank(self, query: str, documents: Sequence[str]) -> Relevance:
        self.read += documents
        count = len(documents)
        ones = np.ones(count, dtype=np.int64)
        return Relevance(scores=np.full(count, 0.5), token_counts=ones, truncated=np.zeros(count, dtype=np.bool_))


JUDGE = Recording()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, encoder: LocalEncoder, splade: Path) -> Iterator[Place]:
    database = Database.open(Path(tmp_path_factory.mktemp("controlled")))
    sparse = load_sparse(splade, name="splade", device="cpu")
    create_for(encoder, database, "t", CollectionSettings(language="en", sparse=SparseScoring.BOTH), sparse=sparse)
    models = {"splade": sparse}.__getitem__
    pipeline = Pipeline(database, only(encoder), Analyzer(), models)
    assert not pipeline.add("t", documents()).failed
    views = Views(database)
    yield Place(views, Searcher(views, only(encoder), Analyzer(), models, {"judge": JUDGE}.__getitem__), pipeline)
    database.close()


def hits(place: Place, query: Query) -> dict[str, Hit]:
    return {hit.document_id: hit for hit in place.searcher.search("t", query).hits}


def explained(place: Place, document: str, **options: Any) -> Hit:
    query = Query(text="wolf in the forest", explain=Explain.WORDS, k=10, **options)
    return hits(place, query)[document]


def saved(place: Place, document: str, **options: Any) -> dict[str, Any]:
    explanation = explained(place, document, **options).explanation
    assert explanation is not None
    as_json: dict[str, Any] = ExplanationBody.of(explanation).model_dump(mode="json")
    return as_json


def lines(tree: Explanation) -> Iterator[Explanation]:
    yield tree
    for part in tree.details:
        yield from lines(part)


def of_kind(hit: Hit, kind: str) -> list[Explanation]:
    assert hit.explanation is not None
    return [line for line in lines(hit.explanation.ledger) if line.kind == kind]


@pytest.mark.parametrize("document", ["wolf", "sheep", "rain"])
@pytest.mark.parametrize("fusion", [Fusion(), Fusion(method="rrf"), Fusion(method="convex", alpha=0.4)])
def test_the_parts_add_up_and_the_passage_is_read_as_it_was_indexed(
    place: Place, fusion: Fusion, document: str
) -> None:
    hit = explained(place, document, fusion=fusion)
    assert hit.explanation is not None
    for line in lines(hit.explanation.ledger):
        if line.details:
            assert sum(part.value for part in line.details) == pytest.approx(line.value, abs=1e-6)
    assert of_kind(hit, "score")[0].value == pytest.approx(hit.score, abs=1e-9)
    for residual in of_kind(hit, "residual"):
        assert abs(residual.value) < 1e-5, "with other controls, the cosine would be another"
    bm25 = sum(word.legs["sparse"].share or 0.0 for word in hit.explanation.words)
    assert bm25 == pytest.approx(hit.scores["sparse"].raw, abs=1e-6)


def test_words_stand_where_they_stand_in_the_stored_text_and_those_left_out_are_not_among_them(place: Place) -> None:
    hit = explained(place, "wolf")
    assert hit.explanation is not None
    assert hit.text == TEXTS["wolf"]
    said = [hit.text[word.start : word.end] for word in hit.explanation.words]
    assert said == [word.text for word in hit.explanation.words]
    assert " ".join(said) == "The gray wolf hunts in packs It lives in cold forests"
    sentences = [hit.text[one.start : one.end] for one in hit.explanation.sentences]
    assert sentences == ["The gray wolf hunts in packs.", "It lives in cold forests."]


def test_the_ledger_says_that_parts_count_otherwise(place: Place) -> None:
    for document, says in (("wolf", True), ("sheep", True), ("rain", False)):
        for explain in (Explain.WORDS, Explain.SCORES):
            hit = hits(place, Query(text="wolf in the forest", explain=explain, k=10))[document]
            assert ("as its document's controls say" in of_kind(hit, "score")[0].description) is says
    described = {line.description for line in of_kind(explained(place, "sheep"), "word")}
    assert "'graze' in the passage, where it counts 2 times" in described
    assert "'eats' in the passage" in described
    assert "'Animals' in the title" in described


def test_bm25_knows_no_word_that_is_left_out(place: Place) -> None:
    assert hits(place, Query(text="subscribe to news", legs=(Leg.SPARSE,), k=10)) == {}
    for conditions in (WordConditions(must=("subscribe",)), WordConditions(phrases=("wolf news",))):
        assert hits(place, Query(text="wolf", conditions=conditions, k=10)) == {}
    # not across what is left out, either
    across = WordConditions(phrases=("packs it",))
    assert hits(place, Query(text="wolf", conditions=across, k=10)) == {}
    assert set(hits(place, Query(text="wolf", conditions=WordConditions(must_not=("shop",)), k=10))) == set(TEXTS)
    assert set(hits(place, Query(text="wolf", conditions=WordConditions(phrases=("gray wolf",)), k=10))) == {"wolf"}


def test_what_is_left_out_is_not_marked(place: Place) -> None:
    hit = hits(place, Query(text="wolf", extras=Extras(highlight=True), k=10))["wolf"]
    assert hit.highlight is not None
    start = TEXTS["wolf"].index("wolf hunts")
    assert hit.highlight.passage == ((start, start + 4),)


def test_words_that_are_left_out_in_part_are_marked_as_the_index_has_them() -> None:
    """What is left of a word is another word; Chinese has no borders that one could keep to."""
    for text, left_out, term, marked in (
        ("Wolfsburg is a town.", (4, 5), "wolf", "Wolf"),
        ("Wolfsburg is a town.", (4, 5), "wolfsburg", None),
        ("机器学习方法", (1, 1), "学习", "学习"),
        ("机器学习方法", (1, 1), "器学", None),
        ("机器学习方法", (1, 1), "机", "机"),
    ):
        control = TextControl(start=left_out[0], length=left_out[1], factor=0)
        passage = StoredPassage(
            id=1, document_id="d", title="", metadata={}, language="en", text=text, controls=(control,),
            passage=Passage(start=0, end=len(text), fresh=0),
        )  # fmt: skip
        found = highlight(passage, {term: 1.0}, Analyzer())
        assert [text[start:end] for start, end in found.passage] == ([] if marked is None else [marked])


def test_a_reranker_does_not_read_it(place: Place) -> None:
    hits(place, Query(text="wolf", rerank=Rerank(model="judge"), k=10))
    [read] = [text for text in JUDGE.read if "gray wolf" in text]
    assert not any(part in read for part in LEFT_OUT)
    assert f"Animals {TEXTS['sheep']}" in JUDGE.read, "of other factors it knows nothing"


def test_parts_can_be_suppressed_on_top(place: Place) -> None:
    plain, units = explained(place, "sheep"), explained(place, "sheep", units=UNITS)
    assert units.explanation is not None
    assert plain.score == units.score
    found = {one.text: one.effect for one in units.explanation.units}
    assert found["The wolf eats sheep."] > 0.05, "the score falls without it"


def test_gradients_follow_no_factors_and_say_so(place: Place) -> None:
    with pytest.raises(InvalidQuery, match="integrated gradients do not follow; choose atman"):
        explained(place, "sheep", units=GRADIENTS)
    alone = Query(text="wolf", explain=Explain.WORDS, units=GRADIENTS, k=10)
    id_ = hits(place, Query(text="wolf", k=10))["wolf"].id
    [hit] = place.searcher.explain("t", alone, id_).hits
    assert hit.explanation is not None
    assert len(hit.explanation.units) == 2, "what is left out is no matter"


@pytest.mark.parametrize("options", [{}, {"units": UNITS}, {"fusion": Fusion(method="rrf")}])
def test_a_replay_agrees(place: Place, options: dict[str, Any]) -> None:
    for document in ("wolf", "sheep"):
        kept = saved(place, document, **options)
        again = replay(place.searcher, place.views, kept)
        assert (again.agrees, again.difference, again.changed) == (True, 0, ())


def test_other_controls_make_another_document_of_it(place: Place) -> None:
    kept = saved(place, "sheep")
    before = documents()
    try:
        place.pipeline.add("t", [Document(id="sheep", text=TEXTS["sheep"], title="Animals")])
        again = replay(place.searcher, place.views, kept)
        assert not again.agrees
        assert Changed.DOCUMENT in again.changed
    finally:
        place.pipeline.add("t", before)
