"""Mapping of raw fields to documents."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidDocument, TooLarge
from core.records import Document
from indexer.duplicates import _RECENT, Duplicates
from indexer.fields import MAX_METADATA_BYTES, MAX_TEXT_CHARACTERS, FieldMapping, documents, to_document
from indexer.records import Origin, Record, RecordError, Shape, Skipped


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"id": "a", "text": "t", "title": "n"}, Document(id="a", text="t", title="n")),
        ({"_id": 7, "body": "t", "name": "n"}, Document(id="7", text="t", title="n")),
        ({"id": "1.5", "content": "t", "color": "red"}, Document(id="1.5", text="t", metadata={"color": "red"})),
        ({"id": "../a", "text": "t"}, Document(id="../a", text="t")),
        ({"id": "...", "text": "t"}, Document(id="...", text="t")),
        (
            {"id": "a", "text": "t", "body": "b", "metadata": {"x": [1]}, "y": None},
            Document(id="a", text="t", metadata={"x": [1], "body": "b", "y": None}),
        ),
        ({"id": "a", "text": None, "body": "b"}, Document(id="a", text="b", metadata={"text": None})),
        ({"id": "a", "title": "only"}, Document(id="a", text="", title="only")),
        ({"id": "a", "text": "t", "title": 1917}, Document(id="a", text="t", title="1917")),
        ({"id": "a", "text": "t", "metadata": "none"}, Document(id="a", text="t", metadata={"metadata": "none"})),
    ],
)
def test_usual_names(fields: dict[str, Any], expected: Document) -> None:
    assert to_document(fields) == expected


def test_chosen_names() -> None:
    mapping = FieldMapping(id="sku", text="description", title="product")
    fields = {"sku": 5, "description": "d", "product": "p", "id": "other", "text": "x"}
    assert to_document(fields, mapping) == Document(id="5", text="d", title="p", metadata={"id": "other", "text": "x"})
    assert to_document({"sku": 5, "description": "d"}, mapping).title == ""


@pytest.mark.parametrize(
    ("fields", "mapping", "message"),
    [
        ({"id": "a"}, {}, "no text: neither 'text' or 'body' or 'content' nor 'title' or 'name' holds any"),
        ({"id": "a", "text": "  ", "title": "\n"}, {}, "no text"),
        ({"id": "a", "text": 1 == 1}, {}, "text: must be a text, not True"),
        ({"id": "a", "text": ["x"]}, {}, "text: must be a text"),
        ({"id": ["a"], "text": "t"}, {}, "id: an id must be a text or an integer"),
        ({"id": 5.0, "text": "t"}, {}, r"id: an id must be a text or an integer, not 5\.0"),
        ({"id": "a", "sku": 1.5, "text": "t"}, {"id": "sku"}, "sku: an id must be a text or an integer"),
        ({"id": ".", "text": "t"}, {}, r"id: '\.' cannot be an id"),
        ({"_id": "..", "text": "t"}, {}, r"_id: '\.\.' cannot be an id"),
        ({"id": "x/../..", "text": "t"}, {}, r"id: 'x/\.\./\.\.' cannot be an id"),
        ({"id": "../../other", "text": "t"}, {}, r"id: '\.\./\.\./other' cannot be an id"),
        ({"id": " ", "text": "t"}, {}, "white space only"),
        ({"id": "x" * 513, "text": "t"}, {}, "has 513 characters; at most 512"),
        ({"id": "a", "text": "t\ud800"}, {}, "text: a lone surrogate at character 1"),
        ({"id": "a", "text": "t", "title": "\0"}, {}, "title: NUL at character 0"),
        ({"id": "a\0", "text": "t"}, {}, "id: NUL at character 1"),
        ({"id": "a", "text": "t", "x": {"y": ["\udc00"]}}, {}, r"metadata\.x\.y\[0\]: a lone surrogate"),
        ({"id": "a", "text": "t", "x": float("inf")}, {}, r"metadata\.x: must be a finite number"),
        ({"id": math.inf, "text": "t"}, {}, "id: an id must be a text or an integer, not inf"),
        ({"id": "a", "text": math.nan}, {}, "text: must be a finite number, not nan"),
        ({"id": "a", "text": "t", "title": -math.inf}, {}, "title: must be a finite number, not -inf"),
        ({"id": "a", "text": "t", "x": {1}}, {}, r"metadata\.x: a set is not a JSON value"),
        ({"id": "a", "text": "t", "x": 2**64}, {}, "does not fit into 64 bits"),
        ({"id": "a", "text": "t", "x": {3: 4}}, {}, "keys must be texts"),
        ({"id": "a", "text": "t", "x": 1, "metadata": {"x": 2}}, {}, "'x': given as a field and within metadata"),
        ({"id": "a", "text": "t"}, {"text": "txt"}, "no field 'txt' for the text; the fields are 'id', 'text'"),
        ({"id": "a", "text": "t"}, {"id": "key"}, "no field 'key' for the id"),
        ({}, {}, "'name' holds any; the record has no fields$"),
        ({}, {"text": "txt"}, "no field 'txt' for the text; the record has no fields$"),
        ({"id": "a"}, {}, "'name' holds any; the fields are 'id'$"),
    ],
)
def test_what_cannot_become_a_document(fields: dict[str, Any], mapping: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidDocument, match=message):
        to_document(fields, FieldMapping(**mapping))


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "t", "k" * 100_000: math.inf},
        {"text": "t", "x": {"k" * 100_000: {"k" * 100_000: "\0"}}},
        {"text": "t", "k" * 100_000: 1, "metadata": {"k" * 100_000: 2}},
        {"k" * 100_000: "t", "l" * 100_000: 1},
    ],
)
def test_a_message_repeats_no_name_that_is_as_long_as_a_line(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidDocument) as refused:
        to_document(fields)
    assert "k" * 100 in refused.value.message
    assert len(refused.value.message) + len(refused.value.param or "") < 1000


def test_limits() -> None:
    with pytest.raises(TooLarge, match="at most 5000000"):
        to_document({"text": "x" * (MAX_TEXT_CHARACTERS + 1)})
    with pytest.raises(TooLarge, match="title"):
        to_document({"text": "x", "title": "x" * 10_001})
    with pytest.raises(TooLarge, match="metadata: 262156 bytes"):
        to_document({"text": "x", "note": "x" * MAX_METADATA_BYTES})


def test_metadata_nested_without_end() -> None:
    loop: dict[str, Any] = {}
    loop["again"] = loop
    with pytest.raises(InvalidDocument, match="nested deeper than 20 levels"):
        to_document({"text": "x", "loop": loop})


def test_a_derived_id_depends_on_the_content_and_on_nothing_else() -> None:
    first = to_document({"text": "t", "a": 1, "b": 2})
    assert len(first.id) == 32
    assert to_document({"b": 2, "a": 1, "text": "t"}).id == first.id
    assert to_document({"body": "t", "metadata": {"a": 1, "b": 2}}).id == first.id
    others: list[dict[str, Any]] = [
        {"text": "t"},
        {"text": "t", "a": 1, "b": 3},
        {"text": "u", "a": 1, "b": 2},
        {"title": "t", "a": 1, "b": 2},
    ]
    assert len({to_document(other).id for other in others} | {first.id}) == 5


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("12", 12), ("-3", -3), ("12.50", 12.5), ("1e3", 1000.0), ("0", 0), ("0.5", 0.5), ("007", "007"),
        ("1,5", "1,5"), ("9" * 5000, "9" * 5000),
        ("12 kg", "12 kg"), (" 12", " 12"), ("+1", "+1"), ("1e999", "1e999"), ("9007199254740993", "9007199254740993"),
        ("nan", "nan"), ("true", "true"), ("١٢", "١٢"), ("1.", "1."), (".5", ".5"), ("-", "-"), ("0x10", "0x10"),
    ],
)  # fmt: skip
def test_cells_that_are_numbers(cell: str, value: object) -> None:
    document = to_document({"id": cell[:99], "text": cell, "cell": cell}, numbers_as_text=True)
    assert document == Document(id=cell[:99], text=cell, metadata={"cell": value})
    assert type(document.metadata["cell"]) is type(value)
    assert to_document({"text": "t", "cell": cell}).metadata["cell"] == cell


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_that_becomes_one_is_the_same_number(number: float) -> None:
    found = to_document({"text": "t", "x": json.dumps(number)}, numbers_as_text=True).metadata["x"]
    assert found == (number if abs(number) <= 2**53 else json.dumps(number))


def test_records_become_documents_and_errors_with_their_place() -> None:
    place = Origin(path="a.jsonl", line=3)
    error = RecordError(code="unreadable_file", reason="r")
    skipped = Skipped(path="x", reason="r")
    file = Record(
        fields={"id": "f", "title": "f", "text": "t", "metadata": {"path": "f"}}, origin=place, shape=Shape.FILE
    )
    items: list[Record | RecordError | Skipped] = [
        Record(fields={"id": 7, "words": ""}, origin=place),
        Record(fields={"key": 7, "words": "w"}, origin=place),
        Record(fields={"id": 8, "words": "7", "n": "7"}, origin=place, shape=Shape.TABLE),
        error,
        file,
        skipped,
    ]
    bad, worse, good, *rest = documents(items, FieldMapping(text="words", id="id"))
    assert isinstance(bad, RecordError)
    assert (bad.id, bad.origin, bad.code) == ("7", place, "invalid_document")
    assert str(bad).startswith("a.jsonl, line 3 (id '7'): no text")
    assert isinstance(worse, RecordError)
    assert worse.id is None
    assert good == Document(id="8", text="7", metadata={"n": 7})
    assert rest == [error, Document(id="f", title="f", text="t", metadata={"path": "f"}), skipped]


def test_duplicates_across_the_settled_and_the_recent() -> None:
    known = Duplicates()
    ids = [f"id {i}" for i in range(2 * _RECENT + 10)]
    assert not any(known.seen(id) for id in ids)
    assert all(known.seen(id) for id in (ids[0], ids[_RECENT], ids[-1]))
    assert not known.seen("another")


@pytest.mark.parametrize(
    ("fields", "mapping", "hint"),
    [
        ({"id": "a lamp's number", "kind": "lamp", "blurb": "Warm light."}, {}, "if 'blurb' holds the text"),
        ({"sku": "a lamp's number", "blurb": "Warm."}, {"id": "sku"}, "if 'blurb' holds the text"),
        ({"id": "a", "price": 5, "blurb": " ", "tags": ["lamp"]}, {}, None),
        ({"id": "a", "blurb": "Warm light.", "details": ""}, {"text": "details"}, None),
    ],
)
def test_where_the_text_may_be_is_said(fields: dict[str, Any], mapping: dict[str, str], hint: str | None) -> None:
    with pytest.raises(InvalidDocument, match="no text") as raised:
        to_document(fields, FieldMapping(**mapping))
    assert ("--text-field" in raised.value.message) == (hint is not None)
    assert (hint or "") in raised.value.message
