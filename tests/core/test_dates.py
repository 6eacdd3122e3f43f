"""Dates as instants, against Python's own calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.dates import Period, date_text, parse_date

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1700, 1, 1), datetime(2250, 1, 1), timezones=ZONES)  # where float64 is exact


def micros(moment: datetime) -> float:
    return float((moment - EPOCH) // timedelta(microseconds=1))


@given(moment=MOMENTS, separator=st.sampled_from("T t"))
def test_a_time_is_an_instant_in_any_zone(moment: datetime, separator: str) -> None:
    assert parse_date(moment.isoformat(sep=separator)) == Period(micros(moment), micros(moment))
    compact = moment.strftime(f"%Y-%m-%d{separator}%H:%M:%S.%f%z")
    assert parse_date(compact).start == micros(moment)


@given(day=st.dates(datetime(1700, 1, 1).date(), datetime(2250, 1, 1).date()))
def test_days_months_and_years_are_periods(day: datetime) -> None:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    assert parse_date(day.isoformat()) == Period(micros(start), micros(start + timedelta(days=1)))
    month = datetime(day.year, day.month, 1, tzinfo=UTC)
    after = datetime(day.year + day.month // 12, day.month % 12 + 1, 1, tzinfo=UTC)
    assert parse_date(f"{day:%Y-%m}") == Period(micros(month), micros(after))
    year = Period(micros(datetime(day.year, 1, 1, tzinfo=UTC)), micros(datetime(day.year + 1, 1, 1, tzinfo=UTC)))
    assert parse_date(f"{day:%Y}") == year == parse_date(day.year)


@given(one=st.datetimes(timezones=ZONES), other=st.datetimes(timezones=ZONES))
def test_the_order_is_kept_over_all_years(one: datetime, other: datetime) -> None:
    before, after = sorted((one, other))
    assert parse_date(before.isoformat()).start <= parse_date(after.isoformat()).start


@pytest.mark.parametrize(
    ("value", "same"),
    [
        ("2024-05-01T10:00Z", "2024-05-01T12:00:00+02:00"),
        ("2024-05-01T10:00:00.5Z", "2024-05-01T10:00:00,500000"),
        ("2024-05-01T10:00:00.123456789Z", "2024-05-01T10:00:00.123456z"),
        ("2024-05-01 00:30:00+0130", "2024-04-30T23:00:00"),
        (1714557600000, "2024-05-01T10:00:00Z"),
        (-1.5, "1969-12-31T23:59:59.998500Z"),
    ],
)
def test_one_instant_in_several_forms(value: str | float, same: str) -> None:
    assert parse_date(value) == parse_date(same)


def test_the_last_of_the_years() -> None:
    assert parse_date("9999").end == parse_date("9999-12").end == parse_date("9999-12-31").end == 253402300800e6


@given(moment=MOMENTS)
def test_an_instant_is_written_in_utc_and_read_again(moment: datetime) -> None:
    text = date_text(parse_date(moment.isoformat()).start)
    assert text.endswith("Z")
    assert datetime.fromisoformat(text) == moment


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),  # a float64 has no such number
        ("9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59.999999Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("0001-01-01T00:00:00+23:59", "0001-01-01T00:00:00Z"),
    ],
)
def test_what_utc_has_no_year_for_is_written_as_the_nearest_that_it_has(value: str, text: str) -> None:
    assert date_text(parse_date(value).start) == text


@pytest.mark.parametrize(
    "value",
    [
        "", "x", "24", "2024-5-1", "2024-13", "2024-02-30", "2024-05-01T24:00", "2024-05-01T10", "2024-05-01T10:00:60",
        "2024-05-01T10:00:00+24:00", "2024-05-01T10:00:00+02:60", "2024-05-01Z", "0000", "٢٠٢٤", "2024-W01-1", " 2024",
        1e300, float("inf"), float("nan"), 10**400, 253402300800000,
    ],
)  # fmt: skip
def test_a_value_that_is_no_date_is_refused(value: str | float) -> None:
    with pytest.raises(ValueError, match="is not a date"):
        parse_date(value)
