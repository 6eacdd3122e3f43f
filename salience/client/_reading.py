"""Converts JSON to dataclasses: unknown fields are ignored, missing fields and wrong types are errors.

Thus an older client understands a newer server, and nothing is guessed.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
Reader = Callable[[Any, str], Any]


def read_as(kind: type[T], value: Any, place: str = "") -> T:
    """Convert `value`, as parsed from JSON, to `kind`. Raises ValueError, which names the place."""
    return cast(T, _reader(cast(Hashable, kind))(value, place))


@cache
def _reader(kind: Any) -> Reader:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any or kind is object:
        return lambda value, place: value
    if kind is float:
        return _number
    if origin is Literal:
        return _plain(str)  # any string: a newer server may have more values
    if origin in (Union, types.UnionType):
        return _one_of(arguments)
    if origin is tuple:
        return _array(arguments[0])
    if origin in (dict, Mapping):
        return _object(arguments[1])
    if dataclasses.is_dataclass(kind):
        return _fields(cast(type, kind))
    return _plain(kind)


def _plain(kind: type) -> Reader:
    def read(value: Any, place: str) -> Any:
        if type(value) is not kind and not (kind is types.NoneType and value is None):
            raise ValueError(f"{place or 'the answer'} is {_shown(value)}, and not {kind.__name__}")
        return value

    return read


def _number(value: Any, place: str) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"{place or 'the answer'} is {_shown(value)}, and not a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{place or 'the answer'} is an integer of too many digits for a number") from None


def _one_of(kinds: tuple[Any, ...]) -> Reader:
    readers = [(kind, _reader(kind)) for kind in kinds]

    def read(value: Any, place: str) -> Any:
        if value is None and types.NoneType in kinds:
            return None
        exact = [reader for kind, reader in readers if kind is type(value)]
        possible = exact or [reader for kind, reader in readers if kind is not types.NoneType]
        for reader in possible[:-1]:
            try:
                return reader(value, place)
            except ValueError:
                continue  # only the last reader's error is raised
        return possible[-1](value, place)

    return read


def _array(kind: Any) -> Reader:
    one = _reader(kind)

    def read(value: Any, place: str) -> Any:
        if not isinstance(value, list):
            raise ValueError(f"{place or 'the answer'} is {_shown(value)}, and not a list")
        return tuple(one(item, f"{place}[{i}]") for i, item in enumerate(value))

    return read


def _object(kind: Any) -> Reader:
    one = _reader(kind)

    def read(value: Any, place: str) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"{place or 'the answer'} is {_shown(value)}, and not an object")
        return {name: one(item, f"{place}.{name}") for name, item in value.items()}

    return read


def _fields(kind: type) -> Reader:
    @cache
    def known() -> list[tuple[str, Reader, bool]]:  # computed on first use, since a class may refer to itself
        hints = get_type_hints(kind)
        fields = dataclasses.fields(kind)
        return [(field.name, _reader(hints[field.name]), field.default is dataclasses.MISSING) for field in fields]

    def read(value: Any, place: str) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"{place or 'the answer'} is {_shown(value)}, and not an object")
        found = {}
        for name, reader, required in known():
            if name in value:
                found[name] = reader(value[name], f"{place}.{name}".removeprefix("."))
            elif required:
                raise ValueError(f"{place or 'the answer'} has no {name}")
        return kind(**found)

    return read


def _shown(value: Any) -> str:
    """The type of a value for error messages; never its content, since errors end up in logs."""
    return "null" if value is None else f"of type {type(value).__name__}"
