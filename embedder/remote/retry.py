"""Retry delays: exponential backoff with jitter, and the Retry-After header."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

from core.backoff import MAX_ASKED_SECONDS, doubled

UNHEALTHY_STATUSES = frozenset({408, *range(500, 600)})  # the remote's own fault
RETRIED_STATUSES = UNHEALTHY_STATUSES | {429}
FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 20.0


def backoff(retry: int, random: Random) -> float:
    """Seconds before the retry of this number (from 0): uniform in [0, min(20, 0.5 * 2^retry)].

    Exponential backoff with full jitter (M. Brooker, "Exponential Backoff And Jitter", 2015): callers that failed
    together do not come back together.
    """
    return random.uniform(0, doubled(retry + 1, first=FIRST_BACKOFF_SECONDS, longest=MAX_BACKOFF_SECONDS))


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that a Retry-After header asks to wait (RFC 9110, 10.2.3), 0 to 300; None if missing or unreadable.

    A date is counted from the answer's own Date header if it has one, so that the clocks need not agree.
    """
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value) if value[:1].isdigit() else _seconds_between(headers.get("date"), value, now)
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), MAX_ASKED_SECONDS) if math.isfinite(seconds) else None


def _seconds_between(date: str | None, until: str, now: datetime) -> float:
    try:
        start = now if date is None else _instant(date)
    except (ValueError, TypeError):  # not a date
        start = now
    return (_instant(until) - start).total_seconds()


def _instant(date: str) -> datetime:
    """The time of an HTTP date; one without a zone is in UTC."""
    parsed = parsedate_to_datetime(date)
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed
