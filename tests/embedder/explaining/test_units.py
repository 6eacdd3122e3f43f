"""Where the parts of a prompt begin and end."""

from collections.abc import Sequence

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidControl, InvalidInput
from core.prompts import ImageItem, Prompt, PromptItem, TextControl, TextItem, TokenControl, TokenIdsItem, TokenOverlap
from core.records import Int64Array
from embedder.explaining.objective import target_parts
from embedder.explaining.request import ExplanationRequest, Granularity
from embedder.explaining.units import SpanUnit, TileUnit, TokenUnit, Unit, prompt_units, suppressed

TEXTS = st.text(alphabet=st.sampled_from("ab.!? \n\t\r\u3000猫。犬、é"), max_size=60)


def five(text: str) -> Int64Array:
    """A tokenizer whose tokens are five characters long, white space and all."""
    starts = np.arange(0, len(text), 5)
    return np.stack([starts, np.minimum(starts + 5, len(text))], axis=1).astype(np.int64).reshape(-1, 2)


def cut(text: str, granularity: Granularity, delimiter: str | None = None) -> list[str]:
    request = ExplanationRequest(prompt=Prompt.of(text), target="t", granularity=granularity, delimiter=delimiter)
    units = prompt_units(request, five)[1]
    return [text[u.start : u.end] for u in units if isinstance(u, SpanUnit)]


def units(items: Sequence[PromptItem], granularity: Granularity | None) -> tuple[Granularity, list[Unit]]:
    request = ExplanationRequest(prompt=Prompt(items=tuple(items)), target="t", granularity=granularity)
    return prompt_units(request, five)


def test_words_leave_out_white_space_and_keep_punctuation() -> None:
    text = "  Don't stop,\tDr. Who!\n(Really?) "
    assert cut(text, Granularity.WORD) == ["Don't", "stop,", "Dr.", "Who!", "(Really?)"]


def test_chinese_and_japanese_characters_are_words() -> None:
    assert cut("我喜欢 Kaffee,猫。", Granularity.WORD) == ["我", "喜", "欢", "Kaffee,", "猫。"]


def test_sentences_know_abbreviations() -> None:
    text = "Dr. Smith met J. R. Tolkien at 5 p.m. in St. Louis. He left!\n\nThen what? Nothing"
    assert cut(text, Granularity.SENTENCE) == [
        "Dr. Smith met J. R. Tolkien at 5 p.m. in St. Louis.",
        "He left!",
        "Then what?",
        "Nothing",
    ]
    german = "Das ist z. B. ein sehr guter Gedanke gewesen. Am 3. Mai war er da, und wir waren froh."
    assert cut(german, Granularity.SENTENCE) == [german[:45], german[46:]]


def test_sentences_of_languages_without_spaces() -> None:
    assert cut("我喜欢猫。你呢?他说:“好。”然后走了!", Granularity.SENTENCE)[:2] == ["我喜欢猫。", "你呢?"]
    assert cut("猫が好きです。犬も好きです。鳥は嫌いです。", Granularity.SENTENCE) == [
        "猫が好きです。",
        "犬も好きです。",
        "鳥は嫌いです。",
    ]


def test_paragraphs_are_parted_by_blank_lines() -> None:
    text = "One\nstill one.\n\n  Two \r\n \t\r\n\nThree\n"
    assert cut(text, Granularity.PARAGRAPH) == ["One\nstill one.", "Two", "Three"]


def test_a_custom_delimiter_is_taken_to_the_letter() -> None:
    assert cut("a.b|#|c d|#||#|  |#|e", Granularity.CUSTOM, "|#|") == ["a.b", "c d", "e"]
    assert cut("x, y", Granularity.CUSTOM, ",") == ["x", " y"]
    assert cut("no such thing", Granularity.CUSTOM, "###") == ["no such thing"]


def test_tokens_are_trimmed_and_those_of_white_space_are_no_units() -> None:
    assert cut("ab cdef        gh", Granularity.TOKEN) == ["ab cd", "ef", "gh"]


def test_tokens_that_share_a_character_are_one_unit() -> None:
    request = ExplanationRequest(prompt=Prompt.of("a😀b"), target="t", granularity=Granularity.TOKEN)
    shared = np.array([[0, 1], [1, 2], [1, 2], [1, 2], [2, 3]])
    found = prompt_units(request, lambda _: shared)[1]
    assert found == [SpanUnit(item=0, start=i, end=i + 1) for i in range(3)]


@settings(deadline=None, max_examples=60)
@given(text=TEXTS, granularity=st.sampled_from([g for g in Granularity if g is not Granularity.CUSTOM]))
def test_units_hold_every_visible_character_once_in_order(text: str, granularity: Granularity) -> None:
    if not text.strip():
        with pytest.raises(InvalidInput, match="nothing to explain by"):
            cut(text, granularity)
        return
    parts = cut(text, granularity)
    assert all(part == part.strip() and part for part in parts)
    joined = regex.sub(r"\s", "", text)
    assert regex.sub(r"\s", "", "".join(parts)) == joined


@settings(deadline=None, max_examples=60)
@given(text=TEXTS, delimiter=st.sampled_from(["a", ".", " ", "\n", "ab", "猫。"]))
def test_custom_units_are_what_splitting_gives(text: str, delimiter: str) -> None:
    expected = [part for part in text.split(delimiter) if part.strip()]
    if expected:
        assert cut(text, Granularity.CUSTOM, delimiter) == expected


@pytest.mark.parametrize(
    ("granularity", "side"),
    [(Granularity.TOKEN, 12), (Granularity.WORD, 6), (Granularity.SENTENCE, 3), (Granularity.PARAGRAPH, 1)],
)
def test_tiles_cover_the_image_row_by_row(granularity: Granularity, side: int) -> None:
    tiles = [unit for unit in units([ImageItem(data=b"")], granularity)[1] if isinstance(unit, TileUnit)]
    assert len(tiles) == side * side
    for i, tile in enumerate(tiles):
        assert (tile.left, tile.top) == (i % side / side, i // side / side)
        assert tile.width == tile.height == pytest.approx(1 / side)


def test_the_automatic_choice_looks_at_all_items_together() -> None:
    image = ImageItem(data=b"")
    assert units([image], None)[0] is Granularity.WORD  # 36 is nearest to 30
    sentences = TextItem(text="One two three. " * 20)
    assert units([sentences], None)[0] is Granularity.SENTENCE  # 1, 20, 60 or 60
    assert units([sentences, image], None)[0] is Granularity.SENTENCE  # 20 + 9; by words 60 + 36
    tokens = TokenIdsItem(ids=tuple(range(30)))
    assert units([TextItem(text="One two. Three four."), tokens], None)[0] is Granularity.PARAGRAPH  # 1 + 30
    assert units([TextItem(text="alone")], None)[0] is Granularity.PARAGRAPH  # one unit at any granularity but tokens


def test_token_ids_are_explained_token_by_token_at_any_granularity() -> None:
    for granularity in (Granularity.TOKEN, Granularity.SENTENCE, Granularity.PARAGRAPH):
        assert units([TokenIdsItem(ids=(7, 8, 9))], granularity)[1] == [TokenUnit(item=0, index=i) for i in range(3)]


def test_too_many_units_are_refused_with_a_way_out() -> None:
    with pytest.raises(InvalidInput, match="1001 parts at the granularity word: at most 1000") as raised:
        cut("a " * 1001, Granularity.WORD)
    assert raised.value.param == "prompt_granularity"
    assert len(cut("a " * 1000, Granularity.WORD)) == 1000


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        ({"target": ""}, "target"),
        ({"target": " \n"}, "target"),
        ({"granularity": Granularity.CUSTOM}, "prompt_granularity"),
        ({"granularity": Granularity.CUSTOM, "delimiter": ""}, "prompt_granularity"),
        ({"granularity": Granularity.WORD, "delimiter": ","}, "prompt_granularity"),
        ({"control_factor": -0.1}, "control_factor"),
        ({"control_factor": float("nan")}, "control_factor"),
        ({"control_factor": 1e9}, "control_factor"),
    ],
)
def test_bad_requests_name_the_field(arguments: dict[str, object], param: str) -> None:
    with pytest.raises((InvalidInput, InvalidControl)) as raised:
        ExplanationRequest(**{"prompt": Prompt.of("text"), "target": "t"} | arguments)  # type: ignore[arg-type]
    assert raised.value.param == param


def test_suppression_keeps_the_controls_that_are_there() -> None:
    old = TextControl(start=0, length=2, factor=3.0)
    prompt = Prompt(items=(TextItem(text="ab cd", controls=(old,)), TokenIdsItem(ids=(1, 2))))
    request = ExplanationRequest(prompt=prompt, target="t", control_factor=0.2)
    changed = suppressed(prompt, SpanUnit(item=0, start=3, end=5), request, five)
    assert changed.items[0] == TextItem(text="ab cd", controls=(old, TextControl(start=3, length=2, factor=0.2)))
    assert changed.items[1] == prompt.items[1]
    changed = suppressed(prompt, TokenUnit(item=1, index=1), request, five)
    assert changed.items[1] == TokenIdsItem(ids=(1, 2), controls=(TokenControl(index=1, factor=0.2),))


def test_complete_overlap_reaches_to_the_borders_of_the_tokens() -> None:
    text = "abcd efgh ijkl"  # tokens: "abcd ", "efgh ", "ijkl"
    prompt = Prompt.of(text)
    request = ExplanationRequest(prompt=prompt, target="t", token_overlap=TokenOverlap.COMPLETE)
    changed = suppressed(prompt, SpanUnit(item=0, start=3, end=6), request, five)
    assert changed == Prompt.of(text, (TextControl(start=0, length=9, factor=0.1),))


@settings(deadline=None, max_examples=60)
@given(text=st.text(min_size=1, max_size=40))
def test_target_parts_join_to_the_target(text: str) -> None:
    parts = target_parts(text, five(text))
    assert "".join(text[start:end] for start, end in parts) == text
    assert len(parts) == len(five(text))
