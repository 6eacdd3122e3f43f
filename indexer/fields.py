"""Map a record's raw fields to a document: find the id, the text and the title; all other fields become metadata."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from posixpath import normpath
from typing import Any

from core.errors import InvalidControl, InvalidDocument, TooLarge
from core.prompts import TextControl
from core.records import Document
from indexer.controls import are_controls, resolved_controls
from indexer.records import Origin, Record, RecordError, Shape, Skipped
from store.filters.metadata import MAX_DEPTH

MAX_ID_CHARACTERS = 512
MAX_TITLE_CHARACTERS = 10_000
MAX_TEXT_CHARACTERS = 5_000_000
MAX_METADATA_BYTES = 256 * 1024  # as JSON
_VECTORS = ("vector", "vectors", "embedding", "embeddings")  # names under which other stores accept vectors
_CONTROLS = "controls"
_SHOWN = 140  # characters of a field's name in a message: it may be as long as a line
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
# A cell that is a JSON number as a whole. "007" and "1,5" are not, and stay text.
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,40})(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?")
_MAX_EXACT = 2**53  # a double represents every integer up to here exactly


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldMapping:
    """Names of the fields for id, text and title; None means the first of the usual names that the record has.

    An id or text field that is named here must exist; a title field may be missing.
    """

    id: str | None = None  # else "id", "_id"
    text: str | None = None  # else "text", "body", "content"
    title: str | None = None  # else "title", "name"


_USUAL = {"id": ("id", "_id"), "text": ("text", "body", "content"), "title": ("title", "name")}


def documents(
    items: Iterable[Record | RecordError | Skipped], mapping: FieldMapping | None = None
) -> Iterator[Document | RecordError | Skipped]:
    """Yield every record as a document, or as the error that prevents it; errors and notices pass through."""
    return (item for _, item in located_documents(items, mapping))


def located_documents(
    items: Iterable[Record | RecordError | Skipped], mapping: FieldMapping | None = None
) -> Iterator[tuple[Origin | None, Document | RecordError | Skipped]]:
    """Like `documents`, but each item comes with its origin."""
    for item in items:
        if not isinstance(item, Record):
            yield None if isinstance(item, Skipped) else item.origin, item
            continue
        # the reader made the fields of Shape.FILE itself: options for field names apply to the other shapes only
        chosen = FieldMapping() if item.shape is Shape.FILE or mapping is None else mapping
        try:
            yield item.origin, to_document(item.fields, chosen, numbers_as_text=item.shape is Shape.TABLE)
        except (InvalidDocument, InvalidControl, TooLarge) as error:
            id = _known_id(item, chosen)
            yield item.origin, RecordError(code=error.code, reason=error.message, origin=item.origin, id=id)


def to_document(
    fields: Mapping[str, Any], mapping: FieldMapping | None = None, *, numbers_as_text: bool = False
) -> Document:
    """Make a document of these fields. A nested "metadata" object and every field without a role become metadata.

    A field "controls" applies to the text if `are_controls` says so; otherwise it is metadata.

    With `numbers_as_text` (CSV), a metadata text that is a number as a whole becomes one: "12.50" does; "007", "1,5"
    and numbers over 2**53 do not. A record without an id gets one derived from its content: the first 32 hexadecimal
    digits of a SHA-256. Text may be empty where there is a title.

    Raises InvalidDocument (naming the field in `param`), InvalidControl or TooLarge. A field with a vector is refused
    rather than taken for metadata.
    """
    mapping = mapping or FieldMapping()
    _refuse_vectors(fields)
    names = {role: _field_name(fields, role, getattr(mapping, role)) for role in _USUAL}
    text = _text(fields, names["text"])
    title = _text(fields, names["title"])
    if not text.strip() and not title.strip():
        raise InvalidDocument(
            f"no text: neither {_sought('text', mapping.text)} nor {_sought('title', mapping.title)} "
            f"holds any; {_listed(fields)}{'' if mapping.text else _likely(fields, names['id'])}",
            param="text",
        )
    _check_length("text", text, MAX_TEXT_CHARACTERS)
    _check_length("title", title, MAX_TITLE_CHARACTERS)
    taken = {name for name in names.values() if name is not None}
    controls: tuple[TextControl, ...] = ()
    if are_controls(fields.get(_CONTROLS)):
        controls = resolved_controls(fields[_CONTROLS], text)
        taken.add(_CONTROLS)
    metadata = _metadata(fields, taken, numbers_as_text)
    encoded = check_metadata(metadata)
    id = _id(fields, names["id"])
    if id is None:
        content = json.dumps([title, text, encoded], ensure_ascii=False)
        id = hashlib.sha256(content.encode()).hexdigest()[:32]
    return Document(id=id, text=text, title=title, metadata=metadata, controls=controls)


def _refuse_vectors(fields: Mapping[str, Any]) -> None:
    for name in _VECTORS:
        value = fields.get(name)
        inner = value[0] if isinstance(value, list) and value and isinstance(value[0], list) else value
        if isinstance(inner, list) and inner and all(type(item) in (int, float) for item in inner):
            raise InvalidDocument(
                f"{name}: vectors cannot be given, documents are embedded by their collection's model; leave it out. "
                "To keep these numbers as data, put them into metadata under another name",
                param=name,
            )


def _field_name(fields: Mapping[str, Any], role: str, chosen: str | None) -> str | None:
    if chosen is None:
        return next((name for name in _USUAL[role] if fields.get(name) is not None), None)
    if chosen not in fields and role != "title":
        raise InvalidDocument(f"no field {chosen!r} for the {role}; {_listed(fields)}", param=chosen)
    return chosen


def _text(fields: Mapping[str, Any], name: str | None) -> str:
    value = None if name is None else fields.get(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InvalidDocument(f"{name}: must be a text, not {value!r:.60}", param=name)
    _check_finite(value, str(name))
    text = str(value)
    _check_storable(text, str(name))
    return text


def _id(fields: Mapping[str, Any], name: str | None) -> str | None:
    value = None if name is None else fields.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        # other programs write an integer column with gaps as floats, which lose digits of large numbers
        raise InvalidDocument(f"{name}: an id must be a text or an integer, not {value!r:.60}", param=name)
    id = str(value)
    if not id.strip():
        raise InvalidDocument(f"{name}: an id must not be white space only", param=name)
    if _leads_away(id):
        raise InvalidDocument(
            f"{name}: {id!r:.60} cannot be an id: in the path of a URL it has steps that clients take before they ask",
            param=name,
        )
    if len(id) > MAX_ID_CHARACTERS:
        raise InvalidDocument(
            f"{name}: the id {id[:40]!r}... has {len(id)} characters; at most {MAX_ID_CHARACTERS} are allowed",
            param=name,
        )
    _check_storable(id, str(name))
    return id


def _leads_away(id: str) -> bool:
    """Whether most clients would normalize the document's URL to one outside of the collection's documents."""
    return id in (".", "..") or not normpath(f"collection/documents/{id}").startswith("collection/")


def _metadata(fields: Mapping[str, Any], taken: set[str], numbers_as_text: bool) -> dict[str, Any]:
    nested = fields.get("metadata")
    merged = dict(nested) if isinstance(nested, Mapping) else {}
    for name, value in fields.items():
        if name in taken or (name == "metadata" and isinstance(value, Mapping)):
            continue
        if name in merged and merged[name] != value:
            raise InvalidDocument(
                f"{name!r:.{_SHOWN}}: given as a field and within metadata, and differently", param="metadata"
            )
        merged[name] = _number(value) if numbers_as_text and isinstance(value, str) else value
    return merged


def _number(text: str) -> str | int | float:
    if not _NUMBER.fullmatch(text):
        return text
    number = int(text) if text.lstrip("-").isdecimal() else float(text)
    return number if abs(number) <= _MAX_EXACT else text


def check_metadata(metadata: Mapping[str, Any]) -> str:
    """The metadata as canonical JSON.

    Raises InvalidDocument for a value that JSON or SQLite cannot represent or for nesting deeper than MAX_DEPTH, and
    TooLarge over MAX_METADATA_BYTES.
    """
    _check_json(metadata, "metadata", 0)
    encoded = json.dumps(metadata, ensure_ascii=False, allow_nan=False, sort_keys=True)
    size = len(encoded.encode())
    if size > MAX_METADATA_BYTES:
        raise TooLarge(f"metadata: {size} bytes as JSON; at most {MAX_METADATA_BYTES} are allowed", param="metadata")
    return encoded


def _check_json(value: Any, place: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidDocument(f"metadata: nested deeper than {MAX_DEPTH} levels", param="metadata")
    match value:
        case None | bool():
            pass
        case str():
            _check_storable(value, place)
        case int():
            if not -(2**63) <= value < 2**63:
                raise InvalidDocument(f"{place}: the integer does not fit into 64 bits; make it a text", param=place)
        case float():
            _check_finite(value, place)
        case list() | tuple():
            for index, item in enumerate(value):
                _check_json(item, f"{place}[{index}]", depth + 1)
        case Mapping():
            for key, item in value.items():
                if not isinstance(key, str):
                    raise InvalidDocument(f"{place}: keys must be texts, not {key!r:.60}", param=place)
                _check_storable(key, place)
                _check_json(item, f"{place}.{key:.{_SHOWN}}", depth + 1)
        case _:
            raise InvalidDocument(f"{place}: a {type(value).__name__} is not a JSON value", param=place)


def _check_finite(value: str | float, place: str) -> None:
    """Raises InvalidDocument for NaN and infinities, which JSON lacks; Python reads 1e999 as infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidDocument(f"{place}: must be a finite number, not {value}", param=place)


def _check_storable(text: str, place: str) -> None:
    if found := _UNSTORABLE.search(text):
        kind = "NUL" if found[0] == "\0" else "a lone surrogate"
        raise InvalidDocument(f"{place}: {kind} at character {found.start()}; remove it", param=place)


def _check_length(role: str, text: str, limit: int) -> None:
    if len(text) > limit:
        raise TooLarge(f"{role}: {len(text)} characters; at most {limit} are allowed: split the document", param=role)


def _known_id(record: Record, mapping: FieldMapping) -> str | None:
    """The record's id for an error message; None where it has no valid one."""
    try:
        return _id(record.fields, _field_name(record.fields, "id", mapping.id))
    except InvalidDocument:
        return None


def _sought(role: str, chosen: str | None) -> str:
    return repr(chosen) if chosen else " or ".join(map(repr, _USUAL[role]))


def _likely(fields: Mapping[str, Any], id_field: str | None) -> str:
    """A hint that names the field with the longest text; "" if no field has text."""
    texts = {name: value for name, value in fields.items() if isinstance(value, str) and value.strip()}
    texts.pop(id_field or "", None)
    if not texts:
        return ""
    longest = max(texts, key=lambda name: len(texts[name]))
    return f"; if {longest!r:.{_SHOWN}} holds the text, say so: --text-field, by HTTP text_field"


def _listed(fields: Mapping[str, Any]) -> str:
    names = [f"{name!r:.{_SHOWN}}" for name in list(fields)[:10]]
    listed = ", ".join([*names, *(["..."] if len(fields) > 10 else [])])
    return f"the fields are {listed}" if listed else "the record has no fields"
