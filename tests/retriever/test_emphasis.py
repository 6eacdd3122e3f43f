"""Emphasis by word."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidControl
from retriever.emphasis import emphasis_controls
from tests.growth import assert_growth


def covered(text: str, emphasis: dict[str, float]) -> list[tuple[str, float]]:
    return [(text[c.start : c.end], c.factor) for c in emphasis_controls(text, emphasis)]


@pytest.mark.parametrize(
    ("text", "emphasis", "expected"),
    [
        ("I want to play on my TV.", {"play": 7}, [("play", 7)]),
        ("Play, replay, PLAY player", {"play": 2}, [("Play", 2), ("PLAY", 2)]),
        ("old TV-show on tv", {"tv show": 0.2, "TV": 3}, [("TV", 3), ("TV-show", 0.2), ("tv", 3)]),
        ("Große STRASSE", {"straße": 2, "GROSSE": 0}, [("Große", 0), ("STRASSE", 2)]),
        ("cafe\u0301 Ｔｖ", {"café": 2, "tv": 3}, [("cafe\u0301", 2), ("Ｔｖ", 3)]),
        ("我想看电视，不想看书", {"想看": 2}, [("想看", 2), ("想看", 2)]),
        ("我我我", {"我我": 2}, [("我我", 2)]),
        ("😀 play 😀", {"😀": 2}, [("😀", 2), ("😀", 2)]),
        ("L\u2019auto rouge, l'AUTO", {"l'auto": 2}, [("L\u2019auto", 2), ("l'AUTO", 2)]),
        ("Don\u2019t panic, don't", {"DON'T": 2}, [("Don\u2019t", 2), ("don't", 2)]),
        ("L\u2019auto rouge", {"auto": 2}, [("L\u2019auto", 2)]),
        ("qu'est-ce que l'auto rouge", {"auto rouge": 2, "est": 3}, [("qu'est", 3), ("l'auto rouge", 2)]),
        ("une auto, l'auto", {"auto": 2}, [("auto", 2)]),  # as it is said, before what it is a part of
        ("play", {}, []),
    ],
)
def test_every_whole_occurrence(text: str, emphasis: dict[str, float], expected: list[tuple[str, float]]) -> None:
    assert covered(text, emphasis) == expected


@given(
    st.lists(st.sampled_from("ab"), min_size=1, max_size=12), st.lists(st.sampled_from("ab"), min_size=1, max_size=3)
)
def test_a_phrase_is_found_as_text_is_replaced(words: list[str], phrase: list[str]) -> None:
    text, sought = " ".join(words), " ".join(phrase)
    expected = text.replace(sought, "X").count("X")  # letters stand alone: words and characters match alike
    if expected:
        assert covered(text, {sought: 2}) == [(sought, 2)] * expected
    else:
        with pytest.raises(InvalidControl, match="does not have"):
            covered(text, {sought: 2})


@pytest.mark.parametrize(
    ("emphasis", "message"),
    [
        ({"game": 7}, "'game'.*its words are 'i', 'play', 'tv'"),
        ({"tv play": 7}, "'tv play'"),
        ({"pla": 7}, "'pla'"),
        ({"": 7}, "does not have ''"),
        ({" ": 7}, "does not have"),
        ({"😀": 7}, "😀"),
        ({"play": -11}, "'play' is -11"),
        ({"play": math.nan}, "nan"),
        ({"play": math.inf}, "inf"),
        ({"play": 1001}, "from -10 to 1000"),
        ({"play": 7, "PLAY": 2}, "'play' and 'PLAY', which are the same"),
    ],
)
def test_bad_emphasis_names_the_word_and_the_way_out(emphasis: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidControl, match=message) as caught:
        emphasis_controls("I play TV", emphasis)
    assert caught.value.param == "emphasis"


@given(
    st.lists(st.sampled_from(["play", "tv", "Play", "show", "the"]), min_size=1), st.sampled_from(["play", "tv show"])
)
def test_equals_a_scan_over_the_split_words(words: list[str], key: str) -> None:
    text, sought = " ".join(words), key.split()
    lowered = [word.lower() for word in words]
    starts = [i for i in range(len(words)) if lowered[i : i + len(sought)] == sought]
    if not starts:
        with pytest.raises(InvalidControl):
            emphasis_controls(text, {key: 2})
        return
    expected = [len(" ".join(words[:i])) + (i > 0) for i in starts]
    assert [control.start for control in emphasis_controls(text, {key: 2})] == expected


def test_a_long_phrase_takes_no_longer_than_a_word() -> None:
    text = "a " * 20_000 + "b"

    def looking(words: int) -> Callable[[], object]:
        def work() -> None:
            with pytest.raises(InvalidControl, match="does not have"):
                emphasis_controls(text, {"a " * (words - 1) + "c": 2})

        return work

    assert_growth(looking, 1, 491, most=8)


@pytest.mark.parametrize(
    ("emphasis", "message"),
    [
        ({"x" * 1001: 2.0}, "'x{40}[.]{3}' has 1001 characters; at most 1000"),
        ({str(i): 2.0 for i in range(1001)}, "names 1001; at most 1000"),
    ],
)
def test_what_is_too_long_or_too_much_is_refused(emphasis: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidControl, match=message) as refused:
        emphasis_controls("play " + "x" * 1001, emphasis)
    assert refused.value.param == "emphasis"
