"""Boost syntax: what is a boost, what is text, and the round trip."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from core.errors import InvalidControl, InvalidQuery, TooLarge
from core.prompts import MAX_FACTOR, MIN_FACTOR, TextControl, TokenOverlap
from retriever.syntax import _ONLY_MARKS, MAX_QUERY_BYTES, _parse, check_query, parse, render
from tests.growth import assert_linear


@pytest.mark.parametrize(
    ("text", "clean", "boosts"),
    [
        ("I want to play^7 on my TV.", "I want to play on my TV.", [("play", 7)]),
        ('old "tv show"^0.2 play^7', "old tv show play", [("tv show", 0.2), ("play", 7)]),
        ("play^7. Then stop^0, please", "play. Then stop, please", [("play", 7), ("stop", 0)]),
        ("(play^7) “tv^.5”", "(play) “tv”", [("play", 7), ("tv", 0.5)]),
        ("play^1e2 tv^+3 x^-0", "play tv x", [("play", 100), ("tv", 3), ("x", 0)]),
        ('我"想看"^2电视', "我想看电视", [("想看", 2)]),
        ("😀^2 e\u0301t\u00e9^3 שלום^4", "😀 e\u0301t\u00e9 שלום", [("😀", 2), ("e\u0301t\u00e9", 3), ("שלום", 4)]),
        ('"say \\"hi\\" \\^ \\\\"^2', 'say "hi" ^ \\', [('say "hi" ^ \\', 2)]),
        ('"tv"^2"show"^3', "tvshow", [("tv", 2), ("show", 3)]),
        ('"a" b "c"^2', '"a" b c', [("c", 2)]),
        ('"a" b "^2', '"a" b "^2', []),
        ('"I play^7 here"', '"I play here"', [("play", 7)]),
        ("play^7\\.5", "play.5", [("play", 7)]),
    ],
)
def test_boosts(text: str, clean: str, boosts: list[tuple[str, float]]) -> None:
    found, controls = parse(text)
    assert found == clean
    assert [(clean[control.start : control.end], control.factor) for control in controls] == boosts


@pytest.mark.parametrize(
    "text",
    [
        "C^",
        "x ^2",
        'a "lone quote',
        '"quoted words" stay',
        "nice ^^ 😀^^",
        "^o^ hi^_^",
        "haha^o^",
        "C:\\dir\\.git",
        "x^(2)",
    ],
)
def test_what_is_no_boost_stays_as_typed(text: str) -> None:
    assert parse(text) == (text, ())


def test_escapes_take_the_meaning_away() -> None:
    assert parse(r"2\^10 \"tv\" \\ \n") == (r'2^10 "tv" \ \n', ())


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("play^seven", "'\\^seven' at character 4 is no number"),
        ("tv play^7x", "'\\^7x' at character 7 is no number"),
        ("play^-11", "'\\^-11' at character 4 is out of range"),
        ("play^nan", "is no number"),
        ("play^inf", "is no number"),
        ("play^1e999", "out of range"),
        ("play^1001", "from -10 to 1000"),
        ("play^2^3", "second"),
        ('tv ""^3', "at character 3 is empty"),
        ('tv "  "^3', "at character 3 is empty"),
        ('"play^7 tv"^2', "holds another boost"),
        ("^7", "only emphasis marks"),
        ('""^3', "only emphasis marks"),
        ("^^ ^2", "only emphasis marks"),
        ("", "empty"),
        (" \t\n", "empty"),
        ("play\0tv", "NUL character at 4"),
        ("play \ud83d", "lone surrogate .* at 5"),
    ],
)
def test_bad_queries_say_what_and_where(text: str, place: str) -> None:
    with pytest.raises(InvalidQuery, match=place) as caught:
        parse(text)
    assert caught.value.param == "query"


def test_length_is_limited_in_bytes() -> None:
    check_query("é" * (MAX_QUERY_BYTES // 2))
    with pytest.raises(TooLarge, match=str(MAX_QUERY_BYTES)):
        check_query("é" * (MAX_QUERY_BYTES // 2) + "a")


@pytest.mark.parametrize("unit", ['"', "a^", "\\", " ", '"a" ', "play^7 ", '\\"', "^", '"a"^2'])
def test_a_long_query_is_parsed_in_linear_time(unit: str) -> None:
    def parsing(size: int) -> Callable[[], object]:
        text = "a " + unit * (size // len(unit))
        return lambda: parse(text)

    assert_linear(parsing, MAX_QUERY_BYTES // 64, MAX_QUERY_BYTES // 8)


TEXT = st.text(
    alphabet=st.one_of(st.sampled_from('ab7.-+_ \\^"(”我é\u0301😀\n'), st.characters(exclude_categories=["Cs"])),
    min_size=1,
)
FACTOR = st.one_of(st.floats(MIN_FACTOR, MAX_FACTOR), st.integers(0, 1000).map(float), st.just(1e-7))


@st.composite
def steered(draw: st.DrawFn) -> tuple[str, tuple[TextControl, ...]]:
    text = draw(TEXT)
    assume(not text.isspace() and "\0" not in text)
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
    spans = [(a, b) for a, b in pairwise(cuts) if not text[a:b].isspace() and draw(st.booleans())]  # some adjoin
    return text, tuple(TextControl(start=a, length=b - a, factor=draw(FACTOR)) for a, b in spans)


@given(steered())
@example(("play.5", (TextControl(start=0, length=4, factor=7.0),)))
@example(("playing", (TextControl(start=0, length=4, factor=7.0),)))
@example(("a\x1fb", (TextControl(start=2, length=1, factor=2.0),)))
@example(("a b", (TextControl(start=0, length=2, factor=2.0), TextControl(start=2, length=1, factor=3.0))))
@example(("^7", ()))
def test_round_trip(case: tuple[str, tuple[TextControl, ...]]) -> None:
    text, controls = case
    assert parse(render(text, controls)) == (text, controls)


@given(TEXT.map(lambda text: text.translate({ord("^"): None, ord("\\"): None})))
def test_a_text_without_carets_and_backslashes_is_parsed_to_itself(text: str) -> None:
    assume(text and not text.isspace() and "\0" not in text and not _ONLY_MARKS.fullmatch(text))
    assert parse(text) == _parse(text) == (text, ())


@given(TEXT)
def test_parsing_either_refuses_or_gives_valid_controls_that_render_again(text: str) -> None:
    try:
        clean, controls = parse(text)
    except InvalidQuery:
        return
    assert all(control.end <= len(clean) for control in controls)
    assert parse(render(clean, controls)) == (clean, controls)


def test_render_writes_words_bare_and_phrases_quoted() -> None:
    controls = (TextControl(start=2, length=4, factor=7.0), TextControl(start=7, length=7, factor=0.2))
    assert render("I play tv show", controls) == 'I play^7 "tv show"^0.2'


@pytest.mark.parametrize(
    "controls",
    [
        (TextControl(start=0, length=4, factor=2), TextControl(start=3, length=4, factor=2)),
        (TextControl(start=4, length=1, factor=2),),
        (TextControl(start=5, length=9, factor=2),),
        (TextControl(start=0, length=4, factor=2, token_overlap=TokenOverlap.COMPLETE),),
    ],
)
def test_render_refuses_what_it_cannot_say(controls: tuple[TextControl, ...]) -> None:
    with pytest.raises(InvalidControl, match="cannot be written as a boost"):
        render("play tv", controls)
