"""A document's metadata, as stored JSON and as the values that filters compare."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from core.errors import InvalidDocument
from core.records import Document, FieldKind
from core.unicode import is_unicode
from store.filters.kinds import Value, fitting

MAX_TEXT = 1024  # characters of a text that filters can compare; of a longer one only its existence is known
MAX_NAME = 256  # characters of a field's name; a longer one cannot be filtered on
MAX_VALUES = 10_000  # per document
MAX_DEPTH = 20
_JSON_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # the escape, not an escaped backslash before "u0000"


class FilterableValue(NamedTuple):
    """One value of a field. Without text and number it exists for filters, but cannot be compared."""

    name: str  # keys of nested objects joined by dots
    kind: FieldKind
    text: str | None  # for TEXT
    number: float | None  # for NUMBER; 0 or 1 for BOOLEAN; microseconds since 1970 for DATE; latitude for GEO
    longitude: float | None = None  # for GEO


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredMetadata:
    """A document's metadata in stored form."""

    json: str
    values: AbstractSet[FilterableValue]

    @classmethod
    def of(cls, document: Document, declared: Mapping[str, FieldKind]) -> Self:
        """`declared`: the declared fields of the collection.

        Raises InvalidDocument for a document that cannot be stored: for the reasons of `filterable_values`, and for
        metadata, an id, a title or a text that JSON or SQLite cannot hold.
        """
        return cls(values=filterable_values(document, declared), json=_json(document))


def filterable_values(
    document: Document, declared: Mapping[str, FieldKind] | None = None, *, keep_misfits: bool = False
) -> set[FilterableValue]:
    """The filterable values of the metadata. An array gives one value for each element, a null gives a NULL.

    A value of a declared field is converted to the declared kind. Raises InvalidDocument for a value that does not fit
    (with `keep_misfits` it exists, but cannot be compared: for documents stored before this was checked), for more than
    MAX_VALUES values, for nesting deeper than MAX_DEPTH, and for what is not JSON.
    """
    reading = _Reading(where=f"document {document.id!r:.140}", declared=declared or {}, keep_misfits=keep_misfits)
    values: set[FilterableValue] = set()
    for value in reading.flatten(document.metadata, "", 0):
        values.add(value)
        if len(values) > MAX_VALUES:
            raise InvalidDocument(f"{reading.where}: its metadata has more than {MAX_VALUES} values", param="metadata")
    return values


def _json(document: Document) -> str:
    where = f"document {document.id!r:.140}"
    try:
        metadata = json.dumps(dict(document.metadata), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidDocument(f"{where}: its metadata is not JSON ({error})", param="metadata") from error
    for name, text in (("id", document.id), ("title", document.title), ("text", document.text), ("metadata", metadata)):
        if "\0" in text or (name == "metadata" and _JSON_NUL.search(text)):
            raise InvalidDocument(f"{where}: its {name} has a NUL character; remove it", param=name)
        if not is_unicode(text):
            raise InvalidDocument(f"{where}: its {name} has half a surrogate pair; mend its encoding", param=name)
    return metadata


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reading:
    where: str  # the document, for messages
    declared: Mapping[str, FieldKind]
    keep_misfits: bool

    def flatten(self, value: Any, name: str, depth: int) -> Iterator[FilterableValue]:
        if depth > MAX_DEPTH:
            raise InvalidDocument(
                f"{self.where}: its metadata is nested deeper than {MAX_DEPTH} levels", param="metadata"
            )
        kind = self.declared.get(name) if depth else None
        match value:
            case list() | tuple():
                for part in value:
                    yield from self.flatten(part, name, depth + 1)
            case Mapping() if kind is None:
                for key, part in value.items():
                    if not isinstance(key, str):
                        raise InvalidDocument(
                            f"{self.where}: metadata key {key!r:.80} must be a string", param="metadata"
                        )
                    yield from self.flatten(part, f"{name}.{key}" if name else key, depth + 1)
            case _ if len(name) > MAX_NAME:
                return
            case None:
                yield FilterableValue(name, FieldKind.NULL, None, None)
            case _ if kind is not None:
                yield self._declared(value, name, kind)
            case _:
                yield self._found(value, name)

    def _declared(self, value: Any, name: str, kind: FieldKind) -> FilterableValue:
        try:
            fit = fitting(value, kind)
        except ValueError as error:
            if not self.keep_misfits:
                raise InvalidDocument(
                    f"{self.where}: metadata {name!r} is {value!r:.80}, and the field is declared as {kind.value}: "
                    f"{error}",
                    param="metadata",
                ) from None
            fit = Value()
        return FilterableValue(name, kind, _short(fit.text), fit.number, fit.longitude)

    def _found(self, value: Any, name: str) -> FilterableValue:
        match value:
            case bool():
                return FilterableValue(name, FieldKind.BOOLEAN, None, float(value))
            case str():
                return FilterableValue(name, FieldKind.TEXT, _short(value), None)
            case int() | float():
                try:
                    number = float(value)
                except OverflowError:
                    return FilterableValue(name, FieldKind.NUMBER, None, None)
                if math.isfinite(number):
                    return FilterableValue(name, FieldKind.NUMBER, None, number)
                raise InvalidDocument(
                    f"{self.where}: metadata {name!r} is {value}; numbers must be finite", param="metadata"
                )
            case _:
                raise InvalidDocument(
                    f"{self.where}: metadata {name!r} is a {type(value).__name__}, which JSON does not know",
                    param="metadata",
                )


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= MAX_TEXT else None
