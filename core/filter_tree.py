"""The syntax tree of a filter: comparisons of fields, joined by and, or, not. core.filters documents their meaning.

Every tree is valid: its nodes check their values when created, and raise InvalidFilter, which names the field.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from core.errors import InvalidFilter

Scalar = str | float | bool
MAX_DEPTH = 20  # nesting of and, or, not
MAX_VALUES = 10_000  # in one comparison


@dataclass(frozen=True, kw_only=True, slots=True)
class In:
    """The field has one of `values`. Equality is an In of one value."""

    field: str
    values: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.values) <= MAX_VALUES:
            raise _invalid(self.field, f"{len(self.values)} values; 1 to {MAX_VALUES} are allowed")
        for value in self.values:
            if isinstance(value, float):
                _check_finite(self.field, value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """One end of a range."""

    value: str | float
    inclusive: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """The field has a value between the bounds, one of which may be missing."""

    field: str
    lower: Bound | None = None
    upper: Bound | None = None

    def __post_init__(self) -> None:
        if self.lower is None and self.upper is None:
            raise _invalid(self.field, "a range has a lower or an upper bound")
        for bound in self.bounds:
            if isinstance(bound.value, float):
                _check_finite(self.field, bound.value)

    @property
    def bounds(self) -> tuple[Bound, ...]:
        return tuple(bound for bound in (self.lower, self.upper) if bound is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prefix:
    """The field has a text that begins with `text` (case-sensitive)."""

    field: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Within:
    """The field has a place at most `metres` away."""

    field: str
    latitude: float  # degrees, -90 to 90
    longitude: float  # degrees, -180 to 180
    metres: float

    def __post_init__(self) -> None:
        _check_degrees(self.field, "latitude", self.latitude, 90)
        _check_degrees(self.field, "longitude", self.longitude, 180)
        if not (math.isfinite(self.metres) and self.metres >= 0):
            raise _invalid(self.field, f"the distance is {self.metres}; it must be a finite number, 0 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """The field has a place between two parallels and two meridians, borders included.

    The box extends eastwards from `west` to `east`; if west is the larger number, it crosses the antimeridian.
    """

    field: str
    south: float  # degrees, -90 to 90
    west: float  # degrees, -180 to 180
    north: float
    east: float

    def __post_init__(self) -> None:
        for name, degrees, most in (
            ("south", self.south, 90),
            ("west", self.west, 180),
            ("north", self.north, 90),
            ("east", self.east, 180),
        ):
            _check_degrees(self.field, name, degrees, most)
        if self.south > self.north:
            raise _invalid(self.field, f"south is {self.south}, which lies north of north, {self.north}; exchange them")


@dataclass(frozen=True, kw_only=True, slots=True)
class Exists:
    """The field, or one nested in it, has a value that is not null."""

    field: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Null:
    """The field is present and is null, or is an array that contains a null."""

    field: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """The field is absent, or is an empty array or object: it has neither a value nor a null."""

    field: str


Comparison = In | Range | Prefix | Within | Box


@dataclass(frozen=True, kw_only=True, slots=True)
class Every:
    """The field has values, and each of them fulfils the comparison. Nulls do not count as values."""

    part: Comparison

    @property
    def field(self) -> str:
        return self.part.field


@dataclass(frozen=True, kw_only=True, slots=True)
class And:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Or:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Not:
    part: Filter


Leaf = Comparison | Exists | Null | Missing | Every
Filter = Leaf | And | Or | Not


def all_of(field: str, values: tuple[Scalar, ...]) -> Filter:
    """The field has each of `values`."""
    In(field=field, values=values)  # checks the limits
    return joined(And, tuple(In(field=field, values=(value,)) for value in values))


def joined(kind: type[And] | type[Or], parts: tuple[Filter, ...]) -> Filter:
    """The parts joined into one filter; a single part is returned unchanged."""
    return parts[0] if len(parts) == 1 else kind(parts=parts)


def leaves(tree: Filter) -> Iterator[Leaf]:
    """The conditions on single fields in the tree, left to right."""
    match tree:
        case And(parts=parts) | Or(parts=parts):
            for part in parts:
                yield from leaves(part)
        case Not(part=part):
            yield from leaves(part)
        case _:
            yield tree


def _check_degrees(field: str, name: str, degrees: float, most: int) -> None:
    if not -most <= degrees <= most:
        raise _invalid(field, f"{name} is {degrees}; allowed are -{most} to {most} degrees")


def _check_finite(field: str, number: float) -> None:
    if not math.isfinite(number):
        raise _invalid(field, f"must be a finite number, not {number}")


def _invalid(field: str, problem: str) -> InvalidFilter:
    return InvalidFilter(f"filter.{field:.140}: {problem}", param="filter")
