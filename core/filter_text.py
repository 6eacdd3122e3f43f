"""Parses filters written as text, such as: price < 20 and brand in ("a", "b").

    filter     = all { "or" all }
    all        = one { "and" one }
    one        = "not" one | "(" filter ")" | "every" "(" comparison ")" | comparison
               | ("exists" | "missing") "(" field ")"
    comparison = field ("=" | "==" | "!=" | "<" | "<=" | ">" | ">=") value | value order field [ order value ]
               | field ["not"] "in" "(" value { "," value } ")" | field "all" "(" value { "," value } ")"
               | "prefix" "(" field "," text ")"
               | "within" "(" field "," latitude "," longitude "," distance [ "m" | "km" | "mi" | "ft" ] ")"
               | "box" "(" field "," south "," west "," north "," east ")"

Keywords are case-insensitive. A text is in single or double quotes, with JSON escapes; a date may be unquoted. A field
that has characters other than letters, digits and _ . - $ @, or is named like a keyword, is written in backticks.
"""

from __future__ import annotations

import difflib

from core.errors import InvalidFilter
from core.filter_tokens import KEYWORDS, Kind, Token, fault, tokens
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

_ORDERS = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}  # each with its counterpart when the sides are swapped
_COMPARES = "=, !=, <, <=, >, >=, in, not in or all"


def from_text(text: str) -> Filter:
    """Parse a filter's text into a tree. Raises InvalidFilter, which shows the place and what is allowed there."""
    return _Parser(text).filter()


class _Parser:
    """A recursive-descent parser. Each method reads what its name says; `self._next` is then the token behind it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._next = next(self._tokens)
        self._depth = 0

    def filter(self) -> Filter:
        if self._next.kind is Kind.END:
            raise InvalidFilter('filter: is empty; an example: price < 20 and brand = "HP"', param="filter")
        tree = self._any()
        if not self._ended:
            raise self._expected("and, or, or the end")
        return tree

    def _any(self) -> Filter:
        parts = [self._all()]
        while self._took("or"):
            parts.append(self._all())
        return joined(Or, tuple(parts))

    def _all(self) -> Filter:
        parts = [self._one()]
        while self._took("and"):
            parts.append(self._one())
        return joined(And, tuple(parts))

    def _one(self) -> Filter:
        self._depth += 1
        if self._depth > MAX_DEPTH + 1:
            raise fault(self._text, self._next.start, f"nested deeper than {MAX_DEPTH} levels")
        tree = self._nested()
        self._depth -= 1
        return tree

    def _nested(self) -> Filter:
        if self._took("not"):
            return Not(part=self._one())
        if self._took("("):
            tree = self._any()
            self._take(")")
            return tree
        for keyword, kind in (("exists", Exists), ("missing", Missing)):
            if self._took(keyword):
                return kind(field=self._only_field())
        if self._took("every"):
            self._take("(")
            start, part = self._next.start, self._comparison()
            if not isinstance(part, In | Range | Prefix | Within | Box):
                raise fault(
                    self._text, start, "every takes one comparison that is not negated, such as every(marks >= 3)"
                )
            self._take(")")
            return Every(part=part)
        return self._comparison()

    def _comparison(self) -> Filter:
        start = self._next.start
        try:
            if self._took("prefix"):
                return self._prefix()
            if self._took("within"):
                return self._within()
            if self._took("box"):
                return self._box()
            if self._next.kind is Kind.NAME:
                return self._field_first()
            if self._next.kind in (Kind.TEXT, Kind.NUMBER):
                return self._value_first()
        except InvalidFilter as error:
            if error.message.startswith("filter."):  # raised by a node, which does not know its place in the text
                raise fault(self._text, start, error.message.removeprefix("filter.")) from None
            raise
        if self._next.kind is Kind.KEYWORD:
            hint = f"{self._next.source} is a keyword; a field of this name is written `{self._next.source}`"
            raise fault(self._text, start, f"a field or a value is expected; {hint}")
        raise self._expected("a field, a value, not, or (")

    def _field_first(self) -> Filter:
        field = self._field()
        if self._took("=") or self._took("=="):
            return self._equal(field)
        if self._took("!="):
            return Not(part=self._equal(field))
        if self._took("in"):
            return In(field=field, values=self._values())
        if self._took("all"):
            return all_of(field, self._values())
        if self._took("not"):
            self._take("in")
            return Not(part=In(field=field, values=self._values()))
        order = self._order(f"{_COMPARES} is expected")
        return _range(field, {order: self._bound()})

    def _value_first(self) -> Filter:
        """A comparison that begins with a value: 20 > price; 10 <= price < 20."""
        value = self._bound()
        first = self._order("a value is followed by <, <=, > or >=; a field comes before all other comparisons")
        field = self._field()
        ends = {_ORDERS[first]: value}
        if self._next.source in _ORDERS:
            start, second = self._next.start, self._order("")
            if second[0] != first[0]:
                raise fault(
                    self._text, start, f"{first} and {second} do not make a range; write both signs the same way"
                )
            ends[second] = self._bound()
        return _range(field, ends)

    def _equal(self, field: str) -> Filter:
        return Null(field=field) if self._took("null") else In(field=field, values=(self._value(),))

    def _prefix(self) -> Filter:
        self._take("(")
        field = self._field()
        self._take(",")
        if self._next.kind is not Kind.TEXT:
            raise self._expected("a text between quotes")
        text = str(self._advance().value)
        self._take(")")
        return Prefix(field=field, text=text)

    def _within(self) -> Filter:
        self._take("(")
        field, latitude, longitude, distance = self._field(), self._after_comma(), self._after_comma(), self._distance()
        self._take(")")
        return Within(field=field, latitude=latitude, longitude=longitude, metres=distance)

    def _distance(self) -> float:
        self._take(",")
        start, number = self._next.start, self._number()
        unit = self._advance().value if self._next.kind is Kind.NAME else ""
        try:
            return parse_distance(f"{number.source}{unit}")
        except ValueError as error:
            raise fault(self._text, start, str(error)) from None

    def _box(self) -> Filter:
        self._take("(")
        field = self._field()
        south, west, north, east = (self._after_comma() for _ in range(4))
        self._take(")")
        return Box(field=field, south=south, west=west, north=north, east=east)

    def _after_comma(self) -> float:
        self._take(",")
        return float(self._number().value)

    def _number(self) -> Token:
        if self._next.kind is not Kind.NUMBER:
            raise self._expected("a number")
        return self._advance()

    def _only_field(self) -> str:
        self._take("(")
        field = self._field()
        self._take(")")
        return field

    def _field(self) -> str:
        if self._next.kind is not Kind.NAME:
            raise self._expected("a field")
        return str(self._advance().value)

    def _values(self) -> tuple[Scalar, ...]:
        self._take("(")
        values = [self._value()]
        while self._took(","):
            values.append(self._value())
        self._take(")", "a comma or )")
        return tuple(values)

    def _value(self) -> Scalar:
        for word, value in (("true", True), ("false", False)):
            if self._took(word):
                return value
        return self._bound()

    def _bound(self) -> str | float:
        if self._next.kind in (Kind.TEXT, Kind.NUMBER):
            return self._advance().value
        if self._next.kind is Kind.NAME:
            raise self._expected("a value; a text stands between quotes")
        if self._next.source.lower() in ("true", "false", "null"):
            raise self._expected(
                "a number, a text or a date; true, false and null have no order, and null is no list's value"
            )
        raise self._expected("a value: a number, a date, or a text between quotes")

    def _order(self, problem: str) -> str:
        if self._next.source in _ORDERS and self._next.kind is Kind.SIGN:
            return self._advance().source
        near = difflib.get_close_matches(self._next.source.lower(), KEYWORDS, n=1) if self._next.source else []
        found = f"; found {self._next.source!r:.40}" if self._next.source else "; the filter ends"
        raise fault(self._text, self._next.start, problem + found + (f", did you mean {near[0]!r}?" if near else ""))

    def _took(self, wanted: str) -> bool:
        """Read the next token if it is this keyword or sign; returns whether it was."""
        if self._next.kind in (Kind.KEYWORD, Kind.SIGN) and self._next.value == wanted:
            self._advance()
            return True
        return False

    def _take(self, wanted: str, said: str | None = None) -> None:
        if not self._took(wanted):
            raise self._expected(said or wanted)

    @property
    def _ended(self) -> bool:
        return self._next.kind is Kind.END

    def _advance(self) -> Token:
        token = self._next
        if not self._ended:
            self._next = next(self._tokens)
        return token

    def _expected(self, what: str) -> InvalidFilter:
        found = f"found {self._next.source!r:.40}" if not self._ended else "the filter ends"
        return fault(self._text, self._next.start, f"expected {what}; {found}")


def _range(field: str, ends: dict[str, str | float]) -> Range:
    bounds = {order[0]: Bound(value=value, inclusive=order.endswith("=")) for order, value in ends.items()}
    return Range(field=field, lower=bounds.get(">"), upper=bounds.get("<"))
