"""Random filters over random metadata find what the oracle finds.

pytest tests/store/test_filter_oracle.py --thorough        10,000 filters over 50,000 documents, some minutes
"""

from __future__ import annotations

import operator
import random
from collections import Counter
from functools import cache, reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.filters import And, Filter, In, Not, Or, filter_json, filter_text, parse_filter
from core.records import BoolArray, CollectionSettings, FieldKind, Int64Array
from store import Database, Views
from tests.store.filter_oracle import DECLARED, holds, leaf_holds, random_filter, random_metadata, values_at
from tests.store.library import Item, create, put

SETTINGS = CollectionSettings(fields={name: FieldKind(kind) for name, kind in DECLARED.items()})


def stocked(directory: Path, metadata: list[dict[str, Any]]) -> Database:
    database = Database.open(directory)
    collection = create(database, "books", SETTINGS)
    other = create(database, "other", SETTINGS)
    put(database, other, *(Item(id=f"{i}", text="x", metadata=one) for i, one in enumerate(metadata[:50])))
    items = [Item(id=f"{i}", text="x\ny" if i % 7 == 0 else "x", metadata=one) for i, one in enumerate(metadata)]
    for start in range(0, len(items), 5000):
        put(database, collection, *items[start : start + 5000])
    return database


class Oracle:
    """Which documents satisfy a tree: every leaf is tried on all that documents have at its field, once for equals."""

    def __init__(self, metadata: list[dict[str, Any]]) -> None:
        self._metadata = metadata
        self._values = cache(self._read_values)

    def satisfy(self, tree: Filter) -> BoolArray:
        match tree:
            case And(parts=parts):
                return reduce(operator.and_, map(self.satisfy, parts))
            case Or(parts=parts):
                return reduce(operator.or_, map(self.satisfy, parts))
            case Not(part=part):
                return ~self.satisfy(part)
            case _:
                found, which = self._values(tree.field)
                return np.array([leaf_holds(tree, one) for one in found])[which]

    def _read_values(self, field: str) -> tuple[list[list[Any]], Int64Array]:
        """What documents have at the field, and which of it each has."""
        numbers: dict[str, int] = {}
        found: list[list[Any]] = []
        which = np.empty(len(self._metadata), dtype=np.int64)
        for i, one in enumerate(self._metadata):
            values = values_at(one, field.split("."))
            name = repr(values)  # as values, True and 1.0 are equal
            if name not in numbers:
                numbers[name] = len(found)
                found.append(values)
            which[i] = numbers[name]
        return found, which


def test_random_filters_find_what_the_oracle_finds(tmp_path: Path, thorough: bool) -> None:
    documents, filters = (50_000, 10_000) if thorough else (3_000, 400)
    dice = random.Random(20)
    metadata = [random_metadata(dice) for _ in range(documents)]
    database, oracle = stocked(tmp_path / "data", metadata), Oracle(metadata)
    sizes: Counter[str] = Counter()
    with Views(database).open("books") as view:
        everything = view.fetch(view.filter(parse_filter("not brand = 'no such brand'")))
        document_of = np.zeros(max(hit.id for hit in everything) + 1, dtype=np.int64)
        document_of[[hit.id for hit in everything]] = [int(hit.document_id) for hit in everything]
        assert len(everything) == documents + (documents + 6) // 7
        for number in range(filters):
            asked = random_filter(dice)
            tree = parse_filter(asked)
            expected = np.flatnonzero(oracle.satisfy(tree))
            passages = np.sort(np.concatenate([expected, expected[expected % 7 == 0]]))
            forms = [tree] if number % 20 else [tree, parse_filter(filter_text(tree)), parse_filter(filter_json(tree))]
            for form in forms:
                ids = view.filter(form)
                assert (ids[1:] > ids[:-1]).all()
                np.testing.assert_array_equal(np.sort(document_of[ids]), passages, err_msg=repr(asked))
            sizes["none" if not len(expected) else "all" if len(expected) == documents else "some"] += 1
    assert sizes["some"] > filters * 0.7  # the filters say something
    assert sizes["none"] > 0
    database.close()


def test_the_quick_oracle_is_the_plain_one() -> None:
    dice = random.Random(5)
    metadata = [random_metadata(dice) for _ in range(60)]
    oracle = Oracle(metadata)
    for _ in range(200):
        tree = parse_filter(random_filter(dice))
        assert oracle.satisfy(tree).tolist() == [holds(tree, one) for one in metadata]


@pytest.mark.parametrize("values", [1, 9_999])
def test_long_lists(tmp_path: Path, values: int) -> None:
    dice = random.Random(3)
    metadata = [random_metadata(dice) for _ in range(200)]
    database, oracle = stocked(tmp_path / "data", metadata), Oracle(metadata)
    tree = In(field="price", values=tuple(float(i) for i in range(values)))
    with Views(database).open("books") as view:
        found = {int(hit.document_id) for hit in view.fetch(view.filter(tree))}
    assert found == set(np.flatnonzero(oracle.satisfy(tree)))
    database.close()
