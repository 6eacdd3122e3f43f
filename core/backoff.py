"""Exponential backoff: how long to wait before retrying after a failure."""

from __future__ import annotations

MAX_ASKED_SECONDS = 300.0  # longest wait that is accepted from a remote service


def doubled(failures: int, *, first: float = 1.0, longest: float = 60.0) -> float:
    """Seconds to wait after `failures` (1 or more) failures in a row: `first`, doubled each time, up to `longest`."""
    return min(longest, first * 2.0 ** min(failures - 1, 64))
