"""Filters on document metadata: one tree, parsed once from JSON.

    {"brand": "Xerox"}                                    equality (an array value holds if any element does)
    {"brand": {"in": ["Xerox", "HP"]}}
    {"price": {"gte": 10, "lt": 20}}                      range: gt, gte, lt, lte; numbers, or texts in code point order
    {"brand": {"exists": true}}
    {"and": [...]}, {"or": [...]}, {"not": {...}}
    {"brand": "HP", "price": {"lt": 20}}                  several fields: all must hold

A missing field is unequal to everything: `not` of a comparison includes documents without the field.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from core.errors import InvalidFilter

Scalar = str | float | bool
RANGE_OPERATORS = ("gt", "gte", "lt", "lte")
OPERATORS = ("eq", "in", *RANGE_OPERATORS, "exists")
MAX_DEPTH = 20
MAX_VALUES = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class In:
    """The field has one of `values`. Equality is an In of one value."""

    field: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """The field compares to `bound` as `operator` (gt, gte, lt, lte) says."""

    field: str
    operator: str
    bound: str | float


@dataclass(frozen=True, kw_only=True, slots=True)
class Exists:
    """The field has a value that is not null."""

    field: str


@dataclass(frozen=True, kw_only=True, slots=True)
class And:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Or:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Not:
    part: Filter


Filter = In | Range | Exists | And | Or | Not


def parse_filter(value: object) -> Filter:
    """The tree of a JSON filter. Raises InvalidFilter that names the place and what is allowed there."""
    return _parse(value, "filter", depth=0)


def filter_json(tree: Filter) -> dict[str, object]:
    """The tree as JSON that `parse_filter` reads as the same tree."""
    match tree:
        case In(field=field, values=values):
            return {field: {"in": list(values)}}
        case Range(field=field, operator=operator, bound=bound):
            return {field: {operator: bound}}
        case Exists(field=field):
            return {field: {"exists": True}}
        case And(parts=parts):
            return {"and": [filter_json(part) for part in parts]}
        case Or(parts=parts):
            return {"or": [filter_json(part) for part in parts]}
        case Not(part=part):
            return {"not": filter_json(part)}


def leaves(tree: Filter) -> Iterator[In | Range | Exists]:
    """Every comparison in the tree, left to right."""
    match tree:
        case And(parts=parts) | Or(parts=parts):
            for part in parts:
                yield from leaves(part)
        case Not(part=part):
            yield from leaves(part)
        case _:
            yield tree


def _parse(value: object, place: str, depth: int) -> Filter:
    if depth > MAX_DEPTH:
        raise InvalidFilter(f"{place}: nested deeper than {MAX_DEPTH} levels", param="filter")
    if not isinstance(value, Mapping) or not value:
        raise InvalidFilter(f"{place}: must be a non-empty object such as {{'field': 'value'}}", param="filter")
    parts = tuple(_parse_entry(key, condition, f"{place}.{key}", depth) for key, condition in value.items())
    return parts[0] if len(parts) == 1 else And(parts=parts)


def _parse_entry(key: str, condition: object, place: str, depth: int) -> Filter:
    match key:
        case "and" | "or":
            if not isinstance(condition, list) or not condition:
                raise InvalidFilter(f"{place}: must be a list of filters that is not empty", param="filter")
            parts = tuple(_parse(part, f"{place}[{i}]", depth + 1) for i, part in enumerate(condition))
            return And(parts=parts) if key == "and" else Or(parts=parts)
        case "not":
            return Not(part=_parse(condition, place, depth + 1))
        case field:
            return _parse_field(field, condition, place)


def _parse_field(field: str, condition: object, place: str) -> Filter:
    if not isinstance(condition, Mapping):
        return In(field=field, values=(_scalar(condition, place),))
    if not condition:
        raise InvalidFilter(f"{place}: names no operator; allowed are {', '.join(OPERATORS)}", param="filter")
    parts = tuple(_parse_operator(field, name, bound, f"{place}.{name}") for name, bound in condition.items())
    return parts[0] if len(parts) == 1 else And(parts=parts)


def _parse_operator(field: str, operator: str, bound: object, place: str) -> Filter:
    match operator:
        case "eq":
            return In(field=field, values=(_scalar(bound, place),))
        case "in":
            if not isinstance(bound, list) or not bound:
                raise InvalidFilter(f"{place}: must be a list of values that is not empty", param="filter")
            if len(bound) > MAX_VALUES:
                raise InvalidFilter(f"{place}: {len(bound)} values; at most {MAX_VALUES} are allowed", param="filter")
            return In(field=field, values=tuple(_scalar(item, f"{place}[{i}]") for i, item in enumerate(bound)))
        case "gt" | "gte" | "lt" | "lte":
            scalar = _scalar(bound, place)
            if isinstance(scalar, bool):
                raise InvalidFilter(f"{place}: a boolean has no order; use eq", param="filter")
            return Range(field=field, operator=operator, bound=scalar)
        case "exists":
            if not isinstance(bound, bool):
                raise InvalidFilter(f"{place}: must be true or false", param="filter")
            return Exists(field=field) if bound else Not(part=Exists(field=field))
        case _:
            raise InvalidFilter(
                f"{place}: unknown operator {operator!r}; allowed are {', '.join(OPERATORS)}", param="filter"
            )


def _scalar(value: object, place: str) -> Scalar:
    if isinstance(value, (str, bool)):
        return value
    if isinstance(value, (int, float)):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise InvalidFilter(f"{place}: must be a string, a finite number or a boolean, not {value!r:.80}", param="filter")
