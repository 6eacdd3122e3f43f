"""Tokens by estimate and by file, the cut at the model's limit, and batches."""

from __future__ import annotations

import gzip
import json
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from core.errors import ModelError
from core.prompts import ImageItem, Prompt, TextControl, TextItem, TokenControl, TokenIdsItem
from embedder.remote.tokens import EstimatedTokens, batches, fitted, load_counter
from tests.embedder.remote.conftest import TOKENIZER, config

DATA = Path(__file__).resolve().parents[3] / "../shared/data"
ESTIMATE = EstimatedTokens()


def pieces(text: str) -> list[str]:
    return [text[start:end] for start, end in ESTIMATE.spans(text)]


def test_an_estimate_by_hand() -> None:
    assert pieces("Steering NASA's 747") == ["Ste", "eri", "ng", "NA", "SA", "'", "s", "7", "4", "7"]
    assert pieces("语义 搜索") == ["语", "义", "搜", "索"]
    assert pieces("wait…") == ["wai", "t", "…", "…", "…"]
    assert pieces("ü😀") == ["ü", "😀", "😀"]
    assert pieces(" \n") == []


@given(st.text(max_size=200))
def test_spans_cover_the_text_in_order(text: str) -> None:
    spans = ESTIMATE.spans(text)
    assert spans.shape == (len(spans), 2)
    assert spans.dtype == np.int64
    assert (np.diff(spans[:, 0]) >= 0).all()
    assert (np.diff(spans[:, 1]) >= 0).all()
    covered = {place for start, end in spans for place in range(start, end)}
    assert covered == {place for place, character in enumerate(text) if not character.isspace()}


@pytest.mark.parametrize("collection", ["scifact", "icecat-products-dev", "cmrc2018-zh"])
def test_real_texts_have_no_more_tokens_than_estimated(collection: str) -> None:
    file = DATA / collection / "corpus.jsonl.gz"
    if not file.exists():
        pytest.skip(f"{file} is missing")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"][:1500] for _, line in zip(range(400), lines, strict=False)]
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    real = np.array([len(encoding.ids) for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)])
    estimated = np.array([len(ESTIMATE.spans(text)) for text in texts])
    assert (real <= 1.03 * estimated).all()
    assert real.sum() >= 0.5 * estimated.sum()  # on the safe side, and not absurdly so


def test_a_tokenizer_file_counts_as_the_model_does() -> None:
    counter = load_counter(config("http://h", tokenizer=TOKENIZER))
    text = "Unbelievable tokenization of 747s"
    oracle = Tokenizer.from_file(str(TOKENIZER))
    oracle.no_padding()
    assert counter.spans(text).tolist() == [list(o) for o in oracle.encode(text, add_special_tokens=False).offsets]
    assert counter.special_tokens == 2


@pytest.mark.parametrize("content", [None, b"{}", b"\xff"])
def test_a_file_that_is_no_tokenizer(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "tokenizer.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        load_counter(config("http://h", tokenizer=file))


def test_a_long_text_is_cut_with_its_controls() -> None:
    controls = tuple(TextControl(start=start, length=length, factor=2) for start, length in [(0, 3), (4, 9), (8, 3)])
    prompt, tokens, cut = fitted(Prompt.of("one two six ten", controls), 2, ESTIMATE)
    assert prompt == Prompt.of("one two", controls[:2])
    assert (tokens, cut) == (2, True)


def test_items_share_the_budget() -> None:
    prompt = Prompt(
        items=(
            TextItem(text="one two"),
            ImageItem(data=b"i"),
            TokenIdsItem(ids=(7, 8, 9), controls=(TokenControl(index=0, factor=2), TokenControl(index=2, factor=2))),
            TextItem(text="six"),
        )
    )
    assert fitted(prompt, 6, ESTIMATE) == (prompt, 6, False)
    shorter, tokens, cut = fitted(prompt, 4, ESTIMATE)
    ids = TokenIdsItem(ids=(7, 8), controls=(TokenControl(index=0, factor=2),))
    assert shorter.items == (*prompt.items[:2], ids)
    assert (tokens, cut) == (4, True)


@given(text=st.text(max_size=60), budget=st.integers(1, 30))
def test_a_cut_text_fits(text: str, budget: int) -> None:
    prompt, tokens, cut = fitted(Prompt.of(text), budget, ESTIMATE)
    item = prompt.items[0]
    assert isinstance(item, TextItem)
    assert text.startswith(item.text)
    assert cut == (len(ESTIMATE.spans(text)) > budget)
    assert tokens == min(len(ESTIMATE.spans(text)), budget)


@given(
    sizes=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=40),
    items=st.integers(1, 6),
    tokens=st.integers(1, 60),
    bytes_each=st.integers(1, 60),
)
def test_batches_hold_all_in_order_within_the_limits(
    sizes: list[tuple[int, int]], items: int, tokens: int, bytes_each: int
) -> None:
    counts, weights = [size[0] for size in sizes], [size[1] for size in sizes]
    made = batches(counts, weights, items=items, tokens_each=tokens, bytes_each=bytes_each)
    assert [place for part in made for place in part] == list(range(len(sizes)))
    for part, following in zip_longest(made, made[1:], fillvalue=range(0)):
        assert 1 <= len(part) <= items
        if len(part) > 1:
            assert sum(counts[i] for i in part) <= tokens
            assert sum(weights[i] for i in part) <= bytes_each
        if following:  # no batch ends early
            more = [*part, following[0]]
            full = len(more) > items or sum(counts[i] for i in more) > tokens
            assert full or sum(weights[i] for i in more) > bytes_each
