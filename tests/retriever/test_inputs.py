"""What can be searched by in place of a text, against the text that it stands for."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidInput, InvalidQuery, ModelMismatch
from core.prompts import ImageItem, Prompt, TextControl, TextItem, TokenIdsItem
from core.reasons import Explanation
from core.records import Float32Array, Representation
from embedder.densemodels import only
from embedder.lexical import Analyzer
from embedder.local import LocalEncoder
from retriever.inputs import MAX_EXAMPLES, Inputs, dense_input, sparse_input, text_of, without_images
from retriever.legs import Leg
from retriever.query import Explain, Query
from retriever.searcher import Searcher
from store import Database, Views
from tests.retriever.conftest import explained

TEXT = "a gaming console for my TV"
DENSE, SPARSE = (Leg.DENSE,), (Leg.SPARSE,)


def vector_of(encoder: LocalEncoder, prompt: Prompt) -> Float32Array:
    [vector] = encoder.encode([prompt], Representation.QUERY).vectors
    made: Float32Array = vector
    return made


@pytest.mark.parametrize("length", [1.0, 1e-300, 1e300])
def test_a_vector_finds_what_its_text_finds_whatever_its_length(
    searcher: Searcher, encoder: LocalEncoder, length: float
) -> None:
    values = [float(value) * length for value in vector_of(encoder, Prompt.of(TEXT))]
    vector = dense_input(values)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    found = searcher.search("things", Query(inputs=Inputs(vector=vector), k=50))
    wanted = searcher.search("things", Query(text=TEXT, legs=DENSE, k=50))
    assert found.legs == DENSE
    assert [hit.id for hit in found.hits] == [hit.id for hit in wanted.hits]
    assert [hit.score for hit in found.hits] == pytest.approx([hit.score for hit in wanted.hits], abs=1e-6)


def test_beside_a_text_the_vector_is_the_dense_leg_s_and_the_words_are_the_sparse_one_s(
    searcher: Searcher, encoder: LocalEncoder
) -> None:
    vector = vector_of(encoder, Prompt.of("a story of war in the desert"))
    found = searcher.search("things", Query(text=TEXT, inputs=Inputs(vector=vector), k=100))
    assert found.legs == (Leg.DENSE, Leg.SPARSE)
    dense = searcher.search("things", Query(text="a story of war in the desert", legs=DENSE, k=500)).hits
    sparse = searcher.search("things", Query(text=TEXT, legs=SPARSE, k=500)).hits
    cosines, bm25 = {h.id: h.score for h in dense}, {h.id: h.score for h in sparse}
    for hit in found.hits:
        if hit.id in cosines:
            assert hit.scores["dense"].raw == pytest.approx(cosines[hit.id], abs=1e-6)
        if hit.id in bm25:
            assert hit.scores["sparse"].raw == pytest.approx(bm25[hit.id], abs=1e-9)


def test_a_vector_does_without_the_collection_s_model(database: Database, encoder: LocalEncoder) -> None:
    class Other:
        name = "other"
        fingerprint = "0" * 32

    vector = vector_of(encoder, Prompt.of(TEXT))
    other = Searcher(Views(database), only(Other()), Analyzer())  # type: ignore[arg-type]
    assert other.search("things", Query(inputs=Inputs(vector=vector))).hits[0].document_id == "console"
    with pytest.raises(ModelMismatch):
        other.search("things", Query(inputs=Inputs(vector=vector), explain=Explain.WORDS))


def test_a_prompt_of_several_texts_is_read_as_one_and_its_words_are_looked_for(
    searcher: Searcher, encoder: LocalEncoder
) -> None:
    play = TextControl(start=2, length=6, factor=7.0)
    prompt = Prompt(items=(TextItem(text="a gaming console", controls=(play,)), TextItem(text="for my TV")))
    text, controls = text_of(prompt)
    assert text == "a gaming console\nfor my TV"
    found = searcher.search("things", Query(text=text, controls=controls, inputs=Inputs(prompt=prompt), k=300))
    with_vector = Query(text=text, controls=controls, inputs=Inputs(vector=vector_of(encoder, prompt)), k=300)
    assert found.hits == searcher.search("things", with_vector).hits
    words = searcher.search("things", Query(text=TEXT, controls=(play,), legs=SPARSE, k=300)).hits
    assert {h.id: h.scores["sparse"].raw for h in found.hits if h.scores["sparse"].raw} == pytest.approx(
        {h.id: h.score for h in words}
    )


LEFT_OUT = (TextControl(start=0, length=4, factor=0.0),)


def test_what_is_given_beside_a_text_is_looked_for_where_each_word_of_that_is_left_out(
    searcher: Searcher, encoder: LocalEncoder
) -> None:
    """As if there were no text; a model would make something of its special tokens."""
    prompt = Prompt(items=(TextItem(text="play", controls=LEFT_OUT), TextItem(text="!")))
    vector = vector_of(encoder, Prompt.of("radio"))
    for inputs in (Inputs(like=("console",)), Inputs(like=("console",), prompt=prompt), Inputs(vector=vector)):
        text, controls = ("play", LEFT_OUT) if inputs.prompt is None else text_of(prompt)
        given = Query(text=text, controls=controls, inputs=inputs, legs=DENSE, k=20, explain=Explain.WORDS)
        alone = Query(inputs=replace(inputs, prompt=None), legs=DENSE, k=20)
        found = searcher.search("things", given).hits
        assert [(hit.id, hit.score) for hit in found] == [
            (hit.id, hit.score) for hit in searcher.search("things", alone).hits
        ]
        assert leaves(explained(found[0]).ledger) == pytest.approx(found[0].score, abs=1e-6)
        assert searcher.search("things", replace(given, legs=None)).hits
    image = Prompt(items=(TextItem(text="play", controls=LEFT_OUT), ImageItem(data=b"\x89PNG")))
    for inputs in (Inputs(prompt=image), Inputs(sparse_vector=sparse_input({7: 1.0}))):
        assert Query(text="play", controls=LEFT_OUT, inputs=inputs).inputs == inputs


def test_a_text_of_which_each_word_is_left_out_is_nothing_for_the_sparse_leg(
    searcher: Searcher, encoder: LocalEncoder
) -> None:
    beside = Query(text="play", controls=LEFT_OUT, inputs=Inputs(vector=vector_of(encoder, Prompt.of("radio"))))
    assert searcher.search("things", beside).legs == DENSE
    with pytest.raises(InvalidQuery, match="the sparse leg needs a text"):
        searcher.search("things", replace(beside, legs=SPARSE))


@pytest.mark.parametrize("factor", [0.0, -1.0])
def test_a_text_of_which_nothing_is_left_is_refused_alone_and_with_what_is_not_wanted(factor: float) -> None:
    control = TextControl(start=0, length=4, factor=factor)
    prompt = Prompt(items=(TextItem(text="play", controls=(control,)), TextItem(text="")))
    for inputs in (Inputs(), Inputs(unlike=("console",)), Inputs(prompt=prompt)):
        with pytest.raises(InvalidQuery, match="nothing is left to search for"):
            Query(text="play", controls=(control,), inputs=inputs)


def test_what_is_pushed_away_is_read_beside_an_example(searcher: Searcher) -> None:
    away = (TextControl(start=0, length=4, factor=-1.0),)
    liked = Query(inputs=Inputs(like=("console",)), legs=DENSE, k=5)
    found = searcher.search("things", replace(liked, text="play on my TV", controls=away)).hits
    assert [hit.score for hit in found] != [hit.score for hit in searcher.search("things", liked).hits]
    assert Query(text="play", controls=away, inputs=liked.inputs).prompt is not None


def test_controls_of_items_are_spans_of_the_joined_text() -> None:
    long = TextControl(start=3, length=100, factor=2.0)
    prompt = Prompt(items=(TextItem(text="one two", controls=(long,)), TextItem(text="six", controls=(long,)[:0])))
    text, [control] = text_of(prompt)
    assert text[control.start : control.end] == " two"


def test_token_ids_speak_to_the_model_alone(searcher: Searcher, encoder: LocalEncoder) -> None:
    prompt = Prompt(items=(TokenIdsItem(ids=tuple(encoder.tokenizer.ids(TEXT))),))
    found = searcher.search("things", Query(inputs=Inputs(prompt=prompt), k=20))
    wanted = searcher.search("things", Query(text=TEXT, legs=DENSE, k=20))
    assert found.legs == DENSE
    assert [h.id for h in found.hits] == [h.id for h in wanted.hits]
    with pytest.raises(InvalidInput, match="vocabulary"):
        searcher.search("things", Query(inputs=Inputs(prompt=Prompt(items=(TokenIdsItem(ids=(10**9,)),)))))


def test_an_image_on_a_text_model_is_refused(searcher: Searcher) -> None:
    prompt = Prompt(items=(ImageItem(data=b"\x89PNG"),))
    assert without_images(prompt) is None
    with pytest.raises(InvalidInput, match="image"):
        searcher.search("things", Query(inputs=Inputs(prompt=prompt)))


def leaves(line: Explanation) -> float:
    return math.fsum(map(leaves, line.details)) if line.details else line.value


def test_the_reasons_of_a_vector_s_hits_add_up(searcher: Searcher, encoder: LocalEncoder) -> None:
    """No word of the query is known, and the passages' words still are."""
    inputs = Inputs(vector=vector_of(encoder, Prompt.of(TEXT)))
    for query in (Query(inputs=inputs), Query(text=TEXT, inputs=inputs), Query(inputs=Inputs(like=("console",)))):
        for hit in searcher.search("things", replace(query, k=3, explain=Explain.WORDS)).hits:
            assert hit.explanation is not None
            assert leaves(hit.explanation.ledger) == pytest.approx(hit.score, abs=1e-6)
            assert any(word.share for word in hit.explanation.words)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.0] * 384, "nothing but zeros"),
        ([], "1 to 65536"),
        ([1.0, math.nan], r"vector\[1\] is nan"),
        ([math.inf, 1.0], r"vector\[0\] is inf"),
    ],
)
def test_vectors_without_a_direction_are_refused(values: list[float], message: str) -> None:
    with pytest.raises(InvalidQuery, match=message):
        dense_input(values)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query(inputs=Inputs(vector=dense_input([1.0, 2.0]))), "has 2 numbers.*384 dimensions"),
        (Query(inputs=Inputs(vector=dense_input([1.0] * 384)), legs=SPARSE), "sparse leg needs a text"),
        (Query(inputs=Inputs(sparse_vector=sparse_input({7: 1.0}))), "no learned weights"),
    ],
)
def test_an_input_that_no_leg_can_use_is_refused(searcher: Searcher, query: Query, message: str) -> None:
    with pytest.raises(InvalidQuery, match=message):
        searcher.search("things", query)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "no weight above 0"),
        ({3: 0.0}, "no weight above 0"),
        ({3: 1e-60}, "no weight above 0"),
        ({-1: 1.0}, "token id -1"),
        ({2**31: 1.0}, "token id"),
        ({1: -0.5}, "0 or more"),
        ({1: math.nan}, "finite"),
        ({1: 1e300}, "finite"),
    ],
)
def test_sparse_vectors_that_say_nothing_are_refused(weights: dict[int, float], message: str) -> None:
    with pytest.raises(InvalidQuery, match=message):
        sparse_input(weights)


def test_examples_are_counted_and_named_once() -> None:
    with pytest.raises(InvalidQuery, match="101 examples"):
        Inputs(like=tuple(map(str, range(MAX_EXAMPLES + 1))))
    with pytest.raises(InvalidQuery, match="twice"):
        Inputs(like=("a",), unlike=("a",))


def test_a_query_has_to_look_for_something() -> None:
    for inputs in (Inputs(), Inputs(unlike=("console",))):
        with pytest.raises(InvalidQuery, match="empty"):
            Query(inputs=inputs)


@given(st.dictionaries(st.integers(0, 2**31 - 1), st.floats(0, 1e6), max_size=30))
@settings(deadline=None)
def test_a_sparse_vector_keeps_every_weight_that_counts(weights: dict[int, float]) -> None:
    kept = {id_: np.float32(weight) for id_, weight in weights.items() if np.float32(weight) > 0}
    if not kept:
        with pytest.raises(InvalidQuery):
            sparse_input(weights)
        return
    vector = sparse_input(weights)
    assert vector.ids.tolist() == sorted(kept)
    assert dict(zip(vector.ids.tolist(), vector.weights, strict=True)) == kept
