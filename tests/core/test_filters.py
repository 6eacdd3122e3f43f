"""Filters as JSON and as text: both say the same, and what is wrong is shown where it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidFilter
from core.filter_tokens import KEYWORDS
from core.filters import (
    And,
    Bound,
    Box,
    Every,
    Exists,
    Filter,
    In,
    Missing,
    Not,
    Null,
    Or,
    Prefix,
    Range,
    Within,
    filter_json,
    filter_text,
    parse_filter,
)

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=()), max_size=8) | st.sampled_from(
    ['"', "'", "\\", "\\u0041", "2024-05"]
)
SCALARS = NUMBERS | TEXTS | st.booleans()
NAMES = (
    st.sampled_from([*KEYWORDS, "price", "maker.name", "a-b", "@at", "$x", "And", "\\and", "`", "ü.ß", "2nd", "", "a "])
    | TEXTS
)  # fmt: skip
BOUNDS = st.builds(Bound, value=NUMBERS | TEXTS, inclusive=st.booleans())
LATITUDES, LONGITUDES = st.floats(-90, 90), st.floats(-180, 180)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    south, north = sorted((draw(LATITUDES), draw(LATITUDES)))
    return Box(field=draw(NAMES), south=south, north=north, west=draw(LONGITUDES), east=draw(LONGITUDES))


COMPARISONS = st.one_of(
    st.builds(In, field=NAMES, values=st.lists(SCALARS, min_size=1, max_size=3).map(tuple)),
    st.builds(Range, field=NAMES, lower=BOUNDS),
    st.builds(Range, field=NAMES, upper=BOUNDS),
    st.builds(Range, field=NAMES, lower=BOUNDS, upper=BOUNDS),
    st.builds(Prefix, field=NAMES, text=TEXTS),
    st.builds(Within, field=NAMES, latitude=LATITUDES, longitude=LONGITUDES, metres=st.floats(0, 1e8)),
    boxes(),
)
LEAVES = st.one_of(
    COMPARISONS,
    st.builds(Every, part=COMPARISONS),
    st.builds(Exists, field=NAMES),
    st.builds(Null, field=NAMES),
    st.builds(Missing, field=NAMES),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(And, parts=st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, parts=st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Not, part=inner),
    ),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(tree=TREES)
def test_a_tree_survives_being_written(tree: Filter) -> None:
    # by what they are called: as values, True and 1.0 are equal
    assert repr(parse_filter(filter_text(tree))) == repr(tree)
    assert repr(parse_filter(filter_json(tree))) == repr(tree)
    assert repr(parse_filter(json.loads(json.dumps(filter_json(tree))))) == repr(tree)


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=30) | st.lists(st.sampled_from(
    [*KEYWORDS, "(", ")", ",", "=", "!=", "<", "<=", "price", "brand", '"a"', "5", "km", "2024-05-01", "`x y`"]
), max_size=12).map(" ".join))  # fmt: skip
def test_any_text_is_a_filter_or_an_error_that_shows_the_place(text: str) -> None:
    try:
        tree = parse_filter(text)
    except InvalidFilter as error:
        message = error.message
    else:
        message = "filter"
        assert repr(parse_filter(filter_text(tree))) == repr(tree)
    assert message.startswith("filter")


SAME: list[tuple[str, Any]] = [
    ('brand = "HP"', {"brand": "HP"}),
    ("brand == 'HP'", {"brand": {"eq": "HP"}}),
    ('brand != "HP"', {"not": {"brand": "HP"}}),
    ('price < 20 and brand in ("a","b")', {"price": {"lt": 20}, "brand": {"in": ["a", "b"]}}),
    ("10 <= price < 20", {"price": {"gte": 10, "lt": 20}}),
    ("20 > price >= 10", {"price": {"gte": 10, "lt": 20}}),
    ("10 < price", {"price": {"gt": 10}}),
    ("price >= 10 AND price < 20", {"and": [{"price": {"gte": 10}}, {"price": {"lt": 20}}]}),
    ("a = 1 or b = 2 and c = 3", {"or": [{"a": 1}, {"and": [{"b": 2}, {"c": 3}]}]}),
    ("(a = 1 or b = 2) and c = 3", {"and": [{"or": [{"a": 1}, {"b": 2}]}, {"c": 3}]}),
    ("not a = 1 and b = 2", {"and": [{"not": {"a": 1}}, {"b": 2}]}),
    ("not (a = 1 and b = 2)", {"not": {"and": [{"a": 1}, {"b": 2}]}}),
    ("stock = TRUE", {"stock": True}),
    ("price not in (1, -2.5, .5, 1e3)", {"not": {"price": {"in": [1, -2.5, 0.5, 1000]}}}),
    ("tags all ('new', 'red')", {"tags": {"all": ["new", "red"]}}),
    ("tags = 'new' and tags = 'red'", {"tags": {"all": ["new", "red"]}}),
    ("brand = null", {"brand": None}),
    ("brand != null", {"brand": {"null": False}}),
    ("exists(brand)", {"brand": {"exists": True}}),
    ("not exists(brand)", {"brand": {"exists": False}}),
    ("missing(maker.name)", {"maker.name": {"missing": True}}),
    ("prefix(brand, 'X')", {"brand": {"prefix": "X"}}),
    ("every(marks >= 3)", {"marks": {"every": {"gte": 3}}}),
    ("every(prefix(tags, 'n'))", {"tags": {"every": {"prefix": "n"}}}),
    ("within(at, 48.1, 11.5, 5 km)", {"at": {"within": {"lat": 48.1, "lon": 11.5, "distance": 5000}}}),
    ("within(at, -48.1, 11.5, 5)", {"at": {"within": {"lat": -48.1, "lon": 11.5, "distance": "5 m"}}}),
    ("within(at, 48.1, 11.5, 5km)", {"at": {"within": {"lat": 48.1, "lon": 11.5, "distance": "5km"}}}),
    ("within(at, 0, 0, 1 mi)", {"at": {"within": {"lat": 0, "lon": 0, "distance": "1 mi"}}}),
    ("box(at, 1, 170, 3, -170)", {"at": {"box": {"south": 1, "west": 170, "north": 3, "east": -170}}}),
    ("at >= 2024-05-01", {"at": {"gte": "2024-05-01"}}),
    ("at < 2024-05-01T10:00:00+02:00", {"at": {"lt": "2024-05-01T10:00:00+02:00"}}),
    ("at = 2024-05", {"at": "2024-05"}),
    ("at = 2024", {"at": 2024}),
    ("`and` = 1 and `x y` = 2", {"\\and": 1, "x y": 2}),
    ('a = "\\u00e9\\n\\"\\ud83d\\ude00"', {"a": 'é\n"\U0001f600'}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), SAME)
def test_text_and_json_are_one_language(text: str, value: Any) -> None:
    assert repr(parse_filter(text)) == repr(parse_filter(value))


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", None, "is empty; an example: price < 20"),
        ("price <", 8, "expected a value: a number, a date, or a text between quotes; the filter ends"),
        ("price < and", 9, "expected a value: .* found 'and'"),
        ("brand = HP", 9, "a text stands between quotes; found 'HP'"),
        ("brand lik 'x'", 7, "in, not in or all is expected; found 'lik'"),
        ("brand alll ('x')", 7, "found 'alll', did you mean 'all'\\?"),
        ("(a = 1", 7, "expected \\); the filter ends"),
        ("a = 1 b = 2", 7, "expected and, or, or the end; found 'b'"),
        ("a in (1, )", 10, "expected a value"),
        ("a in ()", 7, "expected a value"),
        ("a in (1 2)", 9, "expected a comma or \\)"),
        ("a < true", 5, "true, false and null have no order"),
        ("10 < 20", 6, "expected a field; found '20'"),
        ("10 < a > 5", 8, "< and > do not make a range"),
        ("10 = a", 4, "a field comes before all other comparisons"),
        ("within(l, 95, 1, 5 km)", 1, "l: latitude is 95.0; allowed are -90 to 90 degrees"),
        ("within(l, 5, 1, 5 parsec)", 17, "'5parsec' is not a distance; .* units are m, km, mi, ft"),
        ("within(l, 5, 1, -5 km)", 1, "l: the distance is -5000.0"),
        ("box(l, 5, 1, 4, 2)", 1, "south is 5.0, which lies north of north"),
        ("every(a != 1)", 7, "every takes one comparison"),
        ("and = 3", 1, "a field of this name is written `and`"),
        ("a # 3", 3, "'#' has no meaning here"),
        ("a = 12-3", 7, "expected and, or, or the end"),
        ("a = 'x", 5, "the ' is not closed"),
        ("a = 1e999", 1, "a: must be a finite number, not inf"),
        ("not " * 30 + "a = 1", 85, "nested deeper than 20 levels"),
        ("(" * 30 + "a = 1" + ")" * 30, 22, "nested deeper than 20 levels"),
        ("a = 1 and " * 40 + "b c", 403, "the place is marked >>>: \\.\\.\\."),
        (f"a in ({', '.join(['1'] * 10_001)})", 1, "a: 10001 values; 1 to 10000 are allowed"),
        ("a = " + "1" * 1_000_000, None, "a text of 1,000,004 characters; at most 1,000,000"),
    ],
)
def test_errors_of_text_show_the_place(text: str, place: int | None, message: str) -> None:
    with pytest.raises(InvalidFilter, match=message) as caught:
        parse_filter(text)
    assert caught.value.param == "filter"
    assert place is None or caught.value.message.startswith(f"filter, character {place}: ")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "filter: must be a non-empty object"),
        ([], "filter: must be a non-empty object"),
        (None, "filter: must be a non-empty object"),
        ({"a": {}}, "filter.a: names no operator; allowed are eq, in, all, gt"),
        ({"a": [1, "b"]}, "filter.a: a list of values goes with 'in' or 'all': \\{'in': \\[...\\]\\}$"),
        ({"a": []}, "filter.a: a list of values goes with 'in'"),
        ({"must": [{"a": 1}]}, "filter.must: a list of filters goes with 'and' or 'or': \\{'and': \\[...\\]\\}$"),
        ({"a": {"near": 3}}, "filter.a.near: unknown operator 'near'; .*allowed are"),
        ({"a": {"prefx": "x"}}, "did you mean 'prefix'?"),
        ({"a": {"in": []}}, "filter.a.in: must be a list of values that is not empty"),
        ({"a": {"in": "x"}}, "filter.a.in: must be a list"),
        ({"a": {"all": [[1]]}}, "filter.a.all\\[0\\]: must be a string, a finite number or a boolean"),
        ({"a": {"in": [1] * 10_001}}, "filter.a: 10001 values; 1 to 10000 are allowed"),
        ({"a": {"all": [1] * 10_001}}, "filter.a: 10001 values; 1 to 10000 are allowed"),
        ({"a": {"gt": True}}, "filter.a.gt: a boolean has no order"),
        ({"a": {"gt": None}}, "filter.a.gt: must be a string"),
        ({"a": {"gt": 1, "gte": 2}}, "filter.a: gt and gte, or lt and lte, together"),
        ({"a": float("nan")}, "finite"),
        ({"a": 10**400}, "finite"),
        ({"a": {"exists": 1}}, "filter.a.exists: must be true or false"),
        ({"a": {"prefix": 1}}, "filter.a.prefix: must be a text"),
        ({"a": {"every": 1}}, "filter.a.every: must be an object with one comparison"),
        ({"a": {"every": {"gt": 1, "prefix": "x"}}}, "filter.a.every: must be an object with one comparison"),
        ({"a": {"every": {"exists": True}}}, "filter.a.every: must be an object with one comparison"),
        ({"a": {"within": {"lat": 1, "lon": 2}}}, "must be an object with lat, lon, distance, and nothing else"),
        (
            {"a": {"within": {"lat": 1, "lon": 2, "distance": "far"}}},
            "filter.a.within.distance: 'far' is not a distance; write metres, or e.g. 5km; units are m, km, mi, ft",
        ),
        (
            {"a": {"within": {"lat": 1, "lon": 2, "distance": "1e999 km"}}},
            "distance: must be a string, a finite number",
        ),
        ({"a": {"every": {"every": {"gt": 1}}}}, "filter.a.every: must be an object with one comparison"),
        ({"a": {"within": {"lat": "1", "lon": 2, "distance": 1}}}, "filter.a.within.lat: must be a number"),
        ({"a": {"within": {"lat": 1, "lon": 200, "distance": 1}}}, "longitude is 200.0; allowed are -180 to 180"),
        ({"a": {"box": {"south": 1}}}, "must be an object with south, west, north, east"),
        ({"and": []}, "filter.and: must be a list of filters that is not empty"),
        ({"or": {"a": 1}}, "filter.or: must be a list of filters"),
        ({"and": [{"or": [1]}]}, "filter.and\\[0\\].or\\[0\\]: must be a non-empty object"),
        ({1: 2}, "the names of fields are texts"),
    ],
)
def test_errors_of_json_name_the_place(value: Any, message: str) -> None:
    with pytest.raises(InvalidFilter, match=message) as caught:
        parse_filter(value)
    assert caught.value.param == "filter"


def test_depth_is_limited_alike_in_json_and_text() -> None:
    deep: Any = {"a": 1}
    for _ in range(20):
        deep = {"not": deep}
    tree = parse_filter(deep)
    assert repr(parse_filter(filter_text(tree))) == repr(tree)
    with pytest.raises(InvalidFilter, match="nested deeper than 20 levels"):
        parse_filter({"not": deep})


def test_one_part_stands_for_itself() -> None:
    assert parse_filter({"and": [{"or": [{"a": 1}]}]}) == In(field="a", values=(1.0,))
