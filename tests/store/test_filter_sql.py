"""Filters in SQL against the plainest reading of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from core.errors import InvalidFilter
from core.filters import parse_filter
from core.records import Collection, CollectionSettings, FieldKind
from store import Database, Views
from store.database import ReadSession
from store.filters.sql import documents_where, external_ids_where
from tests.store.filter_oracle import holds
from tests.store.library import Item, create, put

NUMBERS = [-1, 0, 1, 0.1, 2.5, 2**53, 2**53 + 1, 1e300]
TEXTS = ["", "a", "B", "b", "ä", "\uffff", "\U0001f600", "1", "true"]
FIELDS = ["text", "number", "flag", "mixed", "nested.field"]
SCALARS = st.sampled_from([*NUMBERS, *TEXTS, True, False])
OPERATORS = ("gt", "gte", "lt", "lte")


def floats(value: Any) -> Any:
    """Numbers as float64, which is what filters compare."""
    match value:
        case dict():
            return {key: floats(item) for key, item in value.items()}
        case list():
            return [floats(item) for item in value]
        case bool() | str() | None:
            return value
        case _:
            return float(value)


METADATA = st.fixed_dictionaries(
    {},
    optional={
        "text": st.sampled_from(TEXTS) | st.none(),
        "number": st.sampled_from(NUMBERS),
        "flag": st.booleans(),
        "mixed": st.lists(SCALARS | st.none(), max_size=3),
        "nested": st.fixed_dictionaries({}, optional={"field": SCALARS, "other": SCALARS}),
    },
)
KINDS = {
    "text": st.sampled_from(TEXTS),
    "number": st.sampled_from(NUMBERS),
    "flag": st.booleans(),
    "mixed": SCALARS,
    "nested.field": SCALARS,
}


@st.composite
def comparisons(draw: st.DrawFn) -> dict[str, Any]:
    field = draw(st.sampled_from(FIELDS))
    value = draw(KINDS[field])
    choices: list[Any] = [value, {"eq": value}, {"exists": draw(st.booleans())}]
    choices.append({"in": draw(st.lists(KINDS[field], min_size=1, max_size=4))})
    if not isinstance(value, bool):
        choices.append({draw(st.sampled_from([*OPERATORS])): value})
        choices.append({"gte": value, "lt": value})
    return {field: draw(st.sampled_from(choices))}


TREES = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"and": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"or": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Database, Collection]:
    database = Database.open(Path(tmp_path_factory.mktemp("filters")))
    kinds = CollectionSettings(fields={"text": FieldKind.TEXT, "number": FieldKind.NUMBER, "flag": FieldKind.BOOLEAN})
    collection = create(database, "books", kinds)
    # Every kind of every field is known, so that no random filter is refused.
    known = [True, 1, "a"]
    put(database, collection, Item(id="kinds", text="x", metadata={"mixed": known, "nested": {"field": known}}))
    return database, collection


@settings(max_examples=150, deadline=None)
@given(documents=st.lists(METADATA, min_size=1, max_size=6), trees=st.lists(TREES, min_size=1, max_size=5))
def test_filters_say_what_python_says(
    shared: tuple[Database, Collection], documents: list[dict[str, Any]], trees: list[dict[str, Any]]
) -> None:
    database, collection = shared
    items = {f"{i}": Item(id=f"{i}", text=f"{i}\nx", metadata=metadata) for i, metadata in enumerate(documents)}
    put(database, collection, *items.values(), delete=[f"{i}" for i in range(len(items), 6)])
    everything = items | {
        "kinds": Item(id="kinds", text="x", metadata={"mixed": [True, 1, "a"], "nested": {"field": [True, 1, "a"]}})
    }
    with Views(database).open("books") as view:
        for value in trees:
            tree = parse_filter(value)
            ids = view.filter(tree)
            assert (ids[1:] > ids[:-1]).all()
            found = [hit.document_id for hit in view.fetch(ids)]
            expected = [
                name for name, item in everything.items() for _ in item.lines() if holds(tree, floats(item.metadata))
            ]
            assert sorted(found) == sorted(expected), value
            among = [number + 1 for number in view.documents_of(ids[::2]).tolist()]  # some hold, some do not
            of_few = external_ids_where(view.session, collection.id, tree, among=among)
            names = {number: name for name, number in view.document_numbers(everything).items()}
            assert sorted(of_few) == sorted({names[one] for one in among if one in names} & set(expected)), value


@pytest.fixture
def shop(database: Database) -> Database:
    collection = create(
        database, "books", CollectionSettings(fields={"colour": FieldKind.TEXT, "released": FieldKind.DATE})
    )
    item = Item(
        id="a",
        text="x",
        metadata={
            "brand": "HP",
            "price": 5,
            "long": "y" * 1025,
            "huge": 10**400,
            "none": None,
            "maker": {"name": "K", "town": "L"},
        },
    )
    put(database, collection, item)
    put(database, create(database, "films"), Item(id="b", text="z", metadata={"director": "K", "brand": "HP"}))
    return database


def found(database: Database, value: dict[str, Any]) -> list[str]:
    with Views(database).open("books") as view:
        return [hit.document_id for hit in view.fetch(view.filter(parse_filter(value)))]


def test_a_filter_stays_in_its_collection(shop: Database) -> None:
    assert found(shop, {"brand": "HP"}) == ["a"]
    assert found(shop, {"not": {"brand": "HP"}}) == []


def test_a_declared_field_may_be_asked_for_before_any_document_has_it(shop: Database) -> None:
    assert found(shop, {"colour": "red"}) == []
    assert found(shop, {"not": {"colour": "red"}}) == ["a"]


def test_a_value_that_cannot_be_compared_still_exists(shop: Database) -> None:
    assert found(shop, {"long": {"exists": True}}) == ["a"]
    assert found(shop, {"huge": {"exists": True}}) == ["a"]
    assert found(shop, {"huge": {"gt": 0}}) == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"brnad": "HP"}, "unknown field 'brnad'; did you mean 'brand'"),
        (
            {"director": "K"},
            "unknown field 'director'; there are 'brand', 'colour', 'huge', 'long', 'maker.name', 'maker.town'",
        ),
        ({"nine": {"exists": True}}, "unknown field 'nine'; did you mean 'none'"),
        ({"maker": "K"}, "'maker' is an object, whose fields are compared one by one: 'maker.name', 'maker.town'"),
        ({"maker.nome": "K"}, "unknown field 'maker.nome'; did you mean 'maker.name'"),
        ({"maker": {"name": "K"}}, "unknown operator 'name'; a nested field is written with dots"),
        ({"price": {"every": {"lt": "x"}}}, "compares with a text"),
        ({"price": {"prefix": "1"}}, "compares with a text, but the values of this field are number; write it without"),
        ({"colour": {"within": {"lat": 1, "lon": 1, "distance": 1}}}, "holds no places; declare it as geo"),
        ({"released": {"gt": "yesterday"}}, "'yesterday' is not a date; write 2024, 2024-05"),
        ({"released": "2024-13-01"}, "'2024-13-01' is not a date: month must be in 1..12"),
        ({"released": {"in": [f"{y}" for y in range(1500, 1701)]}}, "201 days, months or years; at most 200"),
        ({"released": True}, "compares with a boolean, but the values of this field are date"),
        ({"\ud800": 1}, "unknown field '.ud800'"),
        ({"brand": 5}, "compares with a number, but the values of this field are text"),
        ({"price": "5"}, "compares with a text, but the values of this field are number"),
        ({"price": {"in": [5, "x"]}}, "compares with a text"),
        ({"price": True}, "compares with a boolean"),
        ({"brand": {"lt": 3}}, "compares with a number"),
        ({"brand": "y" * 1025}, "longer than 1024 characters"),
        ({"brand": "\ud800"}, "half a surrogate pair"),
        ({"or": [{"price": i} for i in range(201)]}, "201 comparisons; at most 200"),
        ({"or": [{"price": {"in": list(range(8000))}} for _ in range(4)]}, "32000 values; at most 30000"),
    ],
)
def test_filters_that_are_refused(shop: Database, value: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidFilter, match=message) as caught:
        found(shop, value)
    assert caught.value.param == "filter"


def test_an_empty_collection_has_no_fields(database: Database, collection: Collection) -> None:
    with pytest.raises(InvalidFilter, match="the documents of this collection have no metadata"):
        found(database, {"brand": "HP"})


def test_the_largest_filters_that_are_allowed_run(shop: Database) -> None:
    assert found(shop, {"or": [{"price": i} for i in range(200)]}) == ["a"]
    assert found(shop, {"or": [{"price": {"in": list(range(10_000))}} for _ in range(3)]}) == ["a"]
    deep: dict[str, Any] = {"price": 5}
    for _ in range(20):
        deep = {"not": deep}
    assert found(shop, deep) == ["a"]
    wide = {"and": [{"or": [{"price": i}, {"brand": "HP"}]} for i in range(100)]}
    assert found(shop, wide) == ["a"]


def test_a_nul_matches_nothing(shop: Database) -> None:
    assert found(shop, {"brand": "HP\0"}) == []


def test_a_field_that_was_only_ever_null_is_equal_to_nothing(shop: Database) -> None:
    assert found(shop, {"none": 5}) == []
    assert found(shop, {"none": {"every": {"gt": 5}}}) == []
    assert found(shop, {"not": {"none": 5}}) == ["a"]


def test_null_against_missing(database: Database, collection: Collection) -> None:
    states: dict[str, dict[str, Any]] = {
        "value": {"x": 1},
        "null": {"x": None},
        "both": {"x": [1, None]},
        "empty": {"x": []},
        "none": {"y": {}},
    }
    put(database, collection, *(Item(id=name, text="t", metadata=one) for name, one in states.items()))
    assert found(database, {"x": {"exists": True}}) == ["value", "both"]
    assert found(database, {"x": {"exists": False}}) == ["null", "empty", "none"]
    assert found(database, {"x": None}) == found(database, {"x": {"null": True}}) == ["null", "both"]
    assert found(database, {"x": {"null": False}}) == ["value", "empty", "none"]
    assert found(database, {"x": {"missing": True}}) == ["empty", "none"]
    assert found(database, {"x": {"missing": False}}) == ["value", "null", "both"]


def test_contradictions_are_no_errors(shop: Database) -> None:
    assert found(shop, {"price": {"gt": 5, "lt": 5}}) == []
    assert found(shop, {"and": [{"brand": "HP"}, {"not": {"brand": "HP"}}]}) == []
    assert found(shop, {"price": {"exists": True, "missing": True}}) == []
    assert found(shop, {"released": {"gte": "2025", "lt": "2024"}}) == []


def test_a_range_is_of_one_value(database: Database, collection: Collection) -> None:
    put(database, collection, Item(id="a", text="t", metadata={"x": [5, 25]}))
    assert found(database, {"x": {"gte": 10, "lt": 20}}) == []
    assert found(database, {"and": [{"x": {"gte": 10}}, {"x": {"lt": 20}}]}) == ["a"]
    assert found(database, {"x": {"every": {"gte": 5}}}) == ["a"]
    assert found(database, {"x": {"every": {"gt": 5}}}) == []


def test_days_are_periods_and_zones_count(database: Database) -> None:
    collection = create(database, "books", CollectionSettings(fields={"at": FieldKind.DATE}))
    stamps = ["2024-04-30T23:59:59.999999Z", "2024-05-01", "2024-05-01T23:00:00-02:00", "2024-05-02T01:30:00+02:00"]
    put(database, collection, *(Item(id=f"{i}", text="t", metadata={"at": at}) for i, at in enumerate(stamps)))
    assert found(database, {"at": "2024-05-01"}) == ["1", "3"]
    assert found(database, {"at": {"gt": "2024-05-01"}}) == ["2"]
    assert found(database, {"at": {"lte": "2024-05-01"}}) == ["0", "1", "3"]
    assert found(database, {"at": {"lt": "2024-05-01"}}) == ["0"]
    assert found(database, {"at": {"in": ["2024-04", "2024-05-02T03:00:00+02:00"]}}) == ["0", "2"]
    assert found(database, {"at": 1714521600001}) == []
    assert found(database, {"at": 1714521600000}) == ["1"]
    assert found(database, {"at": 2024}) == ["0", "1", "2", "3"]


def test_circles_and_boxes_across_the_antimeridian_and_the_pole(database: Database) -> None:
    collection = create(database, "books", CollectionSettings(fields={"at": FieldKind.GEO}))
    places = {"fiji": (-17.7, 178.0), "samoa": (-13.8, -171.8), "line": (0, 180), "north": (89.9, 10), "pole": (90, 0)}
    items = [Item(id=name, text="t", metadata={"at": {"lat": a, "lon": b}}) for name, (a, b) in places.items()]
    put(database, collection, *items)

    def within(lat: float, lon: float, distance: float | str) -> list[str]:
        return found(database, {"at": {"within": {"lat": lat, "lon": lon, "distance": distance}}})

    assert within(-15, -178, "800 km") == ["fiji", "samoa"]
    assert within(0, -180, 0) == within(0, 180, 0) == ["line"]
    assert within(89.9, -170, "23 km") == ["north", "pole"]
    assert within(0, 0, 20_015_115) == ["fiji", "samoa", "line", "north", "pole"]  # half the way round
    box = {"south": -20, "west": 170, "north": 1, "east": -170}
    assert found(database, {"at": {"box": box}}) == ["fiji", "samoa", "line"]
    assert found(database, {"at": {"box": {**box, "west": -180}}}) == ["samoa", "line"]
    assert found(database, {"at": {"box": {**box, "east": 180}}}) == ["fiji", "line"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("prefix(t, '')", 6), ("prefix(t, 'a')", 2), ("prefix(t, '\U0010ffff')", 2), ("prefix(t, '\ud7ff')", 1)],
)
def test_the_ends_of_the_alphabet(database: Database, collection: Collection, text: str, expected: int) -> None:
    texts = ["a", "ab", "b", "\U0010ffff", "\U0010ffffz", "\ud7ffq"]
    put(database, collection, *(Item(id=f"{i}", text="t", metadata={"t": one}) for i, one in enumerate(texts)))
    with Views(database).open("books") as view:
        assert len(view.filter(parse_filter(text))) == expected


@pytest.mark.parametrize(
    "text",
    ["t = 'x'", "t in ('x', 'y')", "prefix(t, 'x')", "t < 'x'", "n = 5", "1 < n <= 9", "every(n > 1)", "b = true",
     "d = 2024-05", "d > 2024-05-01", "within(g, 48, 11, 5 km)", "box(g, 1, 170, 2, -170)", "exists(t)", "t = null",
     "missing(n)"],
)  # fmt: skip
def test_every_comparison_is_answered_by_an_index_alone(
    database: Database, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = {"d": FieldKind.DATE, "g": FieldKind.GEO}
    collection = create(database, "books", CollectionSettings(fields=declared))
    metadata = {"t": ["x", None], "n": 5, "b": True, "d": "2024", "g": "48, 11"}
    put(database, collection, Item(id="a", text="x", metadata=metadata))
    asked: list[sa.Executable] = []
    execute = ReadSession.execute

    def watched(self: ReadSession, statement: sa.Executable, parameters: Any = None) -> sa.CursorResult[Any]:
        if self is session:  # a server that other tests share reads, too
            asked.append(statement)
        return execute(self, statement, parameters)

    with database.read() as session:
        monkeypatch.setattr(ReadSession, "execute", watched)
        documents_where(session, collection.id, parse_filter(text))
        monkeypatch.undo()
        plans = []
        for statement in asked:
            assert isinstance(statement, sa.Select)
            sql = str(statement.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}))
            if "document_field" in sql:
                plans += [row[-1] for row in session.execute(sa.text(f"EXPLAIN QUERY PLAN {sql}"))]
    assert plans
    assert all("SEARCH document_field USING COVERING INDEX" in plan for plan in plans if "document_field" in plan), (
        plans
    )
