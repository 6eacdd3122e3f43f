"""Prints a filter tree as text that parses back to the same tree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from core.filter_tokens import KEYWORDS
from core.filter_tree import (
    And,
    Bound,
    Box,
    Every,
    Exists,
    Filter,
    In,
    Missing,
    Not,
    Null,
    Or,
    Prefix,
    Range,
    Scalar,
    Within,
)

_PLAIN_NAME = re.compile(r"[^\W\d][\w$@]*(?:[.-][\w$@]+)*|[$@][\w$@]+(?:[.-][\w$@]+)*")
_SURROGATE = re.compile("[\ud800-\udfff]")


def filter_text(tree: Filter) -> str:
    """The filter in the language of core.filter_text, on one line."""
    match tree:
        case And(parts=parts):
            return " and ".join(_within_and(part) for part in parts)
        case Or(parts=parts):
            return " or ".join(_parenthesised(part) if isinstance(part, Or) else filter_text(part) for part in parts)
        case Not(part=part):
            return f"not {_within_and(part)}"
        case In(field=field, values=(value,)):
            return f"{_name(field)} = {_value(value)}"
        case In(field=field, values=values):
            return f"{_name(field)} in {_arguments(map(_value, values))}"
        case Range():
            return _range(tree)
        case Prefix(field=field, text=text):
            return f"prefix{_arguments([_name(field), _value(text)])}"
        case Within(field=field, latitude=latitude, longitude=longitude, metres=distance):
            return f"within{_arguments([_name(field), _value(latitude), _value(longitude), f'{_value(distance)} m'])}"
        case Box(field=field, south=south, west=west, north=north, east=east):
            return f"box{_arguments([_name(field), *map(_value, (south, west, north, east))])}"
        case Exists(field=field):
            return f"exists({_name(field)})"
        case Missing(field=field):
            return f"missing({_name(field)})"
        case Null(field=field):
            return f"{_name(field)} = null"
        case Every(part=part):
            return f"every({filter_text(part)})"


def _within_and(part: Filter) -> str:
    return _parenthesised(part) if isinstance(part, And | Or) else filter_text(part)


def _parenthesised(part: Filter) -> str:
    return f"({filter_text(part)})"


def _range(range_: Range) -> str:
    name, lower, upper = _name(range_.field), range_.lower, range_.upper
    if lower is not None and upper is not None:
        return f"{_value(lower.value)} {_sign('<', lower)} {name} {_sign('<', upper)} {_value(upper.value)}"
    if lower is not None:
        return f"{name} {_sign('>', lower)} {_value(lower.value)}"
    assert upper is not None  # a range has a bound
    return f"{name} {_sign('<', upper)} {_value(upper.value)}"


def _sign(sign: str, bound: Bound) -> str:
    return f"{sign}=" if bound.inclusive else sign


def _arguments(items: Iterable[str]) -> str:
    return f"({', '.join(items)})"


def _name(field: str) -> str:
    if _PLAIN_NAME.fullmatch(field) and field.lower() not in KEYWORDS:
        return field
    return f"`{_escaped(field.replace(chr(92), chr(92) * 2).replace('`', chr(92) + '`'))}`"


def _value(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _escaped(json.dumps(value, ensure_ascii=False))
    return repr(value).removesuffix(".0")


def _escaped(text: str) -> str:
    """The text with lone surrogates as \\u escapes, since they cannot be encoded."""
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
