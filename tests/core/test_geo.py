"""Distances and boxes on the globe."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.geo import EARTH_RADIUS, Place, Span, box_around, distances, longitude_spans, parse_distance, parse_place

LATITUDES, LONGITUDES = st.floats(-90, 90), st.floats(-180, 180)
PLACES = st.builds(Place, LATITUDES, LONGITUDES)


def distance(one: Place, other: Place) -> float:
    return float(distances(one, np.array([other.latitude]), np.array([other.longitude]))[0])


def test_known_distances() -> None:
    munich, berlin = Place(48.137154, 11.576124), Place(52.520008, 13.404954)
    assert distance(munich, berlin) == pytest.approx(504_400, abs=500)  # airline distance, by several atlases
    assert distance(Place(0, 0), Place(0, 90)) == pytest.approx(math.pi / 2 * EARTH_RADIUS)
    assert distance(Place(90, 0), Place(-90, 77)) == pytest.approx(math.pi * EARTH_RADIUS)
    assert distance(Place(10, 180), Place(10, -180)) == 0


@given(one=PLACES, other=PLACES)
def test_distance_is_the_angle_between_two_vectors(one: Place, other: Place) -> None:
    a, b = (
        np.array([math.cos(p) * math.cos(q), math.cos(p) * math.sin(q), math.sin(p)])
        for p, q in (map(math.radians, one), map(math.radians, other))
    )
    expected = EARTH_RADIUS * math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b))
    assert distance(one, other) == pytest.approx(expected, abs=0.2)  # near antipodes a haversine is off by centimetres
    assert distance(other, one) == pytest.approx(distance(one, other), abs=1e-6)


@given(centre=PLACES, other=PLACES, share=st.floats(0, 2))
def test_nothing_near_lies_outside_the_box(centre: Place, other: Place, share: float) -> None:
    reach = distance(centre, other) * share
    assume(distance(centre, other) <= reach)
    latitudes, longitudes = box_around(centre, reach)
    assert latitudes.low <= other.latitude <= latitudes.high
    assert any(span.low <= other.longitude <= span.high for span in longitudes)


@given(latitude=st.floats(-80, 80), longitude=LONGITUDES, reach=st.floats(1, 100_000))
def test_the_box_is_no_larger_than_it_must(latitude: float, longitude: float, reach: float) -> None:
    latitudes, longitudes = box_around(Place(latitude, longitude), reach)
    assert (latitudes.high - latitudes.low) * 111_195 == pytest.approx(2 * reach, rel=0.01, abs=1)
    width = sum(span.high - span.low for span in longitudes) * 111_195 * math.cos(math.radians(latitude))
    assert width == pytest.approx(2 * reach, rel=0.1, abs=1)


@pytest.mark.parametrize(
    ("west", "east", "expected"),
    [
        (10, 20, [Span(10, 20)]),
        (170, -170, [Span(170, 180), Span(-180, -170)]),
        (170, 190, [Span(170, 180), Span(-180, -170)]),
        (-190, -170, [Span(170, 180), Span(-180, -170)]),
        (-180, 180, [Span(-180, 180)]),
        (170, 180, [Span(170, 180), Span(-180, -180)]),
        (-180, -170, [Span(-180, -170), Span(180, 180)]),
    ],
)
def test_longitudes_go_east(west: float, east: float, expected: list[Span]) -> None:
    assert longitude_spans(west, east) == expected


def test_places_are_read() -> None:
    assert parse_place({"lat": 48, "lon": -11.5}) == parse_place("48, -11.5") == Place(48.0, -11.5)


@pytest.mark.parametrize(
    "value",
    [
        {}, {"lat": 1}, {"lat": 1, "lon": 2, "alt": 3}, {"lat": "1", "lon": 2}, {"lat": True, "lon": 2}, "1", "1,2,3",
        "a,b", {"lat": 90.1, "lon": 0}, {"lat": 0, "lon": 181}, "91, 0", "nan, 0", {"lat": 10**400, "lon": 0}, 5, None,
    ],
)  # fmt: skip
def test_a_value_that_is_no_place_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"a place is|lat must be -90 to 90"):
        parse_place(value)


def test_units() -> None:
    assert [parse_distance(f"2{unit}") for unit in ("", "m", "km", "mi", "ft")] == [2, 2, 2000, 3218.688, 0.6096]


@pytest.mark.parametrize("text", ["5km", "5 km", " 5\tkm ", "5.0km", "5.km", "+5e0 km", "5000", "5e3 m"])
def test_a_distance_may_be_written_with_a_blank_or_without(text: str) -> None:
    assert parse_distance(text) == 5000


@pytest.mark.parametrize(
    "text", ["", "far", "km", "5 yd", "5 km m", "5 k m", "5,5 km", "nan", "inf km", "1_000", "5KM"]
)
def test_what_is_no_distance(text: str) -> None:
    message = f"^{text!r} is not a distance; write metres, or e.g. 5km; units are m, km, mi, ft$"
    with pytest.raises(ValueError, match=message):
        parse_distance(text)
