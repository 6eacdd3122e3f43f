"""The bench runs end to end on few texts, and its report has every figure."""

import math
from pathlib import Path

import pytest

from bench.embedding import cut, run, source_texts
from core.records import Representation
from embedder.local import LocalEncoder

RATIOS = {"passages", "passages_int8", "single_query", "single_query_int8", "controls", "concurrent_8"}


def test_every_figure_is_there_and_sound() -> None:
    report = run(source_texts(None), passages=6, rounds=1)
    assert set(report["ratios"]) == RATIOS
    assert all(math.isfinite(value) and value > 0 for value in report["ratios"].values())
    assert set(report["cosine"]) == {"fp32", "bf16", "int8"}
    assert report["cosine"]["fp32"]["min"] > 0.999999
    assert report["cosine"]["int8"]["mean"] > 0.995
    assert (report["cosine"]["bf16"] is None) == ("bf16" in report["unsupported"])
    assert report["machine"]["auto"] == ("fp32" if "bf16" in report["unsupported"] else "bf16")


def test_passages_have_the_lengths_that_were_asked_for(encoder: LocalEncoder, tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "' + "one two three " * 400 + '"}\n\n{"text": "too short"}\n', encoding="utf-8")
    passages = list(cut(encoder, source_texts(file), 30))
    lengths = [len(encoder.token_spans(text)) + encoder.overhead(Representation.DOCUMENT) for text in passages]
    assert 0 < len(passages) <= 30
    assert min(lengths) >= 20
    assert max(lengths) <= 256
    assert len(set(lengths)) > 1
    assert sum(lengths) == pytest.approx(1200 + 2 * len(lengths), abs=256)


def test_the_standard_library_is_long_enough_and_the_same_each_time(encoder: LocalEncoder) -> None:
    first, again = (list(cut(encoder, source_texts(None), 256)) for _ in range(2))
    assert len(first) == 256
    assert first == again
