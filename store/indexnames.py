"""What a passage index is called in the engine that holds it."""

from __future__ import annotations

import re
import uuid

_PREFIX = "salience_"
_NAME = re.compile(_PREFIX + "[0-9a-f]{32}")


def new_name() -> str:
    """A name that nobody has: one engine may serve any number of data directories, copies of each other among them."""
    return f"{_PREFIX}{uuid.uuid4().hex}"


def is_name(value: object) -> bool:
    """Whether it can be one: what is damaged is not asked for."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None
