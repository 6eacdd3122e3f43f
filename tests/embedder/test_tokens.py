"""Prompts to tokens: texts, token ids and both."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from core.errors import InvalidControl, InvalidInput
from core.prompts import ControlOptions, ImageItem, Prompt, TextControl, TextItem, TokenControl, TokenIdsItem
from core.records import Representation
from embedder.local import LocalEncoder
from embedder.tokens import NO_ITEM, TextTokenizer

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=60)


def embed(encoder: LocalEncoder, *items: TextItem | TokenIdsItem, **options: float) -> np.ndarray:
    found = encoder.encode([Prompt(items=items)], Representation.QUERY, options=ControlOptions(**options))
    return found.vectors[0]


def ids_item(encoder: LocalEncoder, text: str, *controls: TokenControl) -> TokenIdsItem:
    return TokenIdsItem(ids=tuple(encoder.tokenizer.ids(text)), controls=controls)


def test_a_text_its_token_ids_and_a_mixture_of_both_are_the_same_prompt(encoder: LocalEncoder) -> None:
    whole = embed(encoder, TextItem(text="I want to play on my TV"))
    as_ids = embed(encoder, ids_item(encoder, "I want to play on my TV"))
    mixed = embed(
        encoder, TextItem(text="I want"), ids_item(encoder, "to play"), TextItem(text="on my"), TextItem(text="TV")
    )
    np.testing.assert_allclose(as_ids, whole, atol=1e-6)
    np.testing.assert_allclose(mixed, whole, atol=1e-6)


def test_a_control_acts_on_its_own_item_whatever_its_kind(encoder: LocalEncoder) -> None:
    text = "I want to play on my TV"
    expected = embed(encoder, TextItem(text=text, controls=(TextControl(start=10, length=4, factor=5.0),)))
    by_index = embed(encoder, ids_item(encoder, text, TokenControl(index=3, factor=5.0)))
    second = TextItem(text="to play", controls=(TextControl(start=3, length=4, factor=5.0),))
    by_item = embed(encoder, TextItem(text="I want"), second, TextItem(text="on my TV"))
    np.testing.assert_allclose(by_index, expected, atol=1e-6)
    np.testing.assert_allclose(by_item, expected, atol=1e-6)
    assert np.abs(embed(encoder, TextItem(text=text)) - expected).max() > 0.01


def test_controls_on_one_token_multiply(encoder: LocalEncoder) -> None:
    twice = ids_item(encoder, "play tv", TokenControl(index=0, factor=2.0), TokenControl(index=0, factor=3.0))
    once = ids_item(encoder, "play tv", TokenControl(index=0, factor=6.0))
    np.testing.assert_allclose(embed(encoder, twice), embed(encoder, once), atol=1e-6)
    too_much = ids_item(encoder, "play tv", *[TokenControl(index=0, factor=100.0)] * 2)
    with pytest.raises(InvalidControl, match="multiply to 10000"):
        embed(encoder, too_much)


def test_contextual_controls_reach_equal_tokens_of_other_items(encoder: LocalEncoder) -> None:
    control = TextControl(start=0, length=4, factor=0.0)
    first = TextItem(text="play", controls=(control,))
    again = ids_item(encoder, "music play")
    spread = embed(encoder, first, again, contextual_threshold=0.99)
    index = again.ids.index(encoder.tokenizer.ids("play")[0])
    explicit = embed(encoder, first, TokenIdsItem(ids=again.ids, controls=(TokenControl(index=index, factor=0.0),)))
    np.testing.assert_allclose(spread, explicit, atol=1e-6)


def test_items_are_cut_as_one_text_and_the_closing_token_stays(encoder: LocalEncoder) -> None:
    long = ids_item(encoder, "word " * 300)
    tokens = encoder.tokenizer.tokenize([Prompt(items=(TextItem(text="a"), long))])[0]
    whole = encoder.tokenizer.tokenize([Prompt.of("a " + "word " * 300)])[0]
    assert tokens.truncated
    assert tokens.ids.tolist() == whole.ids.tolist()
    assert tokens.items.tolist() == [NO_ITEM, 0, *[1] * (encoder.max_tokens - 3), NO_ITEM]
    controlled = ids_item(encoder, "word " * 300, TokenControl(index=299, factor=0.0))  # behind the cut: no effect
    np.testing.assert_allclose(embed(encoder, controlled), embed(encoder, ids_item(encoder, "word " * 300)), atol=1e-6)


@pytest.mark.parametrize("id", [-1, 30522, 2**40])
def test_an_unknown_token_id_is_refused(encoder: LocalEncoder, id: int) -> None:
    with pytest.raises(InvalidInput, match=f"token id {id} is not in the model's vocabulary of 30522 tokens"):
        embed(encoder, TokenIdsItem(ids=(2003, id)))


def test_an_image_is_refused_by_a_text_model(encoder: LocalEncoder) -> None:
    with pytest.raises(InvalidInput, match="reads no images"):
        encoder.encode([Prompt(items=(ImageItem(data=b""),))], Representation.QUERY)


@settings(deadline=None, max_examples=50)
@given(TEXTS)
def test_the_shipped_definition_encodes_and_decodes_as_the_server_does(encoder: LocalEncoder, text: str) -> None:
    shipped = Tokenizer.from_str(encoder.tokenizer.definition())
    ids = encoder.tokenizer.ids(text)
    assert shipped.encode(text).ids == ids
    assert shipped.encode(text).tokens == encoder.tokenizer.tokens(ids)
    assert shipped.decode(ids) == encoder.tokenizer.text(ids)


@settings(deadline=None, max_examples=50)
@given(TEXTS)
def test_the_tokenizer_that_cuts_is_the_one_that_does_not(encoder: LocalEncoder, text: str) -> None:
    """They share a vocabulary, and nothing else: the one's limit is not the other's."""
    long = f"[CLS] {text} [MASK]x[SEP]" * 200
    whole, [cut] = encoder.tokenizer.ids(long), encoder.tokenizer.tokenize([Prompt.of(long)])
    assert len(whole) > encoder.max_tokens == len(cut)
    assert cut.ids[1:-1].tolist() == whole[: encoder.max_tokens - 2]


def test_words_that_were_added_to_the_vocabulary_are_known_to_both(encoder: LocalEncoder) -> None:
    plain = Tokenizer.from_str(encoder.tokenizer.definition())
    plain.add_tokens(["zzyzxq"])
    plain.add_special_tokens(["<<here>>"])
    both = TextTokenizer(plain.to_str(), max_tokens=16)
    ids = both.ids("a zzyzxq <<here>>")
    assert both.tokens(ids) == ["a", "zzyzxq", "<<here>>"]
    assert both.tokenize([Prompt.of("a zzyzxq <<here>>")])[0].ids.tolist() == ids


def _spaced(kind: str) -> TextTokenizer:
    """A tokenizer as SentencePiece makes them ("▁the"), or a byte-level one ("Ġthe"), special tokens around."""
    words = ["query", ":", "the", "wolf", "a", "f"]
    if kind == "sentencepiece":
        pieces = ["<s>", "</s>", "<unk>", "▁", "如", *words, *(f"▁{word}" for word in words)]
        tokenizer = Tokenizer(models.Unigram([(piece, -float(i)) for i, piece in enumerate(pieces)], unk_id=2))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        ends = ("<s>", "</s>")
    else:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        names = ["<s>", "</s>", *alphabet, "Ġt", "th", "Ġa"]
        vocabulary = {name: i for i, name in enumerate(names)}
        tokenizer = Tokenizer(models.BPE(vocabulary, [("Ġ", "t"), ("t", "h"), ("Ġ", "a")]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        ends = ("<s>", "</s>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{ends[0]} $A {ends[1]}", special_tokens=[(end, tokenizer.token_to_id(end)) for end in ends]
    )
    return TextTokenizer(tokenizer.to_str(), max_tokens=40)


@pytest.mark.parametrize("text", ["the", "the wolf", "wolf: the", "如 wolf", "the  wolf ", "a"])
def test_token_ids_stand_behind_a_prefix_as_their_text_does(text: str) -> None:
    """The prefix's last space is the text's first one, and not a token of its own before it."""
    tokenizer = _spaced("sentencepiece")
    ids = TokenIdsItem(ids=tuple(tokenizer.ids(text)))
    as_text, as_ids = tokenizer.tokenize([Prompt.of(text), Prompt(items=(ids,))], "query: ")
    assert as_ids.ids.tolist() == as_text.ids.tolist()
    assert len(as_text) == tokenizer.special_tokens + tokenizer.prefix_tokens("query: ") + len(ids.ids)


@pytest.mark.parametrize("kind", ["sentencepiece", "byte-level"])
@given(text=st.text("thewolf: 如\n", min_size=1, max_size=12).filter(lambda text: not text[0].isspace()))
def test_a_prefix_costs_no_more_than_is_said(kind: str, text: str) -> None:
    tokenizer = _spaced(kind)
    [whole] = tokenizer.tokenize([Prompt.of(text)], "query: ")
    assert len(whole) <= tokenizer.special_tokens + tokenizer.prefix_tokens("query: ") + len(tokenizer.ids(text))
