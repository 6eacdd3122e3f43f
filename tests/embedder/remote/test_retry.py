"""Backoff stays in its bounds; Retry-After is read in both of its forms."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest

from embedder.remote.retry import backoff, retry_after
from tests.embedder.remote.world import Longest

NOW = datetime(2026, 1, 5, 12, 0, 0, tzinfo=UTC)


def test_backoff_doubles_up_to_a_limit() -> None:
    assert [backoff(retry, Longest()) for retry in (0, 1, 2, 3, 4, 5, 6, 10_000)] == [0.5, 1, 2, 4, 8, 16, 20, 20]


def test_jitter_is_full() -> None:
    random = Random(5)
    waits = [backoff(3, random) for _ in range(2000)]
    assert 0 <= min(waits) < 0.05
    assert 3.95 < max(waits) <= 4
    assert 1.9 < sum(waits) / len(waits) < 2.1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 1.5 ", 1.5),
        ("99999", 300.0),
        ("Mon, 05 Jan 2026 12:00:30 GMT", 30.0),
        ("Mon, 05 Jan 2026 11:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300.0),
        ("Monday, 05-Jan-26 12:00:30 GMT", 30.0),
        ("Mon Jan  5 12:00:30 2026", 30.0),
        ("", None),
        ("-3", None),
        ("soon", None),
        ("1e999", None),
        ("nan", None),
        ("7 s", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value}, NOW) == seconds


def test_no_header() -> None:
    assert retry_after({}, NOW) is None


def test_a_date_is_counted_from_the_answers_own_clock() -> None:
    headers = {"retry-after": "Mon, 05 Jan 2026 18:00:20 GMT", "date": "Mon, 05 Jan 2026 18:00:00 GMT"}
    assert retry_after(headers, NOW) == 20.0
    assert retry_after({**headers, "date": "no date"}, NOW) == 300.0
