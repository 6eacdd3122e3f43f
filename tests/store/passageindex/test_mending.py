"""repair, of collections that an engine holds: counts are made anew, and what the engine lacks goes there again."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from store import Database, Views
from store.passageindex.milvus import Milvus
from store.passageindex.protocol import PassageIndex
from store.passageindex.record import IndexRecord, list_records
from store.repair import repair
from store.verify import verify
from tests.milvus import MilvusServer
from tests.store.damage import change
from tests.store.passageindex.bringing import bring
from tests.store.passageindex.brought import record_of, recorded, stock_brought
from tests.store.passageindex.plain import PlainIndex
from tests.store.passageindex.test_verifying import HELD, WRONG
from tests.store.repair.mending import Model, broken_model
from tests.store.repair.test_pages import alter_unnoticed
from tests.store.stocked import contents

COUNTED = "the passage index of 'books': counted anew"
ANEW = f"{COUNTED}, and brought to Milvus anew"


@pytest.fixture
def index(data: Path) -> PlainIndex:
    return PlainIndex(data.parent / "engine.db")


def mended(directory: Path, index: PassageIndex | None = None) -> list[str]:
    """What was done; afterwards all is sound."""
    done = repair(directory, remake=Model(directory), index=index)
    assert (done.left.findings, done.failed) == ((), ())
    assert verify(directory, index=index).ok
    return list(done.done)


def records(directory: Path) -> list[IndexRecord]:
    database = Database.open(directory)
    with database.read() as session:
        found = list_records(session)
    database.close()
    return found


def counts(directory: Path) -> tuple[dict[int | None, tuple[int, float]], set[object]]:
    """Of the two collections, and of terms, in any order."""
    with closing(sqlite3.connect(directory / "salience.db")) as connection:
        terms = set(connection.execute("SELECT term_id, passages FROM term_count"))
    found = {one.generation_id: (one.passages, one.length) for one in records(directory)}
    return {generation: found[generation] for generation in (1, 2)}, terms


def check_searched(directory: Path, index: PlainIndex) -> None:
    """Once the engine has what there is, it is searched as before, and holds nothing else."""
    database = Database.open(directory)
    bring(database, index)
    assert verify(directory, index=index).findings == ()
    with database.read() as session:
        assert index.names() == {record.name for record in list_records(session)}
    with Views(database, index).open("books") as view:
        assert len(view.matching({"whale": 1.0}, 100).ids) == 17 * 2 + 1
        assert len(view.matching({"replaced": 1.0}, 100).ids) == 1
    database.close()


def test_what_is_sound_is_left_alone(data: Path, index: PlainIndex) -> None:
    before = contents(data)
    assert mended(data, index) == []
    assert contents(data) == before


ALSO = {"a row too many": "plain", "others' terms": "plain"}


@pytest.mark.parametrize("what", WRONG)
def test_whatever_is_wrong_in_the_database_is_put_right(data: Path, index: PlainIndex, what: str) -> None:
    before, name = counts(data), recorded(data, "books").name
    change(data, WRONG[what][0])
    dry = repair(data, remake=broken_model, dry_run=True)
    done = mended(data)
    assert list(dry.done) == done
    assert done[0].startswith(f"the passage index of {ALSO.get(what, 'books')!r}: counted anew")
    assert counts(data) == before
    if what == "a name":
        index.drop(name)  # nobody can know what it was
    check_searched(data, index)


@pytest.mark.parametrize("what", HELD)
def test_what_the_engine_has_otherwise_goes_there_anew(data: Path, index: PlainIndex, what: str) -> None:
    collection, spoil, _ = HELD[what]
    before = recorded(data, collection).name
    index.put(before, spoil(next(index.entries(before))))
    assert mended(data, index) == [f"the passage index of {collection!r}: counted anew, and brought to Milvus anew"]
    after = recorded(data, collection)
    assert (after.name != before, after.seq, after.removed_to) == (True, 0, 0)
    check_searched(data, index)


def test_what_the_engine_lacks_goes_there_anew(data: Path, index: PlainIndex) -> None:
    name = recorded(data, "books").name
    index.remove(name, np.array(sorted(index.held(name))[:1], np.int64))
    assert mended(data, index) == [ANEW]
    assert name in index.names()
    check_searched(data, index)


def test_milvus_itself(tmp_path: Path, milvus: MilvusServer) -> None:
    """It gives back every bit of what it was given."""
    data, index = tmp_path / "data", Milvus(milvus.uri)
    stock_brought(data, index)
    done = verify(data, index=index)
    assert (done.findings, done.checked["passages in Milvus"]) == ((), 37 + 10)
    assert done.notes[0].startswith("passages of 'books' that are gone, and still in Milvus: 2;")
    _, spoil, problem = HELD["a vector"]
    for name in ("books", "songs"):
        elsewhere = recorded(data, name).name
        index.put(elsewhere, spoil(next(index.entries(elsewhere))))
    assert [problem in finding.problem for finding in verify(data, index=index).findings] == [True, True]
    assert mended(data, index) == [ANEW, ANEW.replace("books", "songs")]
    with closing(Database.open(data)) as database:
        bring(database, index)
        done = verify(data, index=index)
        assert (done.findings, done.notes) == ((), ())
        for name in ("books", "songs"):
            index.drop(record_of(database, name).name)
    assert [finding.problem for finding in verify(data, index=index).findings] == ["Milvus has lost all of it"] * 2
    index.close()


def test_nothing_is_counted_by_damaged_embeddings(data: Path, index: PlainIndex) -> None:
    change(data, "UPDATE embedding SET sparse = x'ffffffff0000803f' WHERE id = 5", sealed=False)
    change(data, "UPDATE passage_index SET passages = passages + 1 WHERE id = 1", sealed=False)
    assert repair(data, remake=broken_model, dry_run=True).failed == ()
    done = repair(data, remake=broken_model)
    assert "cannot be embedded anew: no such model here" in done.failed[0]
    assert done.failed[1:] == ("the passage index of 'books': it can be mended once its embeddings are",)
    assert {finding.check for finding in done.left.findings} == {"embeddings", "passage index"}
    assert mended(data)[-1] == COUNTED
    check_searched(data, index)


def test_a_log_that_is_written_anew_begins_anew_with_the_engine(data: Path, index: PlainIndex) -> None:
    before = recorded(data, "books").name
    change(data, "DELETE FROM change WHERE seq = 3", sealed=False)
    (line,) = mended(data, index)
    assert line.startswith("the change log of 'books': written anew")
    after = recorded(data, "books")
    assert (after.name != before, after.seq, after.removed_to) == (True, 0, 0)
    assert [record.name for record in records(data) if record.generation_id is None] == [before]
    check_searched(data, index)


DISPUTED = {
    "seq = 7": "passage_index 1: begun anew",
    "removed_to = removed_to + 1": "passage_index 1: begun anew",
    "name = 'salience_0123456789abcdef0123456789abcdef'": "passage_index 1: begun anew",
    "name = 'sal'": "passage_index 1: begun anew",
    "generation_id = 99": "passage_index 1: its generation_id is 1 again",
    "generation_id = 3": "the passage index of 'plain': counted anew",
    "passages = 3": COUNTED,
    "length = 3.5": COUNTED,
}


@pytest.mark.parametrize("damage", DISPUTED)
def test_where_the_row_and_its_index_differ(data: Path, index: PlainIndex, damage: str) -> None:
    before = recorded(data, "books").name
    alter_unnoticed(data, "passage_index_copy", f"UPDATE passage_index SET {damage} WHERE id = 1")
    done = mended(data, index)
    assert any(DISPUTED[damage] in line for line in done), done
    assert "name" not in damage or before in {record.name for record in records(data) if record.generation_id is None}
    check_searched(data, index)


def test_the_name_of_what_is_to_be_dropped(data: Path, index: PlainIndex) -> None:
    """The engine is asked for nothing that can be no name."""
    good = "salience_0123456789abcdef0123456789abcdef"
    index.create(good, 3, learned=False)
    insert = "INSERT INTO passage_index (name, seq, removed_to, passages, length) VALUES (?, 0, 0, 0, 0.0)"
    change(data, insert, good, sealed=False)
    alter_unnoticed(data, "passage_index_copy", "UPDATE passage_index SET name = 'sal' WHERE generation_id IS NULL")
    mended(data, index)
    assert [record.name for record in records(data) if record.generation_id is None] == [good]
    check_searched(data, index)


def test_an_orphan_is_dropped_from_the_engine_and_its_generation_goes_there_anew(data: Path, index: PlainIndex) -> None:
    before = recorded(data, "books").name
    change(data, "UPDATE passage_index SET generation_id = 99 WHERE id = 1", sealed=False)
    done = mended(data, index)
    assert done == ["1 rows of passage_index: cut off, they pointed at a generation that is gone", COUNTED]
    assert recorded(data, "books").name != before
    check_searched(data, index)


def test_a_collection_that_is_lost_is_dropped_from_the_engine(data: Path, index: PlainIndex) -> None:
    lost, kept = recorded(data, "books").name, recorded(data, "songs").name
    change(data, "DELETE FROM collection WHERE id = 1", sealed=False)
    done = mended(data, index)
    assert any(line.startswith("1 rows of generation: removed") for line in done), done
    assert {record.name: record.generation_id for record in records(data)} == {lost: None, kept: 2}
    with closing(Database.open(data)) as database:
        bring(database, index)
    assert index.names() == {kept}
    assert [record.name for record in records(data)] == [kept]
