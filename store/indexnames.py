"""Names of passage indexes in an external engine."""

from __future__ import annotations

import re
import uuid

_PREFIX = "salience_"
_NAME = re.compile(_PREFIX + "[0-9a-f]{32}")


def new_name() -> str:
    """A unique name: one engine may serve any number of data directories, including copies of each other."""
    return f"{_PREFIX}{uuid.uuid4().hex}"


def is_name(value: object) -> bool:
    """Whether the value can be such a name; a damaged one must not be looked up."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None
