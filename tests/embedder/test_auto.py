"""What a factor does under `auto`, and what a negative one does: formulas against slow ones, and what they are for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.steering.groups import load_group
from bench.steering.measure import auc
from core.errors import InvalidControl
from core.prompts import ControlOptions, ControlTarget, Prompt, TextControl
from core.records import Float32Array, Representation
from embedder.auto import ATTENTION_LIMIT, moved_attention, pushed_away
from embedder.loading import load_encoder
from embedder.local import LocalEncoder
from tests.embedder.tiny import save_tiny_model

FACTORS = st.lists(st.sampled_from([-2.0, 0.0, 0.1, 1.0, 1.5, 7.0, 20.0, 1000.0]), min_size=1, max_size=8)


def prompt(text: str, word: str, factor: float) -> Prompt:
    return Prompt.of(text, controls=(TextControl(start=text.index(word), length=len(word), factor=factor),))


def vector(encoder: LocalEncoder, asked: Prompt, target: ControlTarget = ControlTarget.AUTO) -> Float32Array:
    found: Float32Array = encoder.encode([asked], Representation.QUERY, options=ControlOptions(target=target)).vectors[
        0
    ]
    return found


@given(FACTORS, st.data())
def test_attention_is_moved_token_by_token(factors: list[float], data: st.DataObject) -> None:
    special = [data.draw(st.booleans()) for _ in factors]
    values = [1.0 if s else f for f, s in zip(factors, special, strict=True)]
    own = [f for f, s in zip(values, special, strict=True) if not s]
    mean = sum(max(f, 1) for f in own) / len(own) if own else 1

    found = moved_attention(np.array(values), np.array(special))

    expected = [1.0 if s else max(0.0, min(f / mean, ATTENTION_LIMIT)) for f, s in zip(values, special, strict=True)]
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0])
def test_suppression_moves_nothing(factor: float) -> None:
    factors = np.array([1.0, factor, 1.0, 1.0])
    assert (moved_attention(factors, np.array([True, False, False, True])) == factors).all()


@pytest.mark.parametrize("factor", [1.0, 2.0, 7.0, 1000.0])
def test_to_emphasise_everything_is_to_leave_the_attention_alone(factor: float) -> None:
    factors = np.array([1.0, factor, factor, 1.0])
    assert (moved_attention(factors, np.array([True, False, False, True])) == 1).all()


@given(st.integers(0, 2**32 - 1), st.lists(st.sampled_from([-3.0, -1.0, 0.0, 1.0, 4.0]), min_size=1, max_size=5))
def test_a_negative_weight_takes_away_what_a_token_adds_to_the_rest(seed: int, chosen: list[float]) -> None:
    rows = np.random.default_rng(seed).normal(size=(len(chosen) + 1, 6))
    weights = np.array([1.0, *chosen])

    vectors, shares = pushed_away(torch.from_numpy(rows), torch.from_numpy(weights), [len(weights)])

    rest = sum((w * row for w, row in zip(weights, rows, strict=True) if w > 0), np.zeros(6))
    expected = rest.copy()
    for weight, row in zip(weights, rows, strict=True):
        if weight < 0:
            expected += weight * (row - (row @ rest) / (rest @ rest) * rest)
    assert (shares.numpy() >= 0).all()
    assert (shares @ vectors).numpy() == pytest.approx(expected, abs=1e-9)
    assert expected @ rest == pytest.approx(rest @ rest, rel=1e-9)  # the rest's own direction stays


def test_texts_of_a_batch_are_pushed_each_by_itself(encoder: LocalEncoder) -> None:
    asked = [prompt("a red dress in cotton", "red", -1), Prompt.of("hello"), prompt("green shoes to hike", "green", -2)]
    together = encoder.encode(asked, Representation.QUERY).vectors
    for alone, found in zip((vector(encoder, one) for one in asked), together, strict=True):
        assert np.abs(alone - found).max() < 1e-6


@pytest.mark.parametrize("target", [ControlTarget.AUTO, ControlTarget.BOTH])
def test_the_rest_does_not_see_a_word_that_is_pushed_away(encoder: LocalEncoder, target: ControlTarget) -> None:
    """What is left of two queries without the words' own opposite is the same."""
    options = ControlOptions(target=target)
    texts = [prompt(f"I bought a {word} car", word, -1) for word in ("red", "big")]
    traces = encoder.trace(texts, Representation.QUERY, options=options)
    assert traces is not None
    for rows in zip(*(trace.vectors for trace in traces), strict=True):
        place = int(np.flatnonzero([np.array_equal(rows[0], row) for row in traces[0].vectors])[0])
        if place != 4:  # [CLS] I bought a red
            assert np.abs(rows[0] - rows[1]).max() < 1e-4


def test_the_trace_gives_the_vector_and_has_no_negative_weight(encoder: LocalEncoder) -> None:
    asked = prompt("a red dress in cotton", "red", -1.5)
    [trace] = encoder.trace([asked], Representation.QUERY) or []
    assert trace.weights.min() >= 0
    mean = trace.weights @ trace.vectors
    assert np.abs(mean / np.linalg.norm(mean) - vector(encoder, asked)).max() < 1e-6


@pytest.mark.parametrize("name", ["fashion", "titles", "questions"])
def test_negative_emphasis_sinks_an_aspect_below_what_the_query_does_not_ask_for(
    encoder: LocalEncoder, name: str
) -> None:
    """With 0 its documents are as far up as any; with -1 they are below, and the other aspect stays on top."""
    group = load_group(name)
    texts = list(group.documents.values())
    documents = encoder.encode([Prompt.of(text) for text in texts], Representation.DOCUMENT).vectors
    rows = {id: row for row, id in enumerate(group.documents)}
    against_neither: dict[float, list[float]] = {0.0: [], -1.0: []}
    kept: dict[float, list[float]] = {0.0: [], -1.0: []}
    for query in group.queries:
        words = [query.text[a.start : a.start + a.length].casefold().rstrip("s") for a in query.aspects]
        neither = [row for row, text in enumerate(texts) if not any(word in text.casefold() for word in words)]
        for i, aspect in enumerate(query.aspects):
            for factor in (0.0, -1.0):
                control = TextControl(start=aspect.start, length=aspect.length, factor=factor)
                scores = documents @ vector(encoder, Prompt.of(query.text, controls=(control,)))
                less = scores[[rows[id] for id in aspect.documents]]
                other = scores[[rows[id] for id in query.aspects[1 - i].documents]]
                against_neither[factor].append(auc(less, scores[neither]))
                kept[factor].append(auc(other, scores[neither]))
    assert 0.4 < np.mean(against_neither[0.0]) < 0.65
    assert np.mean(against_neither[-1.0]) < 0.4
    assert np.mean(kept[-1.0]) > np.mean(kept[0.0]) - 0.03


def test_the_vector_moves_further_the_further_below_zero_the_factor_is(encoder: LocalEncoder) -> None:
    word = vector(encoder, Prompt.of("red"))
    scores = [float(word @ vector(encoder, prompt("a red dress in cotton", "red", f))) for f in (1, 0, -1, -2, -10)]
    assert scores == sorted(scores, reverse=True)


def test_attention_alone_cannot_push_away(encoder: LocalEncoder) -> None:
    with pytest.raises(InvalidControl, match="below 0 needs a model"):
        vector(encoder, prompt("a red dress", "red", -1), ControlTarget.ATTENTION)


def test_a_model_that_is_no_mean_of_tokens_refuses_a_negative_factor(tmp_path: Path) -> None:
    encoder = load_encoder(str(save_tiny_model(tmp_path / "m", pooling="cls_token")), device="cpu")
    with pytest.raises(InvalidControl, match="the mean of its tokens"):
        vector(encoder, prompt("a red dress", "red", -1))
