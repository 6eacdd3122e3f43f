"""Tokenization of texts into words with their character spans, by the same rules for every language.

A word is a letter or digit with the letters, digits and combining marks that follow it; an apostrophe, soft hyphen or
zero-width joiner between two of them stays inside the word ("don't"). Chinese, Japanese, Thai, Lao, Khmer and Burmese
are written without spaces, and Korean attaches particles to words: a run of their characters becomes overlapping pairs
of characters, or the character itself if it is alone. Words are compared by their normal form: NFKC, case folded,
without invisible characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import regex

MAX_RUN = 128  # characters; longer runs without a space or apostrophe, such as base64, are cut into several words

_CJK = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\u30FC\uFF70\uFF9E\uFF9F"  # the last four: long and voiced marks
_RUN = rf"{_CJK}[[\p{{Thai}}\p{{Lao}}\p{{Khmer}}\p{{Myanmar}}]&&\p{{L}}]"  # scripts whose runs become pairs
_COMMON = r"A-Za-z\u00DF-\u00F6\u03B1-\u03C9\u0430-\u044F"  # the most common letters, which are tested first
_START = rf"[{_COMMON}[[\p{{L}}\p{{N}}]--[{_RUN}]]]"
_INSIDE = rf"[{_COMMON}[[\p{{L}}\p{{N}}\p{{M}}]--[{_RUN}]]]"
_JOINER = r"['\u2019\uFF07\u00AD\u200C\u200D\u2060]"

WORD_PATTERN = regex.compile(
    rf"(?P<unspaced>[{_RUN}][{_RUN}\p{{M}}]*+)|{_START}{_INSIDE}{{0,{MAX_RUN}}}+(?:{_JOINER}{_INSIDE}{{1,{MAX_RUN}}}+){{0,15}}+",
    flags=regex.VERSION1,
)
_ASCII_WORD = re.compile(rf"[a-z0-9]{{1,{MAX_RUN + 1}}}+(?:'[a-z0-9]{{1,{MAX_RUN}}}+){{0,15}}+")  # the same for ASCII
_PLAIN_RUN = regex.compile(r"[\u3041-\u3096\u30A1-\u30FA\u30FC\u4E00-\u9FFF\uAC00-\uD7A3]+")
_UNSPACED = regex.compile(rf"[{_RUN}]", flags=regex.VERSION1)
_CHARACTER = regex.compile(r"\X")
_DOTTED = re.compile("i\u0307+")
_INVISIBLE = regex.compile(r"[\p{Default_Ignorable_Code_Point}\p{Me}]")


class Word(NamedTuple):
    """A word in its normal form and its span in the original text (code points, end exclusive)."""

    text: str
    start: int
    end: int


def units(text: str) -> Iterator[Word]:
    """The words of `text` and the single characters of unspaced scripts: the smallest units a user can point at."""
    if text.isascii():  # Python's own regular expressions are far faster
        yield from (Word(match[0], *match.span()) for match in _ASCII_WORD.finditer(text.lower()))
        return
    for match in WORD_PATTERN.finditer(text):
        if match.lastgroup == "unspaced":
            yield from _characters(match[0], match.start())
        else:
            yield Word(normalize(match[0]), match.start(), match.end())


def has_spaces(word: str) -> bool:
    """Whether the word belongs to a script that puts spaces between all words."""
    return word.isascii() or _UNSPACED.search(word) is None


def forms(text: str) -> list[str]:
    """The words of `text` in lower case, else as written, in any order; a run of unspaced characters is one word."""
    if text.isascii():  # Python's own regular expressions are faster, and do not release the interpreter lock
        return _ASCII_WORD.findall(text.lower())
    parts = text.split()  # no word contains white space
    others = " ".join([part for part in parts if not part.isascii()])
    found = [match[0].lower() for match in WORD_PATTERN.finditer(others)]
    return found + _ASCII_WORD.findall(" ".join([part for part in parts if part.isascii()]).lower())


def character_pairs(run: str, offset: int = 0) -> Iterator[Word]:
    """The overlapping pairs of characters of a run that begins at `offset`; the character itself if it is alone.

    A character is what a reader sees as one: half-width and decomposed forms are composed first, and a compatibility
    character that stands for several (such as U+337F) counts as those, all with the same span.
    """
    characters = _characters(run, offset)
    if len(characters) == 1:
        yield characters[0]
    for left, right in pairwise(characters):
        yield Word(left.text + right.text, left.start, right.end)


def is_character(term: str) -> bool:
    """Whether a term is a single character of an unspaced script, as indexed for runs of one character only."""
    match = None if term.isascii() else WORD_PATTERN.fullmatch(term)
    return match is not None and match.lastgroup == "unspaced" and len(_characters(term, 0)) == 1


def _characters(run: str, offset: int) -> list[Word]:
    if _PLAIN_RUN.fullmatch(run):  # one code point per character, already normal: the usual case, far faster
        return [Word(character, i, i + 1) for i, character in enumerate(run, offset)]
    return [
        Word(part, offset + match.start(), offset + match.end())
        for match in _CHARACTER.finditer(run)
        for part in _CHARACTER.findall(normalize(match[0]))
    ]


def normalize(text: str) -> str:
    """NFKC and full case folding (Unicode Standard, section 3.13), with straight apostrophes and nothing invisible.

    The combining dot that folding leaves of a Turkish dotted capital I is dropped: no keyboard writes it after an i.
    """
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", text).casefold()
    visible = _INVISIBLE.sub("", folded)  # this can bring an accent next to its letter, so compose once more
    return unicodedata.normalize("NFKC", _DOTTED.sub("i", visible)).replace("\u2019", "'")
