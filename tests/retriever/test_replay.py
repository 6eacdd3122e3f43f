"""An explanation that was saved holds, or it is said what has changed."""

import json
import math
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from app.schemas.explanations import ExplanationBody
from core.errors import CollectionNotFound, InvalidInput
from core.filters import parse_filter
from core.prompts import ControlOptions, ControlTarget, Prompt
from core.records import Document, Hit, Representation
from embedder.densemodels import only
from embedder.explaining.request import Granularity
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from indexer.pipeline import Pipeline, delete
from retriever.cursor import _FREE
from retriever.fusion import Fusion
from retriever.inputs import Inputs
from retriever.query import Explain, Query, steer
from retriever.reasons import explain_hit
from retriever.record import recorded_query
from retriever.replay import Changed, explanations_in, replay
from retriever.searcher import Searcher
from retriever.unit_request import UnitMethod, UnitRequest
from retriever.wordconditions import WordConditions
from store import Database, Views
from tests.collections import create_for

TEXTS = {
    "wolf": "The gray wolf hunts in packs. It lives in cold forests.",
    "cat": "A cat sleeps most of the day. Feed it twice.",
    "rain": "Rain falls in the forest all summer.",
    "radio": "A radio for the kitchen. It wakes you up, too.",
}
CLEAN, CONTROLS = steer("wolf^3 in the forest")
UNITS = UnitRequest(method=UnitMethod.ATMAN, granularity=Granularity.SENTENCE)
QUERIES = [
    Query(text=CLEAN, controls=CONTROLS),
    Query(text=CLEAN, fusion=Fusion(method="rrf", k=10, weights=(1, 2))),
    Query(text=CLEAN, fusion=Fusion(method="convex", alpha=0.3), filter=parse_filter({"kind": {"in": ["being"]}})),
    Query(text=CLEAN, controls=CONTROLS, options=ControlOptions(target=ControlTarget.POOL, contextual_threshold=0.7)),
    Query(text=CLEAN, units=UNITS),
    Query(text=CLEAN, conditions=WordConditions(must=("forest",), must_not=("radio",))),
    Query(text=CLEAN, inputs=Inputs(like=("cat",), unlike=("radio",))),
]


class Place(tuple[Database, Views, Searcher, Pipeline]):
    """A directory with one collection."""


@pytest.fixture
def place(tmp_path: Path, encoder: LocalEncoder) -> Iterator[Place]:
    database = Database.open(tmp_path)
    create_for(encoder, database, "t")
    pipeline = Pipeline(database, only(encoder), Analyzer())
    kinds = {"radio": "thing"}
    pipeline.add("t", [Document(id=k, text=v, metadata={"kind": kinds.get(k, "being")}) for k, v in TEXTS.items()])
    views = Views(database)
    yield Place((database, views, Searcher(views, only(encoder), Analyzer()), pipeline))
    database.close()


def saved(searcher: Searcher, query: Query, document: str = "wolf") -> dict[str, Any]:
    found = searcher.search("t", replace(query, explain=Explain.NONE, units=None, k=10)).hits
    [hit] = [hit for hit in found if hit.document_id == document]
    [explained] = searcher.explain("t", query, hit.id).hits
    assert explained.explanation is not None
    as_json: dict[str, Any] = ExplanationBody.of(explained.explanation).model_dump(mode="json")
    return as_json


@pytest.mark.parametrize("query", QUERIES)
def test_what_has_not_changed_agrees_to_the_last_bit(place: Place, query: Query) -> None:
    _, views, searcher, _ = place
    replayed = replay(searcher, views, saved(searcher, query))
    assert replayed.agrees
    assert replayed.difference == 0
    assert replayed.changed == ()
    assert replayed.score == replayed.score_now


def test_a_vector_is_recorded_too(place: Place, encoder: LocalEncoder) -> None:
    _, views, searcher, _ = place
    vector = encoder.encode([Prompt.of("wolf")], Representation.QUERY).vectors[0]
    replayed = replay(searcher, views, saved(searcher, Query(inputs=Inputs(vector=vector))))
    assert replayed.agrees


def test_another_process_agrees_too(place: Place, encoder: LocalEncoder) -> None:
    database, _, searcher, _ = place
    kept = saved(searcher, QUERIES[0])
    views = Views(database)
    assert replay(Searcher(views, only(encoder), Analyzer()), views, kept).agrees


def test_every_number_counts(place: Place) -> None:
    _, views, searcher, _ = place
    kept = saved(searcher, QUERIES[4])
    for path in (
        ("ledger", "details", 0, "value"),
        ("ledger", "details", 0, "details", 0, "details", 0, "value"),
        ("words", 2, "effect"),
        ("sentences", 1, "share"),
        ("query_words", 0, "dense"),
        ("units", 1, "effect"),
    ):
        broken = json.loads(json.dumps(kept))
        inner = broken
        for step in path[:-1]:
            inner = inner[step]  # type: ignore[index]
        inner[path[-1]] += 1e-4  # type: ignore[index]
        replayed = replay(searcher, views, broken)
        assert not replayed.agrees
        assert replayed.difference == pytest.approx(1e-4, rel=1e-3)


def contrasted(searcher: Searcher, query: Query) -> tuple[Hit, Hit, dict[str, Any]]:
    """The two best hits, and the explanation of the first held against the second, as it is kept."""
    upper, lower = searcher.search("t", replace(query, k=2)).hits
    explanation = explain_hit(searcher, "t", query, upper.id, above=lower.id).hits[0].explanation
    assert explanation is not None
    return upper, lower, ExplanationBody.of(explanation).model_dump(mode="json")


def test_a_contrast_is_computed_again(place: Place) -> None:
    _, views, searcher, _ = place
    *_, kept = contrasted(searcher, Query(text="wolf in the forest"))
    assert replay(searcher, views, kept).agrees
    kept["contrast"]["ledger"]["details"][0]["value"] += 1
    assert not replay(searcher, views, kept).agrees


def test_a_hit_is_not_gone_where_the_one_that_it_was_held_against_is(place: Place) -> None:
    database, views, searcher, _ = place
    query = Query(text="wolf in the forest")
    upper, lower, kept = contrasted(searcher, query)
    delete(database, "t", [lower.document_id])
    replayed = replay(searcher, views, kept)
    assert replayed.changed == (Changed.COLLECTION,)
    assert replayed.score_now == searcher.explain("t", query, upper.id).hits[0].score
    assert (replayed.agrees, replayed.difference) == (False, None)


@pytest.mark.parametrize("by_hit", [False, True])
def test_an_example_that_is_gone_is_a_change_of_the_collection(place: Place, by_hit: bool) -> None:
    database, views, searcher, _ = place
    [cat] = [hit for hit in searcher.search("t", Query(text="cat")).hits if hit.document_id == "cat"]
    kept = saved(searcher, Query(text="wolf", inputs=Inputs(like=(cat.id if by_hit else "cat",))))
    delete(database, "t", ["cat"])
    replayed = replay(searcher, views, kept)
    assert (replayed.changed, replayed.score_now) == ((Changed.COLLECTION,), None)
    assert (replayed.agrees, replayed.difference) == (False, None)


def test_a_contrast_with_no_hit_is_refused(place: Place) -> None:
    _, views, searcher, _ = place
    broken: list[dict[str, Any]] = [{"other": "x", "ledger": {}}, {"other": None, "ledger": {}}, {"other": 1}]
    for contrast in broken:
        with pytest.raises(InvalidInput):
            replay(searcher, views, saved(searcher, QUERIES[0]) | {"contrast": contrast})


def test_a_replaced_document_is_named(place: Place) -> None:
    _, views, searcher, pipeline = place
    kept = saved(searcher, QUERIES[0])
    pipeline.add("t", [Document(id="wolf", text="The wolf is gone.")])
    replayed = replay(searcher, views, kept)
    assert not replayed.agrees
    assert replayed.changed == (Changed.DOCUMENT,)
    assert replayed.score_now is None


def test_other_documents_are_named(place: Place) -> None:
    _, views, searcher, pipeline = place
    kept = saved(searcher, QUERIES[0])
    pipeline.add("t", [Document(id="more", text="Another wolf in another forest.")])
    replayed = replay(searcher, views, kept)
    assert not replayed.agrees
    assert replayed.changed == (Changed.COLLECTION,)
    assert replayed.score_now != replayed.score


def test_another_model_and_another_generation_are_named(place: Place) -> None:
    _, views, searcher, _ = place
    kept = saved(searcher, QUERIES[0])
    other = json.loads(json.dumps(kept))
    other["provenance"] |= {"fingerprint": "0" * 32, "generation": 99}
    assert replay(searcher, views, other).changed == (Changed.MODEL, Changed.GENERATION)


def test_a_document_is_not_said_to_be_replaced_where_only_the_generation_is_another(
    place: Place, encoder: LocalEncoder
) -> None:
    database, views, searcher, pipeline = place
    kept = saved(searcher, QUERIES[0])
    create_for(encoder, database, "anew")
    pipeline.add("anew", [Document(id=k, text=v) for k, v in TEXTS.items()])
    kept["provenance"]["collection"] = "anew"
    replayed = replay(searcher, views, kept)
    assert (replayed.changed, replayed.score_now) == ((Changed.GENERATION,), None)


def test_a_server_with_another_model_says_so(place: Place, encoder: LocalEncoder) -> None:
    _, views, searcher, _ = place
    kept = saved(searcher, QUERIES[0])

    class Other:
        name = "other"
        fingerprint = "1" * 32
        encode = encoder.encode

    stranger = Searcher(views, only(Other()), Analyzer())  # type: ignore[arg-type]
    assert replay(stranger, views, kept).changed == (Changed.MODEL,)


@pytest.mark.parametrize(
    "change",
    [
        {"provenance": {}},
        {"provenance": None},
        {"ledger": []},
        {"ledger": {"value": 1, "details": [3, 3]}},
        {"words": [3]},
        {"words": 7},
    ],
)
def test_what_is_no_explanation_is_refused(place: Place, change: dict[str, Any]) -> None:
    _, views, searcher, _ = place
    with pytest.raises(InvalidInput):
        replay(searcher, views, saved(searcher, QUERIES[0]) | change)


@pytest.mark.parametrize("name", ["id", "score", "seq", "legs", "fusion", "controls", "query", "conditions"])
def test_a_record_that_lacks_a_part_is_refused(place: Place, name: str) -> None:
    _, views, searcher, _ = place
    kept = saved(searcher, QUERIES[0])
    for broken in ({k: v for k, v in kept["provenance"].items() if k != name}, kept["provenance"] | {name: {"a": []}}):
        with pytest.raises(InvalidInput):
            replay(searcher, views, kept | {"provenance": broken})


NONE = {"vector": None, "sparse_vector": None, "like": [], "unlike": [], "prompt": False}
CONTROL = {"start": 0, "length": 4, "factor": 2, "token_overlap": "partial"}


@pytest.mark.parametrize(
    "broken",
    [
        {"controls": [CONTROL | {"start": math.inf}]},
        {"controls": [CONTROL | {"factor": math.nan}]},
        {"fusion": "rrf", "fusion_parameters": {"k": 10**400, "weights": [1, 1]}},
        {"fusion": "rrf", "fusion_parameters": {"k": 60, "weights": [10**400, 1]}},
        {"fusion": "rrf", "fusion_parameters": {"k": 60, "weights": [1, 1, 1]}},
        {"rerank": {"model": "m", "depth": math.inf, "weight": 1}},
        {"rerank": {"model": "m", "depth": 10, "weight": 1}, "min_scores": {"dense": math.inf}},
        {"inputs": NONE | {"vector": [10**400] * 384}},
        {"inputs": NONE | {"sparse_vector": [[math.inf, 1.0]]}},
        {"inputs": NONE | {"like": [1.5]}},
        {"inputs": NONE | {"like": [True]}},
        {"inputs": NONE | {"unlike": [2**63]}},
        {"inputs": NONE | {"unlike": [None]}},
        {"id": math.inf},
        {"seq": math.inf},
        {"generation": math.inf},
        {"score": math.inf},
        {"score": "nan"},
        {"score": 10**400},
    ],
)
def test_a_record_with_numbers_beyond_all_bounds_is_refused(place: Place, broken: dict[str, Any]) -> None:
    _, views, searcher, _ = place
    kept = saved(searcher, QUERIES[0])
    with pytest.raises(InvalidInput, match=r"record|broken"):
        replay(searcher, views, kept | {"provenance": kept["provenance"] | broken})


def test_numbers_that_are_none_never_agree(place: Place) -> None:
    _, views, searcher, _ = place
    kept = saved(searcher, QUERIES[0])
    for said in (math.nan, math.inf, -math.inf):
        for change in ({"ledger": kept["ledger"] | {"value": said}}, {"words": [kept["words"][0] | {"effect": said}]}):
            replayed = replay(searcher, views, kept | change)
            assert (replayed.agrees, replayed.difference) == (False, None)
    with pytest.raises(InvalidInput, match="not one that Salience wrote"):
        replay(searcher, views, kept | {"ledger": kept["ledger"] | {"value": 10**400}})
    with pytest.raises(InvalidInput, match="broken"):
        replay(searcher, views, kept | {"contrast": {"other": math.inf, "ledger": kept["ledger"]}})


def test_ids_beyond_all_bounds_are_gone(place: Place) -> None:
    _, views, searcher, _ = place
    kept = saved(searcher, QUERIES[0])
    for id_ in (-1, 0, 2**70):
        kept["provenance"]["id"] = id_
        assert replay(searcher, views, kept).changed == (Changed.DOCUMENT,)


def test_a_collection_that_is_gone_is_not_found(place: Place) -> None:
    _, views, searcher, _ = place
    kept = saved(searcher, QUERIES[0])
    kept["provenance"]["collection"] = "elsewhere"
    with pytest.raises(CollectionNotFound):
        replay(searcher, views, kept)


def test_explanations_are_found_wherever_they_are(place: Place) -> None:
    _, _, searcher, _ = place
    kept = saved(searcher, QUERIES[0])
    assert list(explanations_in(kept)) == [kept]
    assert list(explanations_in({"hits": [{"explanation": kept}, {"explanation": None}], "query": "x"})) == [kept]
    assert list(explanations_in([1, "a", None])) == []


def test_every_part_of_a_query_is_recorded_or_changes_no_score(place: Place) -> None:
    """Whoever adds a field to Query decides here which of the two it is."""
    recorded = {"text", "controls", "options", "legs", "fusion", "filter", "explain", "units", "inputs", "conditions"}
    recorded |= {"rerank"}
    only_pages = (_FREE | {"selection", "extras"}) - {"explain", "units"}
    of_the_key = {"within"}  # who replays brings it: a record would tell what is kept from whom
    assert {field.name for field in fields(Query)} == recorded | only_pages | of_the_key
    _, _, searcher, _ = place
    for query in QUERIES:
        back = recorded_query(saved(searcher, query)["provenance"])
        assert back.selection == query.selection  # thresholds, where a reranker goes by them: the rest is of the page
        for name in recorded - {"explain", "fusion", "legs"}:
            assert getattr(back, name) == getattr(query, name)
