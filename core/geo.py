"""Geographic computations: parsing places and distances, great-circle distances, and bounding boxes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from core.records import Float64Array

EARTH_RADIUS = 6_371_008.8  # metres: the mean radius R1 of the GRS 80 ellipsoid
_METRES = {"m": 1.0, "km": 1000.0, "mi": 1609.344, "ft": 0.3048}
_DISTANCE = re.compile(rf"\s*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*({'|'.join(_METRES)})?\s*")


class Place(NamedTuple):
    latitude: float  # degrees, -90 to 90
    longitude: float  # degrees, -180 to 180


class Span(NamedTuple):
    """Degrees from `low` to `high`, both included."""

    low: float
    high: float


def parse_place(value: object) -> Place:
    """Parse {"lat": 48.1, "lon": 11.5} or the text "48.1, 11.5". Raises ValueError, which says what is allowed."""
    if isinstance(value, str):
        numbers: list[object] = [_float(part) for part in value.split(",")]
    else:
        numbers = [value["lat"], value["lon"]] if isinstance(value, Mapping) and set(value) == {"lat", "lon"} else []
    if len(numbers) == 2 and not any(isinstance(number, bool) for number in numbers):
        latitude, longitude = numbers
        if isinstance(latitude, (int, float)) and isinstance(longitude, (int, float)):
            if -90 <= latitude <= 90 and -180 <= longitude <= 180:
                return Place(float(latitude), float(longitude))
            raise ValueError("lat must be -90 to 90 and lon -180 to 180 degrees")
    raise ValueError('a place is {"lat": 48.1, "lon": 11.5} or "48.1, 11.5"')


def parse_distance(text: str) -> float:
    """A distance in metres: "5km" and "5 km" are 5000, "300" is 300. Raises ValueError, which says what is allowed."""
    found = _DISTANCE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r:.80} is not a distance; write metres, or e.g. 5km; units are {', '.join(_METRES)}")
    return float(found[1]) * _METRES[found[2] or "m"]


def distances(origin: Place, latitudes: Float64Array, longitudes: Float64Array) -> Float64Array:
    """(n,) great-circle distances from `origin` in metres, on a sphere.

    hav = sin^2(dlat / 2) + cos lat1 cos lat2 sin^2(dlon / 2), distance = 2 R asin sqrt hav; R. W. Sinnott, "Virtues of
    the Haversine", Sky and Telescope 68 (1984).
    """
    lat1, lat2 = math.radians(origin.latitude), np.radians(latitudes)
    turn = np.radians((longitudes - origin.longitude + 180) % 360 - 180)  # -180 and 180 are one meridian, exactly
    hav = np.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * np.cos(lat2) * np.sin(turn / 2) ** 2
    apart: Float64Array = 2 * EARTH_RADIUS * np.arcsin(np.sqrt(np.minimum(hav, 1.0)))
    return apart


def box_around(centre: Place, distance: float) -> tuple[Span, list[Span]]:
    """The latitudes and longitudes of a box that holds every place within `distance` metres of `centre`.

    There are two spans of longitudes where the box crosses the antimeridian. A circle whose radius is the angle r
    extends asin(sin r / cos lat) to the east and west; a circle that contains a pole touches every meridian.
    """
    angle = distance / EARTH_RADIUS * (1 + 1e-9) + 1e-9  # slightly larger than the circle, to allow for rounding
    degrees = math.degrees(angle)
    latitudes = Span(max(-90.0, centre.latitude - degrees), min(90.0, centre.latitude + degrees))
    if latitudes.low == -90.0 or latitudes.high == 90.0:
        return latitudes, [Span(-180.0, 180.0)]
    half = math.degrees(math.asin(min(1.0, math.sin(angle) / math.cos(math.radians(centre.latitude))))) + 1e-7
    return latitudes, longitude_spans(centre.longitude - half, centre.longitude + half)


def longitude_spans(west: float, east: float) -> list[Span]:
    """The longitudes eastwards from `west` to `east`, as spans within -180 to 180.

    -180 and 180 are the same meridian: a span that ends at one of them brings a second span with the other.
    """
    if east - west >= 360:
        return [Span(-180.0, 180.0)]
    west, east = west + 360 if west < -180 else west, east - 360 if east > 180 else east
    if west > east:
        return [Span(west, 180.0), Span(-180.0, east)]
    spans = [Span(west, east)]
    if east == 180:
        spans.append(Span(-180.0, -180.0))
    if west == -180:
        spans.append(Span(180.0, 180.0))
    return spans


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
