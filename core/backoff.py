"""How long to wait before what failed is tried again."""

from __future__ import annotations

MAX_ASKED_SECONDS = 300.0  # nobody is believed who asks to wait for longer


def doubled(failures: int, *, first: float = 1.0, longest: float = 60.0) -> float:
    """Seconds to wait after so many `failures` in a row, 1 or more, of any number: `first`, then twice as long each
    time, up to `longest`.
    """
    return min(longest, first * 2.0 ** min(failures - 1, 64))
