"""The tokenizer of the filter language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from core.errors import InvalidFilter

MAX_TEXT = 1_000_000  # characters of a filter
KEYWORDS = (
    "and", "or", "not", "in", "all", "true", "false", "null", "exists", "missing", "prefix", "within", "box", "every",
)  # fmt: skip
_SHOWN = 40  # characters that an error message shows on each side of the fault


class Kind(StrEnum):
    NAME = "a field"
    KEYWORD = "a keyword"
    TEXT = "a text"
    NUMBER = "a number"
    SIGN = "a sign"
    END = "the end"


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    kind: Kind
    start: int  # index of its first character
    source: str  # as written
    value: str | float  # keywords in lower case; names and texts without quotes


_TOKEN = re.compile(
    r"""\s*(?:
      (?P<date>\d{4}-\d\d(?:-\d\d)?(?:[Tt]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:[Zz]|[+-]\d\d(?::?\d\d)?)?)?(?![\w.]))
    | (?P<number>-?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?(?![.\d]))
    | (?P<word>[^\W\d][\w$@]*(?:[.-][\w$@]+)*|[$@][\w$@]+(?:[.-][\w$@]+)*)
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<name>`(?:[^`\\]|\\.)*`)
    | (?P<sign><=|>=|!=|==|[<>=(),])
    | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a filter, ending with END. Raises InvalidFilter at the first character that begins no token."""
    if len(text) > MAX_TEXT:
        message = f"filter: a text of {len(text):,} characters; at most {MAX_TEXT:,} are allowed"
        raise InvalidFilter(message, param="filter")
    at = 0
    while True:
        found = _TOKEN.match(text, at)
        if not found:
            start = len(text) - len(text[at:].lstrip())
            raise fault(text, start, _strange(text[start]))
        token = _token(found)
        yield token
        if token.kind is Kind.END:
            return
        at = found.end()


def fault(text: str, at: int, problem: str) -> InvalidFilter:
    """An InvalidFilter that shows the place `at` in `text`."""
    before, after = text[max(0, at - _SHOWN) : at], text[at : at + _SHOWN]
    shown = f"{'...' if at > _SHOWN else ''}{before} >>> {after}{'...' if at + _SHOWN < len(text) else ''}"
    return InvalidFilter(f"filter, character {at + 1}: {problem}; the place is marked >>>: {shown}", param="filter")


def _token(found: re.Match[str]) -> Token:
    group = found.lastgroup
    assert group is not None  # every alternative is a group
    source, start = found[group], found.start(group)
    match group:
        case "word" if source.lower() in KEYWORDS:
            kind, value = Kind.KEYWORD, source.lower()
        case "word":
            kind, value = Kind.NAME, source
        case "name":
            kind, value = Kind.NAME, _unescaped(source[1:-1])
        case "date":
            kind, value = Kind.TEXT, source
        case "text":
            kind, value = Kind.TEXT, _unescaped(source[1:-1])
        case "number":
            return Token(kind=Kind.NUMBER, start=start, source=source, value=float(source))
        case "end":
            kind, value = Kind.END, source
        case _:
            kind, value = Kind.SIGN, source
    return Token(kind=kind, start=start, source=source, value=value)


def _unescaped(quoted: str) -> str:
    def character(found: re.Match[str]) -> str:
        code, other = found.groups()
        return chr(int(code, 16)) if code else _ESCAPED.get(other, other)

    text = _ESCAPE.sub(character, quoted)
    return _PAIR.sub(lambda found: found[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)


def _strange(character: str) -> str:
    if character in "\"'`":
        return f"the {character} is not closed"
    if character.isdigit() or character == "-":
        return "this is neither a number nor a date; put a text between quotes"
    return f"{character!r} has no meaning here; a field with such characters is written between backticks"
