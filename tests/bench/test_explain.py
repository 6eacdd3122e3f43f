"""The measures of explanations tell good ones from bad ones."""

from __future__ import annotations

import numpy as np
import pytest

from bench.explain.cost import UNITS, _in_units
from bench.explain.faithfulness import BINS, _figures, _occlusion, _without
from core.prompts import Prompt
from core.records import Representation
from embedder.lexical.words import units
from embedder.local import LocalEncoder

PASSAGE = (
    "The harbour was quiet all morning. A gray wolf had come down from the hills during the night, and the fishermen "
    "spoke of nothing else. The ferry left at noon with a cargo of apples, paper and two bicycles."
)


def test_words_leave_with_their_own_letters_alone() -> None:
    words = list(units("one two three"))
    assert _without("one two three", [words[2], words[0]]) == " two "


def test_naming_what_matters_is_told_from_naming_what_does_not(encoder: LocalEncoder) -> None:
    vector = encoder.encode([Prompt.of("wolves in winter")], Representation.QUERY).vectors[0].astype(np.float64)
    words = list(units(PASSAGE))
    scores = np.array(_occlusion(encoder, PASSAGE, words, vector))
    good = _figures(encoder, vector, PASSAGE, words, np.argsort(-scores).tolist())
    bad = _figures(encoder, vector, PASSAGE, words, np.argsort(scores).tolist())
    assert good[0] > 0.3 > bad[0]  # comprehensiveness
    assert good[1] < bad[1]  # sufficiency
    assert good[2] < bad[2]  # deletion
    lost = _lost(encoder, vector, scores)
    assert good[0] == pytest.approx(np.mean([lost[share] for share in BINS]), abs=1e-4)
    assert good[3:] == pytest.approx(list(lost.values()), abs=1e-4)


def _lost(encoder: LocalEncoder, vector: np.ndarray, scores: np.ndarray) -> dict[int, float]:
    """By per cent of the words, step by step, one text at a time."""
    words = list(units(PASSAGE))
    drops = {}
    whole = float(encoder.encode([Prompt.of(PASSAGE)], Representation.DOCUMENT).vectors[0] @ vector)
    for share, count in {1: 1, 5: 2, 10: 4, 20: 8, 30: 12, 40: 16, 50: 20}.items():  # of 39 words, rounded up
        gone = {int(i) for i in np.argsort(-scores)[:count]}
        text = PASSAGE
        for i in sorted(gone, reverse=True):
            text = text[: words[i].start] + text[words[i].end :]
        left = float(encoder.encode([Prompt.of(text)], Representation.DOCUMENT).vectors[0] @ vector)
        drops[share] = (whole - left) / whole
    assert len(words) == 39
    return drops


def test_a_text_is_cut_into_as_many_parts_as_are_timed() -> None:
    assert len(_in_units(" ".join(f"w{i}" for i in range(100))).text.split("\n\n")) == UNITS
