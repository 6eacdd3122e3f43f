"""What words of a passage did: for its BM25 score, and by the tokens that they share."""

from __future__ import annotations

import numpy as np
import pytest

from core.passages import passage_prompt, text_offset
from core.records import SparseTrace, TermPooling, TokenTrace
from embedder.lexical import Analyzer
from embedder.lexical.words import units
from retriever.legs import Leg
from retriever.terms import query_terms
from retriever.words import dense_query, dense_words, learned_words, passage_words, spans_of, sparse_words, tokens_of

ANALYZER = Analyzer()


@pytest.mark.parametrize(
    ("weight", "expected"),
    [(0, [0, 3, 3]), (1, [2, 2, 2]), (2, [3, 1.5, 1.5]), (10, [5, 0.5, 0.5])],
)
def test_a_term_is_shared_by_its_occurrences_as_they_count(weight: int, expected: list[float]) -> None:
    title, text = "wolf", "a wolf, another wolf"
    words = passage_words(passage_prompt(title, text), text_offset(title), "en", weight)

    shares = sparse_words(words, query_terms("wolf", [], ["en"], ANALYZER), np.array([6.0]), ANALYZER)

    named = [share for unit, share in zip(words.units, shares, strict=True) if unit.text == "wolf"]
    assert named == pytest.approx(expected)
    assert shares.sum() == pytest.approx(6)


SPECIAL = (0, 0)


def trace(*spans: tuple[int, int]) -> TokenTrace:
    random = np.random.default_rng(3)
    return TokenTrace(
        spans=np.array(spans),
        special=np.array([span == SPECIAL for span in spans]),
        vectors=random.normal(1, 1, size=(len(spans), 8)).astype(np.float32),
        weights=random.uniform(0.5, 2, size=len(spans)),
    )


def said(text: str, *spans: tuple[int, int]) -> list[list[tuple[int, float]]]:
    """By word of the text, its tokens and the fractions of them."""
    found = tokens_of(spans_of(tuple(units(text))), trace(*spans))
    return [list(zip(tokens.tolist(), fractions.tolist(), strict=True)) for tokens, fractions in found]


@pytest.mark.parametrize(
    ("text", "spans", "expected"),
    [
        ("playing tag", [SPECIAL, (0, 4), (4, 7), (7, 11), SPECIAL], [[(1, 1), (2, 1)], [(3, 1)]]),
        ("公司的新", [(0, 2), (2, 3), (3, 4)], [[(0, 0.5)], [(0, 0.5)], [(1, 1)], [(2, 1)]]),
        ("公司", [(0, 2), (0, 1), (1, 2), (1, 2)], [[(0, 0.5), (1, 1)], [(0, 0.5), (2, 1), (3, 1)]]),
        ("a \u200fkitchen \u200b\u00adradio", [(0, 1), (1, 10), (10, 18)], [[(0, 1)], [(1, 1)], [(2, 1)]]),
        ("\u3300!", [(0, 1), (1, 2), (1, 1)], [[(0, 0.25)]] * 4),
        ("end.Next, please", [(0, 8), (8, 9), (9, 16)], [[(0, 0.5)], [(0, 0.5)], [(2, 1)]]),
        ("", [SPECIAL], []),
    ],
    ids=["pieces", "two characters", "shared pieces", "invisible", "one for four", "across punctuation", "nothing"],
)
def test_a_token_is_divided_among_the_words_that_it_overlaps(
    text: str, spans: list[tuple[int, int]], expected: list[list[tuple[int, float]]]
) -> None:
    assert said(text, *spans) == expected


def test_characters_of_one_token_have_equal_shares_and_effects_of_a_cosine() -> None:
    text, tokens = "公司的新", trace(SPECIAL, (0, 2), (2, 4), SPECIAL)
    query = dense_query("x", trace(SPECIAL, (0, 1), SPECIAL))
    found = dense_words(passage_words(text, 0, "zh"), query, tokens)
    assert found.shares[0] == found.shares[1] != found.shares[2] == found.shares[3]
    assert found.effects[0] == found.effects[1] != found.effects[2] == found.effects[3]
    assert 0 not in found.shares
    assert found.shares.sum() + found.context == pytest.approx(found.cosine, abs=1e-12)
    halved = trace(SPECIAL, (0, 2), (2, 4), SPECIAL)  # the effect is that of a token that counts half in the pool
    halved.weights[1] /= 2
    assert found.effects[0] == pytest.approx(
        found.cosine - dense_words(passage_words(text, 0, "zh"), query, halved).cosine, abs=1e-12
    )


@pytest.mark.parametrize("pooling", TermPooling)
def test_characters_of_one_token_have_equal_shares_of_a_learned_weight(pooling: TermPooling) -> None:
    spans = np.array([(0, 2), (2, 3), (2, 4)])
    activations = np.array([[4.0], [3.0], [3.0]], dtype=np.float32)
    tokens = SparseTrace(spans=spans, special=np.zeros(3, dtype=bool), activations=activations, pooling=pooling)
    found = learned_words(Leg.LEARNED, "", passage_words("公司的新", 0, "zh"), None, tokens)
    if pooling is TermPooling.MAX:
        assert found.shares[:, 0].tolist() == [0.5, 0.5, 0, 0]
        assert found.losses[:, 0].tolist() == [0.25, 0.25, 0, 0]
    else:
        np.testing.assert_allclose(found.shares[:, 0], [0.2, 0.2, 0.45, 0.15], atol=1e-12)
        np.testing.assert_allclose(found.losses[:, 0], found.shares[:, 0], atol=1e-12)
    assert found.shares.sum() + found.context.sum() == pytest.approx(1)
