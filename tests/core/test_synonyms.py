"""Synonyms as they are written."""

import pytest

from core.errors import InvalidSettings
from core.synonyms import MAX_SYNONYMS, MAX_WORDS, check_synonyms, of_groups, of_lines


def test_groups_and_lines_become_one_mapping() -> None:
    assert of_groups([["tv", "television", "telly"], ["tv", "set"]]) == {
        "tv": ("television", "telly", "set"),
        "television": ("tv", "telly"),
        "telly": ("tv", "television"),
        "set": ("tv",),
    }
    lines = ["# things", "tv, television  # a comment", "", "pc, notebook => computer, personal computer", "tv => box"]
    assert of_lines(lines) == {
        "tv": ("television", "box"),
        "television": ("tv",),
        "pc": ("computer", "personal computer"),
        "notebook": ("computer", "personal computer"),
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "c sharp, c#, csharp",
            {"c sharp": ("c#", "csharp"), "c#": ("c sharp", "csharp"), "csharp": ("c sharp", "c#")},
        ),
        ("c#=>csharp", {"c#": ("csharp",)}),
        ("f, #f # a comment, f#", {"f": ("#f",), "#f": ("f",)}),
        ("  #f, f", {}),
        ("a, b\t#\tc", {"a": ("b",), "b": ("a",)}),
        ("a, b #", {"a": ("b",), "b": ("a",)}),
    ],
)
def test_a_comment_has_white_space_around_its_sign(line: str, expected: dict[str, tuple[str, ...]]) -> None:
    assert of_lines([line]) == expected


@pytest.mark.parametrize("line", ["tv", "tv =>", "=> tv", ",", "=>"])
def test_lines_that_say_nothing_are_refused_with_their_number(line: str) -> None:
    with pytest.raises(InvalidSettings, match="synonyms, line 2"):
        of_lines(["a, b", line])


def test_groups_of_one_are_refused() -> None:
    with pytest.raises(InvalidSettings, match="'tv' is one word"):
        of_groups([["tv", "tv "]])


def test_limits() -> None:
    check_synonyms({"tv": ("television",)})
    for wrong, problem in (
        ({str(i): ("a",) for i in range(MAX_WORDS + 1)}, "2001 words have synonyms"),
        ({"a": ()}, "'a' has 0"),
        ({"a": tuple(map(str, range(MAX_SYNONYMS + 1)))}, "'a' has 51"),
        ({"!": ("a",)}, "letters or digits"),
        ({"a": ("b" * 101,)}, "at most 100 characters"),
        ({"a": ("b\ud800",)}, "no valid Unicode"),
        ({"a": ("b\0",)}, "no valid Unicode"),
    ):
        with pytest.raises(InvalidSettings, match=problem):
            check_synonyms(wrong)
