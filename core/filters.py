"""Filters on document metadata, parsed from JSON or from a line of text into one kind of tree.

    {"brand": "Xerox"}                        brand = "Xerox"               equality
    {"brand": {"in": ["Xerox", "HP"]}}        brand in ("Xerox", "HP")
    {"tags": {"all": ["new", "red"]}}         tags all ("new", "red")       an array that has each of these
    {"price": {"gte": 10, "lt": 20}}          10 <= price < 20              numbers, dates; texts in code point order
    {"brand": {"prefix": "Xe"}}               prefix(brand, "Xe")
    {"marks": {"every": {"gte": 3}}}          every(marks >= 3)             each value of an array
    {"shop": {"within": {"lat": 48.1, "lon": 11.5, "distance": "5 km"}}}    within(shop, 48.1, 11.5, 5 km)
    {"shop": {"box": {"south": 47, "west": 10, "north": 49, "east": 12}}}   box(shop, 47, 10, 49, 12)
    {"brand": {"exists": true}}               exists(brand)                 a value that is not null
    {"brand": null}                           brand = null                  an explicit null
    {"brand": {"missing": true}}              missing(brand)                neither
    {"and": [...]}, {"or": [...]}, {"not": {...}}                           and, or, not, parentheses
    {"brand": "HP", "price": {"lt": 20}}      brand = "HP" and price < 20   several fields: all must hold

A comparison holds if it holds for any value of the field. A field has several values if it is an array or lies in an
array of objects. A field that is missing or null is unequal to everything, so `not` of a comparison includes such
documents. Nested fields are named by their path, joined by dots.
"""

from __future__ import annotations

from core.filter_json import filter_json, from_json
from core.filter_printing import filter_text
from core.filter_text import from_text
from core.filter_tree import (
    MAX_DEPTH,
    MAX_VALUES,
    And,
    Bound,
    Box,
    Comparison,
    Every,
    Exists,
    Filter,
    In,
    Leaf,
    Missing,
    Not,
    Null,
    Or,
    Prefix,
    Range,
    Scalar,
    Within,
    leaves,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_VALUES",
    "And",
    "Bound",
    "Box",
    "Comparison",
    "Every",
    "Exists",
    "Filter",
    "In",
    "Leaf",
    "Missing",
    "Not",
    "Null",
    "Or",
    "Prefix",
    "Range",
    "Scalar",
    "Within",
    "filter_json",
    "filter_text",
    "leaves",
    "parse_filter",
]


def parse_filter(value: object) -> Filter:
    """Parse a filter: a string as a line of text, anything else as JSON.

    Raises InvalidFilter, which names the place and what is allowed there.
    """
    return from_text(value) if isinstance(value, str) else from_json(value)
