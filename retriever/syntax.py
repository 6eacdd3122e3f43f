"""Parses Lucene's boost syntax in a query string: `play^7`, `"tv show"^0.2`.

A word (a run of characters without white space, quote or caret; opening brackets in front do not belong to it) or a
phrase in double quotes that is directly followed by `^` and a number is emphasised (above 1), suppressed (below 1) or
pushed away from (below 0) by that factor. The quotes and the mark are not part of the text that is searched. A
backslash escapes `^`, `"` and `\\`; behind a boost's number it ends the number. Everything else is literal text: `C^`,
`x ^2`, a quote without a boost, `^^`. In texts without spaces, quotes select the part to boost.
"""

from __future__ import annotations

from collections.abc import Iterable

import regex

from core.errors import InvalidControl, InvalidQuery, TooLarge
from core.prompts import MAX_FACTOR, MIN_FACTOR, TextControl, TokenOverlap

MAX_QUERY_BYTES = 1 << 20  # in UTF-8; models read a few hundred words at most

_ESCAPE = regex.compile(r'\\([\\^"])')
_NEEDS_ESCAPE = regex.compile(r'[\\^"]')
_PHRASE = regex.compile(r'"((?:\\[\\^"]|[^"])*+)"')
_WORD = regex.compile(r'(?:\\[\\^"]|[^\s"^])++')
_BETWEEN = regex.compile(r"[\s^]++")
_BOOST = regex.compile(r"\^([+-]?\.?[A-Za-z0-9][A-Za-z0-9_.+-]*+)")
_NUMBER = regex.compile(r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?", flags=regex.ASCII)
_ENDS_NUMBER = regex.compile(r"\\(?=[A-Za-z0-9_.+-])")
_OPENING = regex.compile(r"[\p{Ps}\p{Pi}\u00BF\u00A1]*+")
_ONLY_MARKS = regex.compile(r'(?:\s|"|\^(?:[+-]?[\d.]+)?)*+', flags=regex.ASCII)
_SPACE = regex.compile(r"\s")  # not str.isspace, which also counts separators such as U+001F
_BARE = regex.compile(r"\w++")


def parse(text: str) -> tuple[str, tuple[TextControl, ...]]:
    """The text to search, and the controls of its boosts as spans of that text, from left to right.

    Raises InvalidQuery, with the place, for a boost that is not a number from MIN_FACTOR to MAX_FACTOR, and the errors
    of `check_query`.
    """
    check_query(text)
    if only_marks(text):
        raise InvalidQuery(
            f"query {_quote(text)} has only emphasis marks; write a word in front, such as play^7", param="query"
        )
    if "^" not in text and "\\" not in text:
        return text, ()  # the common case: neither boosts nor escapes
    return _parse(text)


def only_marks(text: str) -> bool:
    """Whether the text has only boost marks, quotes and white space, but no word to apply them to."""
    return _ONLY_MARKS.fullmatch(text) is not None


def check_query(text: str) -> None:
    """Raises InvalidQuery for a text that is empty or no valid Unicode or has a NUL, TooLarge above MAX_QUERY_BYTES."""
    if not text or text.isspace():
        raise InvalidQuery("query is empty; write at least one word", param="query")
    if "\0" in text:
        raise InvalidQuery(f"query has a NUL character at {text.index(chr(0))}; remove it", param="query")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidQuery(
            f"query has a lone surrogate (half of a character) at {error.start}; send valid Unicode", param="query"
        ) from None
    if size > MAX_QUERY_BYTES:
        raise TooLarge(f"query has {size} bytes; at most {MAX_QUERY_BYTES} are allowed", param="query")


def render(text: str, controls: Iterable[TextControl]) -> str:
    """A query string that `parse` converts back to `text` and `controls`.

    Raises InvalidControl for controls that the syntax cannot express: overlapping controls, complete token overlap, a
    span of only white space or beyond the text.
    """
    parts: list[str] = []
    done = 0
    for control in sorted(controls, key=lambda control: control.start):
        covered = text[control.start : control.end]
        if control.start < done or control.end > len(text) or covered.isspace():
            raise InvalidControl(
                f"control at {control.start} of length {control.length} cannot be written as a boost: "
                "it overlaps another, covers only white space or leaves the text",
                param="controls",
            )
        if control.token_overlap is not TokenOverlap.PARTIAL:
            raise InvalidControl(
                f"control at {control.start} cannot be written as a boost: only partial token overlap can",
                param="controls",
            )
        parts.append(_rendered_text(text[done : control.start], behind_boost=done > 0))
        begins = not control.start or (control.start > done and _SPACE.match(text, control.start - 1))
        bare = begins and _BARE.fullmatch(covered)  # not behind a space that the previous control's quotes enclose
        parts.append(covered if bare else f'"{_escaped(covered)}"')
        parts.append(f"^{_rendered_number(control.factor)}")
        done = control.end
    parts.append(_rendered_text(text[done:], behind_boost=done > 0))
    return "".join(parts)


def _parse(text: str) -> tuple[str, tuple[TextControl, ...]]:
    clean: list[str] = []
    controls: list[TextControl] = []
    length = 0  # of the clean text so far
    position = 0  # in `text`
    plain_quote = -1  # position of the closing quote of a phrase without a boost, which does not open a new phrase

    def take(part: str) -> None:
        nonlocal length
        clean.append(part)
        length += len(part)

    while position < len(text):
        phrase = _PHRASE.match(text, position) if position != plain_quote else None
        word = _WORD.match(text, position)
        if phrase and (boost := _boost(text, phrase.end())):
            factor, after = boost
            inner = _phrase_text(phrase[1], position)
            controls.append(TextControl(start=length, length=len(inner), factor=factor))
            take(inner)
            position = after
        elif word:
            literal = _ESCAPE.sub(r"\1", word[0])
            brackets = _leading_brackets(literal)
            position = word.end()
            if brackets < len(literal) and (boost := _boost(text, position)):
                factor, position = boost
                start = length + brackets
                controls.append(TextControl(start=start, length=len(literal) - brackets, factor=factor))
            take(literal)
        else:
            if phrase:
                plain_quote = phrase.end() - 1
            blank = _BETWEEN.match(text, position)
            take(blank[0] if blank else text[position])
            position = blank.end() if blank else position + 1
    return "".join(clean), tuple(controls)


def _leading_brackets(word: str) -> int:
    opening = _OPENING.match(word)
    return opening.end() if opening else 0


def _boost(text: str, position: int) -> tuple[float, int] | None:
    """The factor of the boost mark at `position` and the place behind it; None if there is no boost."""
    mark = _BOOST.match(text, position)
    if mark is None:
        return None
    written = mark[1].rstrip(".+-")
    end = mark.start(1) + len(written)
    followed_by_caret = text[end : end + 1] == "^"
    if not _NUMBER.fullmatch(written):
        if followed_by_caret:  # an emoticon such as ^o^
            return None
        raise _bad_boost(text, position, end, "is no number")
    factor = float(written)
    if followed_by_caret:
        raise _bad_boost(text, position, end + 1, "is followed by a second one")
    if not MIN_FACTOR <= factor <= MAX_FACTOR:
        raise _bad_boost(text, position, end, "is out of range")
    stop = _ENDS_NUMBER.match(text, end)
    return factor + 0.0, stop.end() if stop else end  # + 0.0 turns -0.0 into 0.0


def _phrase_text(written: str, position: int) -> str:
    inner, nested = _parse(written)
    if nested:
        raise InvalidQuery(
            f"the boosted phrase at character {position} holds another boost; "
            "boost one of them, or write \\^ for a caret",
            param="query",
        )
    if not inner or inner.isspace():
        raise InvalidQuery(f"the boosted phrase at character {position} is empty; write words into it", param="query")
    return inner


def _bad_boost(text: str, start: int, end: int, fault: str) -> InvalidQuery:
    return InvalidQuery(
        f"boost {_quote(text[start:end])} at character {start} {fault}; "
        f"a boost is a number from {MIN_FACTOR:g} to {MAX_FACTOR:g}, as in play^7; write \\^ for a caret",
        param="query",
    )


def _quote(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _rendered_text(text: str, *, behind_boost: bool) -> str:
    """Text between boosts. A backslash separates a boost's number from a character that could belong to it."""
    escaped = _escaped(text)
    return f"\\{escaped}" if behind_boost and _ENDS_NUMBER.match(f"\\{escaped}") else escaped


def _escaped(text: str) -> str:
    return _NEEDS_ESCAPE.sub(r"\\\g<0>", text)


def _rendered_number(factor: float) -> str:
    number = float(factor)  # callers may pass an int
    return str(int(number)) if number.is_integer() else repr(number)
