"""Verify documents: their checksums, the spans and hashes of their passages, and their filter values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from typing import Any

from core.errors import InvalidControl, InvalidDocument
from core.records import CollectionSettings, Document, Passage
from store import schema
from store.checksum import covered_columns, row_checksum
from store.controls import unpack_controls
from store.filters.metadata import filterable_values
from store.settings import parse_settings
from store.verify.reading import Finding, Reading

_SHA_BYTES = 32


class _Mend(Enum):
    """What repairs a document."""

    FIELDS = auto()  # rewriting its filter values from its metadata
    DOCUMENT = auto()  # deriving everything anew from its text
    NOTHING = auto()


def check_documents(reading: Reading) -> Iterator[Finding]:
    """Check everything in one pass over documents, passages and field values, all in the order of the documents."""
    settings = {id_: parse_settings(text) for id_, text in reading.rows("SELECT id, settings FROM collection")}
    names = dict(reading.rows("SELECT id, name FROM collection"))
    covered = covered_columns(schema.document)
    passages = _Grouped(
        reading.rows('SELECT document_id, start, "end", fresh, sha FROM passage ORDER BY document_id, id')
    )
    values = _Grouped(
        reading.rows(
            "SELECT value.document_id, field.name, field.kind, value.text, value.number, value.longitude, "
            "field.collection_id "
            "FROM document_field AS value JOIN field ON field.id = value.field_id ORDER BY value.document_id"
        )
    )
    total = reading.count("document")
    statement = f"SELECT id, collection_id, checksum, {', '.join(covered)} FROM document ORDER BY id"
    for done, (id_, collection, checksum, *columns) in enumerate(reading.rows(statement), start=1):
        row = dict(zip(covered, columns, strict=True))
        own_passages, own_values = passages.of(id_), values.of(id_)
        where = f"document {row['external_id']!r:.140} of {names.get(collection, collection)!r}"
        if row_checksum(*columns) != checksum:
            problem = "its title, text, metadata, controls, language or hash is not what was written"
            yield Finding(check="documents", where=where, problem=problem)
        else:
            for problem, mend in _problems(reading, row, collection, settings[collection], own_passages, own_values):
                yield Finding(
                    check="documents",
                    where=where,
                    problem=problem,
                    collection=names.get(collection),
                    documents=() if mend is _Mend.NOTHING else (row["external_id"],),
                    fields=mend is _Mend.FIELDS,
                )
        reading.tick("documents", done, total)
    reading.checked["passages"], reading.checked["field values"] = passages.taken, values.taken


def _problems(
    reading: Reading,
    row: dict[str, Any],
    collection: int,
    settings: CollectionSettings,
    passages: Sequence[tuple[Any, ...]],
    values: Sequence[tuple[Any, ...]],
) -> Iterator[tuple[str, _Mend]]:
    """The problems of a document whose checksum is right, each with what would repair it."""
    spans = [(Passage(start=start, end=end, fresh=fresh), sha) for start, end, fresh, sha in passages]
    wrong = list(_span_problems(spans, len(row["text"])))
    try:
        document = Document(
            id=row["external_id"],
            title=row["title"],
            text=row["text"],
            metadata=json.loads(row["metadata"]),
            controls=unpack_controls(row["controls"]),
        )
        expected = filterable_values(document, settings.fields, keep_misfits=True)
    except (ValueError, RecursionError, AttributeError, InvalidDocument) as error:
        yield f"its metadata is not what Salience stores ({error})", _Mend.NOTHING
        return
    except InvalidControl as error:
        yield f"its controls are not what Salience stores ({error})", _Mend.NOTHING
        return
    found = [value[:-1] for value in values]
    if len(found) != len(expected) or set(found) != expected or any(value[-1] != collection for value in values):
        yield "the values that filters compare are not those of its metadata", _Mend.FIELDS
    mend = _Mend.DOCUMENT
    if not row["content_sha"]:
        wrong.append("is to be made anew: a repair was interrupted")
    elif reading.recheck is not None:
        problem = reading.recheck(settings, document, row["language"], row["content_sha"], ())
        if problem is not None:  # the text was damaged before its checksum was computed
            mend = _Mend.NOTHING
        elif not wrong:
            problem = reading.recheck(settings, document, row["language"], row["content_sha"], spans)
        wrong += [] if problem is None else [problem]
    yield from ((problem, mend) for problem in wrong)


def _span_problems(spans: Sequence[tuple[Passage, bytes]], length: int) -> Iterator[str]:
    """Passages must lie within the text and follow each other."""
    if not spans:
        yield "has no passage"
    before = Passage(start=0, end=0, fresh=0)
    for number, (span, sha) in enumerate(spans, start=1):
        if not 0 <= span.start <= span.fresh <= span.end <= length:
            yield f"passage {number}: its span {span.start}, {span.fresh}, {span.end} is not within 0 to {length}"
        elif span.start < before.start or span.end < before.end:
            yield f"passage {number}: begins or ends before the one that it follows"
        if len(sha) != _SHA_BYTES:
            yield f"passage {number}: its hash has {len(sha)} bytes"
        before = span


class _Grouped:
    """Rows sorted by their first column, taken group by group."""

    def __init__(self, rows: Iterator[tuple[Any, ...]]) -> None:
        self._rows = rows
        self._next = next(rows, None)
        self.taken = 0

    def of(self, key: int) -> list[tuple[Any, ...]]:
        """The rows of `key`, without the key. Keys must be asked for in ascending order; rows of others are skipped."""
        group = []
        while self._next is not None and self._next[0] <= key:
            if self._next[0] == key:
                group.append(self._next[1:])
                self.taken += 1
            self._next = next(self._rows, None)
        return group
