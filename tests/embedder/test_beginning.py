"""A long text is tokenized no further than a model reads, and what it reads is the same."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidInput
from core.prompts import Prompt, TextControl, TextItem
from core.records import Representation
from embedder.beginning import beginning
from embedder.local import LocalEncoder
from tests.embedder.counted import CountedTokenizer

LONG = 8_000_000  # characters
WORDS = ("console", "a", "电视", "naïve", "😀", "e\u0301", "1984,", "\u200b", "x" * 90, "don't")


def words(text: str) -> int:
    return len(text.split())


def test_a_short_text_is_read_whole() -> None:
    assert beginning("a b c", 1, words) == "a b c"


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6), st.sampled_from([" ", "\n", "", " , "]))
@settings(max_examples=25, deadline=None)
def test_what_is_read_is_what_the_whole_text_begins_with(encoder: LocalEncoder, parts: list[str], gap: str) -> None:
    text = gap.join(parts * 3_000)[:60_000]
    [read] = encoder.tokenizer.tokenize([Prompt.of(text)])
    whole = encoder.tokenizer.ids(text)
    room = encoder.tokenizer.max_tokens - encoder.tokenizer.special_tokens
    assert read.ids.tolist()[1:-1] == whole[:room]
    assert read.truncated == (len(whole) > room)
    several = Prompt(items=(TextItem(text=text), TextItem(text="the end")))
    [joined] = encoder.tokenizer.tokenize([several])
    assert joined.ids.tolist()[1:-1] == (whole + encoder.tokenizer.ids("the end"))[:room]


def test_little_of_a_long_text_is_tokenized(encoder: LocalEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    count: list[int] = []
    for name in ("_whole", "_cut"):
        counted = CountedTokenizer(getattr(encoder.tokenizer, name), count)
        monkeypatch.setattr(encoder.tokenizer, name, counted)
    control = TextControl(start=0, length=LONG, factor=2.0)
    for prompt in (Prompt.of("word " * (LONG // 5)), Prompt.of("word " * (LONG // 5), (control,))):
        count.clear()
        found = encoder.encode([prompt], Representation.DOCUMENT)
        assert encoder.max_tokens < sum(count) < LONG / 100
        assert found.truncated.all()
        assert found.token_counts.tolist() == [encoder.max_tokens]


@pytest.mark.parametrize("text", [" " * LONG + "word", "x" * LONG])
def test_a_text_of_hardly_any_token_is_refused(encoder: LocalEncoder, text: str) -> None:
    prompts = [Prompt.of("a word"), Prompt.of(text)]
    with pytest.raises(InvalidInput, match="white space, or one word without end") as refused:
        encoder.encode(prompts, Representation.QUERY)
    assert refused.value.index == 1


def test_the_first_ids(encoder: LocalEncoder) -> None:
    text = "a console plays games " * 5_000
    found = encoder.tokenizer.first_ids(text, 50)
    assert 50 <= len(found) < 10_000
    assert found == encoder.tokenizer.ids(text)[: len(found)]
