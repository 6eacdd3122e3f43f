"""Parses filters from JSON, and writes them as JSON."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any

from core.errors import InvalidFilter
from core.filter_tree import (
    MAX_DEPTH,
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
    Scalar,
    Within,
    all_of,
    joined,
)
from core.geo import parse_distance

RANGE_OPERATORS = ("gt", "gte", "lt", "lte")
OPERATORS = ("eq", "in", "all", *RANGE_OPERATORS, "prefix", "within", "box", "every", "exists", "null", "missing")
JOINS = ("and", "or", "not")
_BOX = ("south", "west", "north", "east")


def from_json(value: object) -> Filter:
    """Parse a JSON filter into a tree. Raises InvalidFilter, which names the place and what is allowed there."""
    return _parse(value, "filter", depth=0)


def filter_json(tree: Filter) -> dict[str, Any]:
    """The tree as JSON, which `from_json` reads back as the same tree."""
    match tree:
        case And(parts=parts):
            return {"and": [filter_json(part) for part in parts]}
        case Or(parts=parts):
            return {"or": [filter_json(part) for part in parts]}
        case Not(part=part):
            return {"not": filter_json(part)}
        case _:
            return {_key(tree.field): _condition(tree)}


def _condition(leaf: Filter) -> dict[str, Any]:
    match leaf:
        case In(values=(value,)):
            return {"eq": value}
        case In(values=values):
            return {"in": list(values)}
        case Range(lower=lower, upper=upper):
            low = {} if lower is None else {"gte" if lower.inclusive else "gt": lower.value}
            return low | ({} if upper is None else {"lte" if upper.inclusive else "lt": upper.value})
        case Prefix(text=text):
            return {"prefix": text}
        case Within(latitude=latitude, longitude=longitude, metres=distance):
            return {"within": {"lat": latitude, "lon": longitude, "distance": distance}}
        case Box():
            return {"box": {name: getattr(leaf, name) for name in _BOX}}
        case Every(part=part):
            return {"every": _condition(part)}
        case Exists():
            return {"exists": True}
        case Null():
            return {"null": True}
        case Missing():
            return {"missing": True}
        case _:
            raise TypeError(f"{type(leaf).__name__} does not speak of one field")


def _parse(value: object, place: str, depth: int) -> Filter:
    if depth > MAX_DEPTH:
        raise _invalid(place, f"nested deeper than {MAX_DEPTH} levels")
    if not isinstance(value, Mapping) or not value:
        raise _invalid(place, "must be a non-empty object such as {'field': 'value'}")
    parts = tuple(_parse_entry(key, condition, f"{place}.{key}", depth) for key, condition in value.items())
    return joined(And, parts)


def _parse_entry(key: object, condition: object, place: str, depth: int) -> Filter:
    match key:
        case "and" | "or":
            if not isinstance(condition, list) or not condition:
                raise _invalid(place, "must be a list of filters that is not empty")
            parts = tuple(_parse(part, f"{place}[{i}]", depth + 1) for i, part in enumerate(condition))
            return joined(And if key == "and" else Or, parts)
        case "not":
            return Not(part=_parse(condition, place, depth + 1))
        case str():
            return _parse_field(key.removeprefix("\\"), condition, place)
        case _:
            raise _invalid(place, "the names of fields are texts")


def _key(field: str) -> str:
    """The JSON key of a field: with a backslash in front if it is named like a join or begins with a backslash."""
    return f"\\{field}" if field in JOINS or field.startswith("\\") else field


def _parse_field(field: str, condition: object, place: str) -> Filter:
    if condition is None:
        return Null(field=field)
    if isinstance(condition, list):
        if any(isinstance(item, Mapping) for item in condition):
            raise _invalid(place, "a list of filters goes with 'and' or 'or': {'and': [...]}")
        raise _invalid(place, "a list of values goes with 'in' or 'all': {'in': [...]}")
    if not isinstance(condition, Mapping):
        return In(field=field, values=(_scalar(condition, place),))
    if not condition:
        raise _invalid(place, f"names no operator; allowed are {', '.join(OPERATORS)}")
    parts: list[Filter] = []
    ends = {name: _bound(condition[name], f"{place}.{name}") for name in RANGE_OPERATORS if name in condition}
    if ends:
        parts.append(_range(field, ends, place))
    for name, value in condition.items():
        if name not in ends:
            if name not in _PARSERS:
                raise _unknown_operator(name, place)
            parts.append(_PARSERS[name](field, value, f"{place}.{name}"))
    return joined(And, tuple(parts))


def _range(field: str, ends: Mapping[str, str | float], place: str) -> Range:
    """One range of all bounds of a condition: a single value must satisfy them all."""
    if {"gt", "gte"} <= ends.keys() or {"lt", "lte"} <= ends.keys():
        raise _invalid(place, "gt and gte, or lt and lte, together: one lower and one upper bound are allowed")
    bounds = {name[:2]: Bound(value=value, inclusive=name.endswith("e")) for name, value in ends.items()}
    return Range(field=field, lower=bounds.get("gt"), upper=bounds.get("lt"))


def _eq(field: str, value: object, place: str) -> Filter:
    return Null(field=field) if value is None else In(field=field, values=(_scalar(value, place),))


def _in(field: str, value: object, place: str) -> Filter:
    return In(field=field, values=_scalars(value, place))


def _all(field: str, value: object, place: str) -> Filter:
    return all_of(field, _scalars(value, place))


def _prefix(field: str, value: object, place: str) -> Filter:
    if not isinstance(value, str):
        raise _invalid(place, f"must be a text, not {value!r:.80}")
    return Prefix(field=field, text=value)


def _within(field: str, value: object, place: str) -> Filter:
    asked = _object(value, ("lat", "lon", "distance"), place)
    distance = asked["distance"]
    if isinstance(distance, str):
        try:
            distance = parse_distance(distance)
        except ValueError as error:
            raise _invalid(f"{place}.distance", str(error)) from None
    return Within(
        field=field,
        latitude=_number(asked["lat"], f"{place}.lat"),
        longitude=_number(asked["lon"], f"{place}.lon"),
        metres=_number(distance, f"{place}.distance"),
    )


def _box(field: str, value: object, place: str) -> Filter:
    asked = _object(value, _BOX, place)
    south, west, north, east = (_number(asked[name], f"{place}.{name}") for name in _BOX)
    return Box(field=field, south=south, west=west, north=north, east=east)


def _every(field: str, value: object, place: str) -> Filter:
    # `every` within `every` is refused, else it could be nested without limit
    part = _parse_field(field, value, place) if isinstance(value, Mapping) and "every" not in value else None
    if not isinstance(part, In | Range | Prefix | Within | Box):
        raise _invalid(place, "must be an object with one comparison, such as {'gte': 3}: what holds for each value")
    return Every(part=part)


def _state(kind: type[Exists] | type[Null] | type[Missing]) -> Callable[[str, object, str], Filter]:
    def parse(field: str, value: object, place: str) -> Filter:
        if not isinstance(value, bool):
            raise _invalid(place, "must be true or false")
        return kind(field=field) if value else Not(part=kind(field=field))

    return parse


_PARSERS: dict[object, Callable[[str, object, str], Filter]] = {
    "eq": _eq,
    "in": _in,
    "all": _all,
    "prefix": _prefix,
    "within": _within,
    "box": _box,
    "every": _every,
    "exists": _state(Exists),
    "null": _state(Null),
    "missing": _state(Missing),
}


def _unknown_operator(name: object, place: str) -> InvalidFilter:
    near = difflib.get_close_matches(str(name), OPERATORS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else "a nested field is written with dots, as 'maker.name'; "
    return _invalid(f"{place}.{name}", f"unknown operator {name!r:.80}; {hint}allowed are {', '.join(OPERATORS)}")


def _object(value: object, names: tuple[str, ...], place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or set(value) != set(names):
        raise _invalid(place, f"must be an object with {', '.join(names)}, and nothing else")
    return value


def _scalars(value: object, place: str) -> tuple[Scalar, ...]:
    if not isinstance(value, list) or not value:
        raise _invalid(place, "must be a list of values that is not empty")
    return tuple(_scalar(item, f"{place}[{i}]") for i, item in enumerate(value))


def _bound(value: object, place: str) -> str | float:
    scalar = _scalar(value, place)
    if isinstance(scalar, bool):
        raise _invalid(place, "a boolean has no order; use eq")
    return scalar


def _number(value: object, place: str) -> float:
    scalar = _scalar(value, place)
    if isinstance(scalar, (str, bool)):
        raise _invalid(place, f"must be a number, not {value!r:.80}")
    return scalar


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
    raise _invalid(place, f"must be a string, a finite number or a boolean, not {value!r:.80}")


def _invalid(place: str, problem: str) -> InvalidFilter:
    return InvalidFilter(f"{place[:300]}: {problem}", param="filter")
