"""Translate a filter's comparison into SQL tests on stored values, one for each kind of value that may pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from core.dates import Period, parse_date
from core.errors import InvalidFilter
from core.filters import Bound, Box, Comparison, In, Prefix, Range, Scalar, Within
from core.geo import Place, Span, box_around, longitude_spans
from core.records import FieldKind
from core.unicode import is_unicode
from store import schema
from store.filters.fields import Fields
from store.filters.metadata import MAX_TEXT

MAX_PERIODS = 200  # years, months and days in one comparison; each becomes a range of its own
_LAST = chr(0x10FFFF)
_Test = sa.ColumnElement[bool]
_value = schema.document_field.c


def value_tests(fields: Fields, comparison: Comparison) -> list[tuple[int, _Test]]:
    """Pairs of a `field.id` and the test that its values must pass; one pair for each kind of value that may pass.

    For a Within the test is the bounding box of the circle. Raises InvalidFilter for values of a kind that the field
    cannot be compared with.
    """
    name = comparison.field
    match comparison:
        case In(values=values):
            tests = [(kind, _is_one_of(name, kind, of_kind)) for kind, of_kind in _by_kind(fields, name, values)]
        case Range(lower=lower, upper=upper):
            tests = _between(fields, name, lower, upper)
        case Prefix(text=text):
            tests = [(FieldKind.TEXT, _begins_with(name, text))]
        case Within(latitude=latitude, longitude=longitude, metres=metres):
            tests = [(FieldKind.GEO, _in_box(*box_around(Place(latitude, longitude), metres)))]
        case Box(south=south, west=west, north=north, east=east):
            tests = [(FieldKind.GEO, _in_box(Span(south, north), longitude_spans(west, east)))]
    ids = [(fields.id_of(name, kind), test) for kind, test in tests]
    return [(id_, test) for id_, test in ids if id_ is not None]


def _by_kind(fields: Fields, name: str, values: Sequence[Scalar]) -> list[tuple[FieldKind, list[Scalar]]]:
    groups: dict[FieldKind, list[Scalar]] = {}
    for value in values:
        groups.setdefault(_kind(fields, name, value), []).append(value)
    return list(groups.items())


def _kind(fields: Fields, name: str, value: Scalar) -> FieldKind:
    """The kind as which the field's values are compared with `value`."""
    if isinstance(value, bool):
        return FieldKind.BOOLEAN
    if FieldKind.DATE in fields.kinds(name):
        return FieldKind.DATE
    return FieldKind.TEXT if isinstance(value, str) else FieldKind.NUMBER


def _is_one_of(name: str, kind: FieldKind, values: list[Scalar]) -> _Test:
    if kind is FieldKind.TEXT:
        return _value.text.in_([_text(name, str(value)) for value in values])
    if kind is not FieldKind.DATE:
        return _value.number.in_(values)
    dates = [_date(name, value) for value in values]
    periods = [_within_period(date) for date in dates if date.end > date.start]
    if len(periods) > MAX_PERIODS:
        raise _invalid(name, f"{len(periods)} days, months or years; at most {MAX_PERIODS} are allowed")
    return sa.or_(_value.number.in_([date.start for date in dates if date.end == date.start]), *periods)


def _within_period(period: Period) -> _Test:
    return sa.and_(_value.number >= period.start, _value.number < period.end)


def _between(fields: Fields, name: str, lower: Bound | None, upper: Bound | None) -> list[tuple[FieldKind, _Test]]:
    tests: dict[FieldKind, list[_Test]] = {}
    for bound, is_lower in ((lower, True), (upper, False)):
        if bound is not None:
            kind = _kind(fields, name, bound.value)
            tests.setdefault(kind, []).append(_beyond(name, kind, bound, is_lower))
    if len(tests) == 2:  # one bound is a text, the other a number: no value can satisfy both
        return [(kind, sa.false()) for kind in tests]
    return [(kind, sa.and_(*of_kind)) for kind, of_kind in tests.items()]


def _beyond(name: str, kind: FieldKind, bound: Bound, is_lower: bool) -> _Test:
    """A period is one bound as a whole: "> day" starts with the next day, ">= day" with the day's first moment."""
    column: sa.ColumnElement[Any] = _value.text if kind is FieldKind.TEXT else _value.number
    limit: str | float = bound.value
    if isinstance(limit, str) and kind is FieldKind.TEXT:
        limit = _text(name, limit)
    elif kind is FieldKind.DATE:
        date = _date(name, limit)
        if date.end > date.start:
            if is_lower:
                return column >= (date.start if bound.inclusive else date.end)
            return column < (date.end if bound.inclusive else date.start)
        limit = date.start
    if is_lower:
        return column >= limit if bound.inclusive else column > limit
    return column <= limit if bound.inclusive else column < limit


def _begins_with(name: str, prefix: str) -> _Test:
    """SQLite orders texts by their UTF-8 bytes, that is by code points, so the texts with a prefix form one range."""
    above = _value.text >= _text(name, prefix)
    stem = prefix.rstrip(_LAST)
    if not stem:
        return above
    following = ord(stem[-1]) + 1
    end = stem[:-1] + chr(0xE000 if 0xD800 <= following < 0xE000 else following)
    return sa.and_(above, _value.text < end)


def _in_box(latitudes: Span, longitudes: Sequence[Span]) -> _Test:
    return sa.and_(
        _value.number.between(*latitudes),
        _value.longitude.is_not(None),
        sa.or_(*(_value.longitude.between(*span) for span in longitudes)),
    )


def _date(name: str, value: Scalar) -> Period:
    try:
        return parse_date(value)
    except ValueError as error:
        raise _invalid(name, str(error)) from None


def _text(name: str, text: str) -> str:
    if len(text) > MAX_TEXT or not is_unicode(text):
        raise InvalidFilter(
            f"filter.{name:.140}: the text {text!r:.80} is longer than {MAX_TEXT} characters or holds half a surrogate "
            "pair; no value that can be compared is like that",
            param="filter",
        )
    return text


def _invalid(name: str, problem: str) -> InvalidFilter:
    return InvalidFilter(f"filter.{name:.140}: {problem}", param="filter")
