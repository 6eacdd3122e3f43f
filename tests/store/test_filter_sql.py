"""Filters in SQL against the plainest reading of them."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidFilter
from core.filters import And, Exists, Filter, In, Not, Or, Range, parse_filter
from core.records import Collection, CollectionSettings, FieldKind
from store import Database, Views
from tests.store.library import Item, create, put

NUMBERS = [-1, 0, 1, 0.1, 2.5, 2**53, 2**53 + 1, 1e300]
TEXTS = ["", "a", "B", "b", "ä", "\uffff", "\U0001f600", "1", "true"]
FIELDS = ["text", "number", "flag", "mixed", "nested.field"]
SCALARS = st.sampled_from([*NUMBERS, *TEXTS, True, False])
OPERATORS = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}


def values_of(metadata: Mapping[str, Any], field: str) -> list[Any]:
    value: Any = metadata
    for key in field.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return [item for item in (value if isinstance(value, list) else [value]) if item is not None]


def same_kind(value: Any, other: Any) -> bool:
    kinds = [bool if isinstance(item, bool) else str if isinstance(item, str) else float for item in (value, other)]
    return kinds[0] is kinds[1]


def holds(tree: Filter, metadata: Mapping[str, Any]) -> bool:
    match tree:
        case And(parts=parts):
            return all(holds(part, metadata) for part in parts)
        case Or(parts=parts):
            return any(holds(part, metadata) for part in parts)
        case Not(part=part):
            return not holds(part, metadata)
        case Exists(field=field):
            return bool(values_of(metadata, field))
        case In(field=field, values=wanted):
            return any(same_kind(have, want) and have == want for have in values_of(metadata, field) for want in wanted)
        case Range(field=field, operator=name, bound=bound):
            # Python compares texts by code point, as core.filters promises.
            return any(
                OPERATORS[name](have, bound)
                for have in values_of(metadata, field)
                if same_kind(have, bound) and not isinstance(have, bool)
            )


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


@pytest.fixture
def shop(database: Database) -> Database:
    collection = create(database, "books", CollectionSettings(fields={"colour": FieldKind.TEXT}))
    item = Item(
        id="a", text="x", metadata={"brand": "HP", "price": 5, "long": "y" * 1025, "huge": 10**400, "none": None}
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
        ({"director": "K"}, "unknown field 'director'; there are 'brand', 'colour', 'huge', 'long', 'price'"),
        ({"none": {"exists": True}}, "unknown field 'none'"),
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
