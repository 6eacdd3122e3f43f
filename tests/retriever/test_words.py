"""What words of a passage did for its BM25 score, where those of a title count otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from core.passages import passage_prompt, text_offset
from embedder.lexical import Analyzer
from retriever.terms import query_terms
from retriever.words import passage_words, sparse_words

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
