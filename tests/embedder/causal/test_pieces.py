"""The texts of tokens where they stand, for tokenizers that write white space in different ways."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from embedder.causal.model import CausalModel
from embedder.causal.pieces import TokenTexts
from embedder.tokens import TextTokenizer

WORDS = ["<unk>", "▁a", "▁red", "▁house", "s", ".", "▁"]


@pytest.fixture(scope="module")
def marked() -> TokenTexts:
    """A tokenizer that marks the white space before words, and drops it at the start of a text."""
    tokenizer = Tokenizer(models.Unigram([(word, -1.0) for word in WORDS], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return TokenTexts(TextTokenizer(tokenizer.to_str(), max_tokens=100), 7)


def test_a_word_behind_a_text_keeps_its_space(marked: TokenTexts) -> None:
    assert marked.after([], [2, 3]) == "red house"
    assert marked.after([1], [2, 3, 4, 5]) == " red houses."
    assert marked.after([1, 2], []) == ""
    assert [marked.label(id) for id in (2, 4, 5)] == [" red", "s", "."]


def test_the_known_ids_are_those_with_a_logit() -> None:
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "b": 5}, unk_token="<unk>"))
    assert TokenTexts(TextTokenizer(tokenizer.to_str(), max_tokens=9), 5).known_ids.tolist() == [0, 1]


def test_parts_of_a_character_and_special_tokens_go_by_their_names(model: CausalModel) -> None:
    ids = model.tokenizer.ids("é")
    if len(ids) > 1:
        assert [model.texts.label(id) for id in ids] == ["Ã", "©"]
    assert model.texts.label(0) == "<end>"
    labels = [model.texts.label(int(id)) for id in model.texts.known_ids]
    assert len(set(labels)) == len(labels)


@settings(deadline=None, max_examples=60)
@given(context=st.text(max_size=12), text=st.text(max_size=12))
def test_what_follows_a_whole_character_is_the_text_itself(model: CausalModel, context: str, text: str) -> None:
    ids = model.tokenizer.ids(text)
    assert model.texts.after(model.tokenizer.ids(context), ids) == model.tokenizer.text(ids)
