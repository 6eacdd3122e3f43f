"""Conversion of a JSON value to the declared kind of its field."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

from core.dates import parse_date
from core.geo import parse_place
from core.records import FieldKind

_NUMBER = re.compile(r"\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,4})?\s*", re.ASCII)


class Value(NamedTuple):
    """The comparable form of a value; all None for a value that is too large to compare."""

    text: str | None = None
    number: float | None = None  # of a date, microseconds since 1970; of a place, its latitude
    longitude: float | None = None


def fitting(value: Any, kind: FieldKind) -> Value:
    """Convert `value`, a JSON value that is neither null nor an array, to the kind.

    As lenient as Elasticsearch: the text of a number, date or place, "true" and "false" are accepted for these kinds,
    and a number or a boolean becomes text as JSON writes it. Raises ValueError that says what is allowed.
    """
    match kind:
        case FieldKind.TEXT:
            return Value(text=_text(value))
        case FieldKind.NUMBER:
            return Value(number=_number(value))
        case FieldKind.BOOLEAN:
            return Value(number=_boolean(value))
        case FieldKind.DATE:
            if isinstance(value, bool) or not isinstance(value, (str, int, float)):
                raise ValueError("a date is a text or a number")
            return Value(number=parse_date(value).start)
        case FieldKind.GEO:
            place = parse_place(value)
            return Value(number=place.latitude, longitude=place.longitude)
        case FieldKind.NULL:
            raise ValueError("only null is")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    raise ValueError("a text, a number or a boolean is allowed")


def _number(value: Any) -> float | None:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
        return value if math.isfinite(value) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("a number, or a text such as '12.50', is allowed")
    try:
        number = float(value)
    except OverflowError:
        return None
    if not math.isfinite(number):
        raise ValueError("numbers must be finite")
    return number


def _boolean(value: Any) -> float:
    if isinstance(value, bool):
        return float(value)
    if value in ("true", "false"):
        return float(value == "true")
    raise ValueError("true or false is allowed")
