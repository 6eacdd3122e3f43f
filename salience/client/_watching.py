"""Polls a long-running task until it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from salience.client._attempts import Pause, Retries, Steps, attempts
from salience.client._calls import Call

T = TypeVar("T")
FIRST_PAUSE = 0.1  # seconds between the first two polls; each further pause is 1.5 times as long
LONGEST_PAUSE = 5.0


def watched(
    look: Call[T],
    ended: Callable[[T], bool],
    *,
    seconds: float | None,
    progress: Callable[[T], object] | None,
    retries: Retries,
) -> Steps[T]:
    """Poll until `ended`, or until `seconds` have passed (None: no limit). Returns the last state."""
    deadline = None if seconds is None else time.monotonic() + seconds
    for number in count():
        seen = yield from attempts(look, retries)
        if progress is not None:
            progress(seen)
        left = LONGEST_PAUSE if deadline is None else deadline - time.monotonic()
        if ended(seen) or left <= 0:
            return seen
        yield Pause(seconds=min(LONGEST_PAUSE, FIRST_PAUSE * 1.5 ** min(number, 20), left))
    raise AssertionError("unreachable: there is always one more look")
