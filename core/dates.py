"""Parses dates and times into comparable numbers: microseconds since 1970 UTC, independent of the written time zone."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

FORMS = "2024, 2024-05, 2024-05-01, 2024-05-01T10:00:00, with Z or +02:00 behind the time; without a zone it is UTC"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY = 86_400_000_000  # microseconds
_FIRST, _END = -62_135_596_800_000, 253_402_300_800_000  # milliseconds: the starts of the years 1 and 10000
_ISO = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?:[Tt ](?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,18}))?)?"
    r"(?P<zone>[Zz]|[+-]\d\d(?::?\d\d)?)?)?)?)?",
    re.ASCII,
)


class Period(NamedTuple):
    """The time that a date covers, in microseconds since 1970: `start` up to, but not including, `end`.

    For an instant, start equals end.
    """

    start: float
    end: float


def parse_date(value: str | float) -> Period:
    """Parse an ISO 8601 date or time, or milliseconds since 1970; a whole number of four digits is a year.

    A year, month or day is a period in UTC; a time is an instant. Digits beyond microseconds are dropped.
    A float64 holds microseconds exactly for the years 1685 to 2255. Raises ValueError, which says what is allowed.
    """
    if not isinstance(value, str):
        return _parse_number(value)
    found = _ISO.fullmatch(value)
    if not found:
        raise ValueError(f"{value!r:.60} is not a date; write {FORMS}")
    year, month, day = (int(found[name] or 1) for name in ("year", "month", "day"))
    hour, minute, second = (int(found[name] or 0) for name in ("hour", "minute", "second"))
    micros = int((found["fraction"] or "0")[:6].ljust(6, "0"))
    try:
        time = datetime(year, month, day, hour, minute, second, micros, tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f"{value!r:.60} is not a date: {error}") from None
    start = (time - _EPOCH) // _MICROSECOND - _offset(found["zone"], value)
    return Period(float(start), float(start + _length(found, year, month)))


def date_text(instant: float) -> str:
    """Microseconds since 1970 as ISO 8601 in UTC.

    A time zone can move an instant up to a day outside the years 1 to 9999, and rounding to float64 can do so for the
    last microseconds of 9999. Such an instant is clamped to the first or last one that can be written.
    """
    time = _EPOCH + max(1000 * _FIRST, min(int(instant), 1000 * _END - 1)) * _MICROSECOND
    return time.isoformat().replace("+00:00", "Z")


def _parse_number(value: float) -> Period:
    if 1000 <= value <= 9999 and value == int(value):
        return parse_date(str(int(value)))
    if not _FIRST <= value < _END:
        raise ValueError(f"{value} is not a date: milliseconds since 1970 of the years 1 to 9999 are")
    instant = float(value * 1000)
    return Period(instant, instant)


def _length(found: re.Match[str], year: int, month: int) -> int:
    """The length of the period in microseconds; 0 for a time."""
    if found["hour"]:
        return 0
    if found["day"]:
        return _DAY
    return _DAY * (calendar.monthrange(year, month)[1] if found["month"] else 365 + calendar.isleap(year))


def _offset(zone: str | None, value: str) -> int:
    """The zone's offset from UTC in microseconds, positive when ahead."""
    if zone is None or zone in "Zz":
        return 0
    hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
    if hours > 23 or minutes > 59:
        raise ValueError(f"{value!r:.60} is not a date: its zone is {zone}; -23:59 to +23:59 are allowed")
    return (1 if zone[0] == "+" else -1) * (hours * 60 + minutes) * 60_000_000
