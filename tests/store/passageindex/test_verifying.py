"""verify, of collections that an engine holds: what is counted, what is said of the engine, and what it has."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from store import Database
from store.catalog import get_collection
from store.passageindex.protocol import Entries, SparseRows
from store.passageindex.record import begin_anew
from store.verify import verify
from tests.store.damage import change, problems
from tests.store.library import Item, random_item
from tests.store.passageindex.bringing import bring
from tests.store.passageindex.brought import record_of, recorded, stock_brought
from tests.store.passageindex.plain import PlainIndex
from tests.store.stocked import contents, store
from tests.store.test_verify import flip, is_damaged


@pytest.fixture
def index(data: Path) -> PlainIndex:
    return PlainIndex(data.parent / "engine.db")


def test_a_sound_one_has_no_findings(data: Path, index: PlainIndex) -> None:
    done = verify(data, index=index)
    assert problems(done) == []
    assert done.checked["passage indexes"] == 2
    assert done.checked["passages in Milvus"] == 37 + 10
    assert done.notes == (
        "passages of 'books' that are gone, and still in Milvus: 2; no search shows them, and they go by and by",
    )
    assert not any("Milvus" in line for line in done.unchecked)
    database = Database.open(data)
    bring(database, index)
    database.close()
    assert verify(data, index=index).notes == ()


def test_what_an_engine_holds_is_not_looked_at_where_there_is_none_or_it_is_down(data: Path, index: PlainIndex) -> None:
    done = verify(data)
    assert done.ok
    assert done.unchecked[-1] == "what Milvus holds of 'books', 'songs': nobody said where that is"
    index.down = True
    done = verify(data, index=index)
    assert done.ok
    assert done.unchecked[-2:] == (
        "what Milvus holds of 'books': the plain index is down",
        "what Milvus holds of 'songs': the plain index is down",
    )


COUNTED = "term_id = (SELECT MIN(term_id) FROM term_count)"  # terms have their ids in no order
WRONG = {  # in the database, and found without an engine
    "a count of passages": ("UPDATE passage_index SET passages = passages + 1 WHERE id = 1", "passages are counted"),
    "a sum of lengths": ("UPDATE passage_index SET length = length - 1 WHERE id = 1", "are counted to have"),
    "a term's count": (f"UPDATE term_count SET passages = passages + 1 WHERE {COUNTED}", "the passages of 1 terms"),
    "a term's lost count": (f"DELETE FROM term_count WHERE {COUNTED}", "the passages of 1 terms are not counted"),
    "a count of 0": (
        "INSERT INTO term_count SELECT id, 0 FROM term WHERE id NOT IN (SELECT term_id FROM term_count) "
        "AND collection_id = 1",
        "the passages of 1 terms are not counted",
    ),
    "a count that is none": (f"UPDATE term_count SET passages = 'x' WHERE {COUNTED}", "is no whole number"),
    "others' terms": (
        "INSERT INTO term_count SELECT id, 1 FROM term WHERE collection_id = 3", "it is no collection that is held els",
    ),
    "a lost row": ("UPDATE passage_index SET generation_id = NULL WHERE id = 1", "and no row says what Milvus holds"),
    "a row too many": (
        "INSERT INTO passage_index (generation_id, name, seq, removed_to, passages, length) "
        "VALUES (3, 'salience_0123456789abcdef0123456789abcdef', 0, 0, 1, 2.0)",
        "and it has another index",
    ),
    "a segment": (
        "INSERT INTO segment (generation_id, name, state, seq, as_of, rows, bytes, sha256, retired_at) "
        "VALUES (1, 'x', 'retired', 1, 1, 1, 1, zeroblob(32), 0.0)",
        "has 1 segments, and the index milvus",
    ),
    "a change to come": ("UPDATE passage_index SET seq = 999 WHERE id = 1", "are brought up to change 999; the newest"),
    "a departure to come": ("UPDATE passage_index SET removed_to = 999 WHERE id = 1", "are removed up to change 999"),
    "a change before all": ("UPDATE passage_index SET seq = -1 WHERE id = 1", "are brought up to change -1"),
    "a name": ("UPDATE passage_index SET name = 'others' WHERE id = 1", "'others', which is none of ours"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_is_found(data: Path, what: str) -> None:
    statement, expected = WRONG[what]
    change(data, statement)
    found = problems(verify(data))
    assert any(expected in problem for problem in found), found
    assert all(problem.startswith("passage index: ") for problem in found)


def _first_vector(entries: Entries) -> Entries:
    vectors = entries.vectors.copy()
    vectors[0, 0] = np.nextafter(vectors[0, 0], np.float32(2))
    return replace(entries, vectors=vectors)


def _ids(rows: SparseRows | None) -> SparseRows:
    assert rows is not None
    return replace(rows, ids=rows.ids + np.int32(1))


def _least(rows: SparseRows | None) -> SparseRows:
    assert rows is not None
    return replace(rows, weights=np.nextafter(rows.weights, np.float32(9)))


HELD: dict[str, tuple[str, Callable[[Entries], Entries], str]] = {
    "a vector": ("books", _first_vector, "the vector that Milvus holds of passage"),
    "terms": ("books", lambda held: replace(held, bm25=_ids(held.bm25)), "the terms that Milvus holds of passage"),
    "tokens": ("songs", lambda held: replace(held, learned=_ids(held.learned)), "the learned weights that Milvus"),
    "weights": ("songs", lambda held: replace(held, learned=_least(held.learned)), "the learned weights that Mil"),
}  # fmt: skip


@pytest.mark.parametrize("what", HELD)
def test_what_the_engine_has_otherwise_is_found(data: Path, index: PlainIndex, what: str) -> None:
    collection, spoil, expected = HELD[what]
    name = recorded(data, collection).name
    index.put(name, spoil(next(index.entries(name))))
    (problem,) = problems(verify(data, index=index))
    assert problem.startswith(f"passage index: the passage index of {collection!r}: {expected}")
    assert verify(data).ok


def test_weights_of_terms_may_be_of_another_time(data: Path, index: PlainIndex) -> None:
    """They depend on how long passages were on average when they were brought."""
    name = recorded(data, "books").name
    held = next(index.entries(name))
    index.put(name, replace(held, bm25=replace(held.bm25, weights=held.bm25.weights * np.float32(0.9))))
    assert problems(verify(data, index=index)) == []


def test_what_the_engine_lacks_is_found(data: Path, index: PlainIndex) -> None:
    name = recorded(data, "books").name
    some = sorted(index.held(name))[7:9]
    index.remove(name, np.array(some, np.int64))
    (problem,) = problems(verify(data, index=index))
    assert problem.endswith(f"Milvus lacks passage {some[0]} and 1 more: searches miss them")
    index.drop(name)
    (problem,) = problems(verify(data, index=index))
    assert problem.endswith("of 'books': Milvus has lost all of it")


def test_vectors_of_another_length_are_found(data: Path, index: PlainIndex) -> None:
    name = recorded(data, "books").name
    held = next(index.entries(name))
    index.drop(name)
    index.create(name, 3, learned=False)
    index.put(name, replace(held, vectors=held.vectors[:, :3].copy()))
    (problem,) = problems(verify(data, index=index))
    assert "Milvus holds vectors of shape (" in problem


class Overtaken(PlainIndex):
    """Something happens just before it is read."""

    meanwhile: Callable[[str], None]

    def entries(self, name: str) -> Iterator[Entries]:
        self.meanwhile(name)
        return super().entries(name)


@pytest.mark.parametrize("dropped", [True, False])
def test_what_is_brought_anew_meanwhile_is_no_damage(data: Path, dropped: bool) -> None:
    database, index = Database.open(data), Overtaken(data.parent / "engine.db")

    def begin(name: str) -> None:
        record = next(record_of(database, of) for of in ("books", "songs") if record_of(database, of).name == name)
        with database.write() as session:
            begin_anew(session, record)
        if dropped:
            index.drop(name)
        else:
            index.remove(name, np.array(sorted(index.held(name)), np.int64))

    index.meanwhile = begin
    assert problems(verify(data, index=index)) == []
    assert index.names() != {record_of(database, of).name for of in ("books", "songs")}
    database.close()


def test_verifying_while_it_is_written_to_and_brought(data: Path, index: PlainIndex) -> None:
    database = Database.open(data)
    with database.read() as session:
        books = get_collection(session, "books")
    numbers = iter(range(10_000))

    def write(what: str, done: int, total: int | None) -> None:
        i = next(numbers)
        if i % 4 == 0:
            store(database, books, [Item(id=f"new-{i}", text=f"written meanwhile {i}")], delete=[f"d{i // 4}"])
            bring(database, index)

    done = verify(data, index=index, on_progress=write)
    assert problems(done) == []
    assert next(numbers) > 40, "it did write"
    assert record_of(database, "books").removed_to > 0
    database.close()


def test_counts_are_kept_whatever_is_written(tmp_path: Path) -> None:
    """verify counts anew: the oracle of what commits add and take away."""
    index = PlainIndex()
    stock_brought(tmp_path / "data", index)
    database = Database.open(tmp_path / "data")
    with database.read() as session:
        books = get_collection(session, "books")
    chance = random.Random(3)
    for number in range(25):
        ids = chance.sample([f"d{i}" for i in range(20)], 6)
        kept = [random_item(chance, id_) for id_ in ids[: chance.randint(0, 4)]]
        store(database, books, kept, delete=ids[4 : 4 + chance.randint(0, 2)])
        if number % 5 == 0:
            bring(database, index)
            assert problems(verify(tmp_path / "data", index=index)) == []
    database.close()


def test_no_flip_of_a_bit_in_these_tables_goes_unnoticed(sound: Path, tmp_path: Path) -> None:
    good, expected = (sound / "data" / "salience.db").read_bytes(), contents(sound / "data")
    chance, found = random.Random(6), 0
    for place in chance.sample(_places(sound / "data", good), 60):
        bit = place * 8 + chance.randrange(8)
        flip(good, bit, tmp_path)
        if is_damaged(tmp_path):
            found += 1
        else:
            assert contents(tmp_path) == expected, f"bit {bit} changed what is read, and verify says nothing"
    assert found >= 50


def _places(directory: Path, good: bytes) -> list[int]:
    """Every byte of the tables' and indexes' pages that holds something."""
    with closing(sqlite3.connect(directory / "salience.db")) as connection:
        roots = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE tbl_name IN ('passage_index', 'term_count')"
        ).fetchall()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    return [place for (root,) in roots for place in range((root - 1) * size, root * size) if good[place]]
