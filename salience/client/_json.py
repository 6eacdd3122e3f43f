"""Encodes JSON, with error messages that name the place of an invalid value."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

_DEEPEST = 100  # levels that are searched for a fault, since a value may contain itself
_SHOWN = 200  # characters of a place that a message shows


def encoded(value: Any, what: str) -> bytes:
    """The value as JSON in UTF-8. Raises ValueError, which names the first invalid value within `what`."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        place = (_fault(value, "", _DEEPEST) or "").removeprefix(".")
        raise ValueError(f"{what}{place and f', {place:.{_SHOWN}},'} is no JSON: {error}") from error


def _fault(value: Any, place: str, deepest: int) -> str | None:
    """The place of the first value that cannot be written in JSON or UTF-8; None: there is none."""
    parts: Iterable[tuple[str, Any]]
    match value:
        case None | bool() | int():
            return None
        case float():
            return None if math.isfinite(value) else place
        case str():
            return None if value.isascii() or value.encode(errors="replace").decode() == value else place
        case dict():
            parts = ((f"{place}.{key}", part) for key, part in value.items())
        case list() | tuple():
            parts = ((f"{place}[{index}]", part) for index, part in enumerate(value))
        case _:
            return place
    if not deepest:
        return place
    return next((found for where, part in parts if (found := _fault(part, where, deepest - 1)) is not None), None)
