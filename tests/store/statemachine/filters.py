"""Filters read in the plainest way: the JSON itself, over one document's metadata."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

_COMPARE = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}


def holds(condition: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Whether a document with this metadata, without nested objects, satisfies the filter."""
    ((key, value),) = condition.items()
    match key:
        case "and":
            return all(holds(part, metadata) for part in value)
        case "or":
            return any(holds(part, metadata) for part in value)
        case "not":
            return not holds(value, metadata)
    ((name, bound),) = value.items() if isinstance(value, Mapping) else [("eq", value)]
    present = _values(metadata.get(key))
    match name:
        case "exists":
            return bool(present) == bound
        case "eq" | "in":
            wanted = bound if name == "in" else [bound]
            return any(_kind(have) is _kind(want) and have == want for have in present for want in wanted)
        case _:
            return any(_kind(have) is _kind(bound) and _COMPARE[name](have, bound) for have in present)


def _values(value: Any) -> list[Any]:
    return [item for item in (value if isinstance(value, list) else [value]) if item is not None]


def _kind(value: Any) -> type:
    return bool if isinstance(value, bool) else str if isinstance(value, str) else float
