"""Words, their normal form and their spans."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import Literal

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from embedder.lexical.words import MAX_RUN, WORD_PATTERN, character_pairs, forms, normalize, units

MIXED = st.text(
    alphabet=st.one_of(
        st.sampled_from("abzÄß'’ \u00ad\u200d\u0301\u0308ｶﾞか\u3099漢字㍿한글ᄒ\u1161\u11abﬁ²½١🎮\ufe0f⃣ー々אب-_."),
        st.characters(),
    )
)


def texts(text: str) -> list[str]:
    return [unit.text for unit in units(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I want to play on my TV.", ["i", "want", "to", "play", "on", "my", "tv"]),
        ("don't DON’T rock'n'roll 'quoted'", ["don't", "don't", "rock'n'roll", "quoted"]),
        ("Straße STRASSE ﬁne", ["strasse", "strasse", "fine"]),
        ("cafe\u0301 café CAFÉ", ["café"] * 3),
        ("Donau\u00addampf\u00adschiff", ["donaudampfschiff"]),
        ("ＡＢＣ１２", ["abc12"]),
        ("snake_case x² 3.5 006R90321", ["snake", "case", "x2", "3", "5", "006r90321"]),
        ("❤️ 🎮 ^^ -- \u0301", []),
        ("שָׁלוֹם عَرَبِيّ", ["שָׁלוֹם", "عَرَبِيّ"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("PS5で遊ぶ", ["ps5", "で", "遊", "ぶ"]),
        ("\ud800play\x00tv", ["play", "tv"]),
        ("", []),
    ],
)
def test_words_of_many_scripts(text: str, expected: list[str]) -> None:
    assert texts(text) == expected


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("猫", [("猫", 0, 1)]),
        ("我想看", [("我想", 0, 2), ("想看", 1, 3)]),
        ("ｶﾞｽ", [("ガス", 0, 3)]),  # half-width: three code points, two characters
        ("か\u3099く", [("がく", 0, 3)]),  # a decomposed voiced mark
        (unicodedata.normalize("NFD", "한글"), [("한글", 0, 6)]),  # conjoining jamo
        ("㍿社", [("株式", 0, 1), ("式会", 0, 1), ("会社", 0, 1), ("社社", 0, 2)]),
    ],
)
def test_cjk_runs_become_pairs_of_characters(run: str, expected: list[tuple[str, int, int]]) -> None:
    assert [tuple(pair) for pair in character_pairs(run)] == expected


@given(st.text(alphabet="我想看电视かなカナ한글ー", min_size=1))
def test_pairs_equal_the_obvious_way(run: str) -> None:
    expected = [run[i : i + 2] for i in range(len(run) - 1)] or [run]
    assert [pair.text for pair in character_pairs(run, 5)] == expected
    assert [pair.start for pair in character_pairs(run, 5)] == [5 + i for i in range(len(expected))]


@given(MIXED)
def test_spans_are_ordered_inside_the_text_and_lose_no_letter(text: str) -> None:
    found = list(units(text))
    for unit in found:
        assert 0 <= unit.start < unit.end <= len(text)
        assert normalize(text[unit.start : unit.end]).find(unit.text) >= 0
    assert [unit.start for unit in found] == sorted(unit.start for unit in found)
    covered = {i for unit in found for i in range(unit.start, unit.end)}
    assert covered >= {i for i, c in enumerate(text) if regex.fullmatch(r"[\p{L}\p{N}]", c)}


@given(MIXED)
def test_normalize_is_idempotent_and_blind_to_case_and_composition(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
    assert normalize(unicodedata.normalize("NFC", text)) == normalize(unicodedata.normalize("NFD", text))


def test_an_invisible_character_inside_a_word_changes_nothing() -> None:
    assert normalize("e\u200d\u0301t\u00ade\u034f\u0301") == "été"


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_case_folding_leaves_no_dot_behind_an_i(form: Literal["NFC", "NFD"]) -> None:
    assert normalize(unicodedata.normalize(form, "\u0130STANBUL")) == "istanbul"
    assert normalize("i\u0307\u0307x") == "ix"


def test_a_long_run_is_cut_and_an_adversarial_text_takes_linear_time() -> None:
    lengths = [match.end() - match.start() for match in WORD_PATTERN.finditer("a" * 1_000_000)]
    assert sum(lengths) == 1_000_000
    assert max(lengths) == MAX_RUN + 1
    joined = [match.end() - match.start() for match in WORD_PATTERN.finditer("a'" * 300_000)]
    assert max(joined) <= 16 * (MAX_RUN + 2)


@given(
    st.text()
    | st.text(st.sampled_from("aZ09'_-. \t\n\x1c\x85\u2028\u3000é\u0301ß日本’\u200b\u200dİ"), max_size=60)
    | st.text(st.characters(max_codepoint=127))
    | st.sampled_from(["a" * 1000, "a'" * 300 + "b", "x'y" * 40 + " é" + "z" * 400])
)
def test_forms_are_the_words_as_they_are_written(text: str) -> None:
    assert Counter(forms(text)) == Counter(match[0].lower() for match in WORD_PATTERN.finditer(text))


@given(st.text(st.characters(max_codepoint=127)) | st.text(st.sampled_from("aZ09'_-. \t\n"), max_size=60))
def test_words_of_plain_texts_are_those_of_the_general_pattern(text: str) -> None:
    expected = [(match[0].lower(), *match.span()) for match in WORD_PATTERN.finditer(text)]
    assert [tuple(unit) for unit in units(text)] == expected


def test_long_words_of_plain_texts_are_cut_alike() -> None:
    for text in ("a" * 1000, "a'" * 300 + "b", "x'Y" * 40 + " " + "Z" * 400):
        assert [tuple(unit)[1:] for unit in units(text)] == [match.span() for match in WORD_PATTERN.finditer(text)]
