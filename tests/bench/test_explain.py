"""The measures of explanations tell good ones from bad ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.settings import Settings
from app.wiring import Wiring
from bench.explain.cost import UNITS, _in_units
from bench.explain.faithfulness import BINS, _figures, _occlusion, _without
from bench.explain.sums import measure_sums
from core.prompts import Prompt
from core.records import CollectionSettings, Document, Representation
from embedder.lexical.words import units
from embedder.local import LocalEncoder
from indexer.drafting import Drafter

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


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Wiring]:
    """With a collection of documents whose titles have words of the queries."""
    with Wiring(Settings(data_dir=tmp_path)) as parts:
        parts.create_collection("bench", CollectionSettings())
        texts = {"wolves": "They hunt in packs when it is cold.", "ferries": "The wolves of the sea leave at noon."}
        parts.pipeline.add("bench", [Document(id=name, title=name, text=text) for name, text in texts.items()])
        yield parts


def test_a_score_without_nothing_is_the_score(parts: Wiring) -> None:
    found = measure_sums(parts, ["wolves in winter", "ferries of the sea"], 6)
    assert found["wrong"] == []
    assert found["largest_gap"] < 1e-12
    assert found["largest_regap"] < 1e-6
    assert found["deletions"] > 0
    assert found["lowered"] == 1


def test_a_deletion_that_weighs_otherwise_than_the_index_is_told(
    parts: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = Drafter.terms
    monkeypatch.setattr(  # each term counts once, however often a title says it
        Drafter, "terms", lambda *given: {sha: dict.fromkeys(found, 1) for sha, found in terms(*given).items()}
    )
    [line] = measure_sums(parts, ["wolves in winter"], 2)["wrong"]
    assert "with nothing deleted" in line
