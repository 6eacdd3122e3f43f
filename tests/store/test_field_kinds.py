"""What becomes of values in declared fields: as in Elasticsearch, they fit, are made to fit, or are refused."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from core.errors import InvalidDocument, InvalidSettings
from core.filters import parse_filter
from core.records import Collection, CollectionSettings, Document, FieldKind
from store import Database, Views, schema
from store.filters.metadata import MAX_TEXT, FilterableValue, filterable_values
from store.verify import verify
from tests.store.library import Item, create, put
from tests.store.versions import write_version

DECLARED = {
    "t": FieldKind.TEXT,
    "n": FieldKind.NUMBER,
    "b": FieldKind.BOOLEAN,
    "d": FieldKind.DATE,
    "g": FieldKind.GEO,
    "in.d": FieldKind.DATE,
}
NOON = 1714564800000000.0  # 2024-05-01, 12:00 UTC, in microseconds


def values(metadata: dict[str, Any], **options: Any) -> set[FilterableValue]:
    return filterable_values(Document(id="a", text="x", metadata=metadata), DECLARED, **options)


@pytest.mark.parametrize(
    ("name", "value", "text", "number", "longitude"),
    [
        ("t", "a", "a", None, None),
        ("t", 5, "5", None, None),
        ("t", 5.5, "5.5", None, None),
        ("t", True, "true", None, None),
        ("t", "y" * (MAX_TEXT + 1), None, None, None),
        ("n", 5, None, 5.0, None),
        ("n", "5.50", None, 5.5, None),
        ("n", "007", None, 7.0, None),
        ("n", "-1e3", None, -1000.0, None),
        ("n", 10**400, None, None, None),
        ("n", "1e999", None, None, None),
        ("b", True, None, 1.0, None),
        ("b", "false", None, 0.0, None),
        ("d", "2024-05-01T14:00:00+02:00", None, NOON, None),
        ("d", 1714564800000, None, NOON, None),
        ("d", "2024-05-01", None, NOON - 12 * 3600e6, None),
        ("d", 2024, None, 1704067200e6, None),
        ("g", {"lat": 48, "lon": 11.5}, None, 48.0, 11.5),
        ("g", "48, 11.5", None, 48.0, 11.5),
    ],
)
def test_values_that_fit_or_are_made_to(
    name: str, value: Any, text: str | None, number: float | None, longitude: float | None
) -> None:
    expected = FilterableValue(name, DECLARED[name], text, number, longitude)
    assert values({name: value}) == {expected}
    assert values({name: [value, [value]]}) == {expected}
    assert values({name: [None, value]}) == {expected, FilterableValue(name, FieldKind.NULL, None, None)}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"t": {"x": 1}}, "metadata 't' is .*declared as text: a text, a number or a boolean is allowed"),
        ({"n": "cheap"}, "metadata 'n' is 'cheap', and the field is declared as number: a number, or a text such as"),
        ({"n": ""}, "declared as number"),
        ({"n": True}, "declared as number"),
        ({"n": "1,5"}, "declared as number"),
        ({"n": "0x10"}, "declared as number"),
        ({"b": 1}, "declared as boolean: true or false is allowed"),
        ({"b": "yes"}, "declared as boolean"),
        ({"d": "May 1"}, "declared as date: 'May 1' is not a date; write 2024, 2024-05"),
        ({"d": True}, "declared as date"),
        ({"d": {"year": 2024}}, "declared as date: a date is a text or a number"),
        ({"in": {"d": "x"}}, "metadata 'in.d' is 'x'"),
        ({"in": [{"d": "2024"}, {"d": "x"}]}, "metadata 'in.d' is 'x'"),
        ({"g": {"lat": 91, "lon": 0}}, "declared as geo: lat must be -90 to 90"),
        ({"g": {"lat": 1}}, "declared as geo: a place is"),
        ({"g": [11.5, 48]}, "metadata 'g' is 11.5, .*a place is"),
    ],
)
def test_values_that_do_not_fit(metadata: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidDocument, match=message) as caught:
        values(metadata)
    assert caught.value.param == "metadata"
    kept = values(metadata, keep_misfits=True)
    assert any(value[2:] == (None, None, None) for value in kept)


def test_a_misfit_is_not_committed(database: Database) -> None:
    collection = create(database, "books", CollectionSettings(fields=DECLARED))
    with pytest.raises(InvalidDocument, match="declared as number"):
        put(database, collection, Item(id="a", text="x", metadata={"n": "cheap"}))
    with database.read() as session:
        assert session.execute(schema.document.select()).all() == []


def test_null_cannot_be_declared(database: Database) -> None:
    with pytest.raises(InvalidSettings, match="must be one of text, number, boolean, date, geo"):
        create(database, "books", CollectionSettings(fields={"x": FieldKind.NULL}))


def test_undeclared_values_are_found_as_they_are(database: Database, collection: Collection) -> None:
    metadata = {"d": "2024-05-01", "g": {"lat": 1, "lon": 2}, "n": "5"}
    assert filterable_values(Document(id="a", text="x", metadata=metadata)) == {
        FilterableValue("d", FieldKind.TEXT, "2024-05-01", None),
        FilterableValue("g.lat", FieldKind.NUMBER, None, 1.0),
        FilterableValue("g.lon", FieldKind.NUMBER, None, 2.0),
        FilterableValue("n", FieldKind.TEXT, "5", None),
    }


def test_an_upgrade_reads_values_as_its_revision_did(tmp_path: Path) -> None:
    """Written out: what the program makes of such values today is another matter."""
    data = tmp_path / "data"
    metadata = {
        "year": ["1851", " -2.5e1", "long ago", True, {"a": 1}, None],
        "x": [None, True, "y", "z" * 1025, 10**400, {"y": 7}],
        "n" * 257: 1,
    }
    write_version(data, "0005")
    with closing(sqlite3.connect(data / "salience.db")) as old, old:
        old.execute("UPDATE document SET metadata = ? WHERE id = 1", [json.dumps(metadata)])
    database = Database.open(data)
    field, value = schema.field.c, schema.document_field.c
    with database.read() as session:
        found = session.execute(
            sa.select(field.name, field.kind, value.text, value.number)
            .select_from(schema.field.join(schema.document_field))
            .where(value.document_id == 1)
        ).all()
    database.close()
    assert {tuple(row) for row in found} == {
        ("year", "number", None, 1851.0), ("year", "number", None, -25.0), ("year", "number", None, None),
        ("year", "null", None, None), ("x", "null", None, None), ("x", "boolean", None, 1.0), ("x", "text", "y", None),
        ("x", "text", None, None), ("x", "number", None, None), ("x.y", "number", None, 7.0),
    }  # fmt: skip


def test_an_upgrade_finds_the_nulls_and_holds_declared_kinds(tmp_path: Path) -> None:
    """Documents of a version that knew neither: "year" is declared as a number."""
    data = tmp_path / "data"
    write_version(data, "0003")
    with closing(sqlite3.connect(data / "salience.db")) as old, old:
        metadata = {1: {"year": "1851", "x": [None, "y"]}, 2: {"year": "long ago"}}
        for id_, one in metadata.items():
            old.execute("UPDATE document SET metadata = ? WHERE id = ?", [json.dumps(one), id_])
        old.execute("INSERT INTO field VALUES (1, 1, 'year', 'text'), (2, 1, 'x', 'text'), (3, 1, 'year', 'number')")
        values = [(1, 1, 1, "1851", None), (2, 1, 2, "y", None), (3, 2, 1, "long ago", None)]
        old.executemany("INSERT INTO document_field VALUES (?, ?, ?, ?, ?)", values)
    database = Database.open(data)
    with Views(database).open("books") as view:
        for text, ids in {
            "year = 1851": [1], "exists(year)": [1, 2], "year > 0": [1], "x = null": [1], "x = 'y'": [1],
            "missing(x)": [2],
        }.items():  # fmt: skip
            assert view.filter(parse_filter(text)).tolist() == ids, text
    database.close()
    assert verify(data).findings == ()
