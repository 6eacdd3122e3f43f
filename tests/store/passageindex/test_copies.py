"""Backups, restored directories and collections that are gone: nobody writes to what another one has in the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import StorageCorrupt
from store import Database, View, Views, catalog
from store.backup import backup, restore
from store.figures import figures
from store.indexnames import is_name
from store.passageindex.record import get_record, list_records
from store.segments.upkeep import compact, maintain
from store.statistics import SegmentStatistics, room, statistics
from store.verify import verify
from tests.store.damage import change
from tests.store.library import Item, vector_of
from tests.store.passageindex.bringing import bring
from tests.store.passageindex.brought import record_of
from tests.store.passageindex.plain import PlainIndex
from tests.store.repair.test_pages import alter_unnoticed
from tests.store.stocked import store


@pytest.fixture
def index(data: Path) -> PlainIndex:
    return PlainIndex(data.parent / "engine.db")


def names(directory: Path) -> list[tuple[int | None, str, int, int]]:
    database = Database.open(directory)
    with database.read() as session:
        found = [(one.generation_id, one.name, one.seq, one.removed_to) for one in list_records(session)]
    database.close()
    return found


def found(view: View) -> list[object]:
    dense, sparse = view.nearest(vector_of("sea"), 50), view.matching({"whale": 1.0, "1": 2.0}, 50)
    assert len(dense.ids) > len(sparse.ids) > 0
    return [dense.ids.tolist(), dense.scores.tolist(), sparse.ids.tolist(), sparse.scores.tolist()]


def test_each_copy_has_an_index_of_its_own(data: Path, tmp_path: Path, index: PlainIndex) -> None:
    database = Database.open(data)
    with database.write() as session:
        catalog.delete_collection(session, "songs")
    backup(data, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    restore(data, tmp_path / "again")
    own = [names(place) for place in (data, tmp_path / "backup", tmp_path / "restored", tmp_path / "again")]
    assert [generation for generation, *_ in own[0]] == [1, None], "the one that is to be dropped"
    assert own[0][0][2] > 0
    for others in own[1:]:
        assert [(generation, seq, removed) for generation, _, seq, removed in others] == [(1, 0, 0)]
    every = [name for rows in own for _, name, *_ in rows]
    assert len(set(every)) == len(every) == 5
    assert all(map(is_name, every))
    restored = Database.open(tmp_path / "restored")
    bring(restored, index)
    bring(database, index)
    assert index.names() == {own[0][0][1], own[2][0][1]}
    with Views(database, index).open("books") as one, Views(restored, index).open("books") as other:
        assert found(one) == found(other)
    store(database, one.collection, [], delete=["d5"])
    bring(database, index)
    assert verify(tmp_path / "restored", index=index).findings == (), "what goes here stays there"
    database.close()
    restored.close()


def test_a_damaged_table_gives_no_copy(data: Path, tmp_path: Path) -> None:
    """Names that are written anew would be the second witness of what is damaged beside them."""
    alter_unnoticed(data, "passage_index_copy", "UPDATE passage_index SET passages = 3, length = 5.5 WHERE id = 1")
    with pytest.raises(StorageCorrupt, match=r"passage_index_copy"):
        backup(data, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_a_wrong_count_gives_no_copy(data: Path, tmp_path: Path) -> None:
    change(data, "UPDATE term_count SET passages = 9 WHERE term_id = (SELECT MIN(term_id) FROM term_count)")
    with pytest.raises(StorageCorrupt, match=r"the passages of 1 terms are not counted as they are"):
        backup(data, tmp_path / "backup")


def test_what_a_deleted_collection_had_outlives_it_until_the_engine_dropped_it(data: Path, index: PlainIndex) -> None:
    database = Database.open(data)
    gone, kept = record_of(database, "books"), record_of(database, "songs")
    with database.write() as session:
        catalog.delete_collection(session, "books")
    with database.read() as session:
        assert [(one.generation_id, one.name) for one in list_records(session)] == [(None, gone.name), (2, kept.name)]
    assert verify(data, index=index).findings == ()
    bring(database, index)
    assert index.names() == {kept.name}
    with database.read() as session:
        assert [one.name for one in list_records(session)] == [kept.name]
    assert verify(data, index=index).findings == ()
    database.close()


def test_figures_and_statistics(data: Path, index: PlainIndex) -> None:
    """Of a collection elsewhere no passage is in a segment, none is a tombstone, and the tail is what came since."""
    database = Database.open(data)
    for _ in range(2):
        for books, plain, songs in (figures(database).collections, statistics(data).collections):
            assert (books.passages, books.unsealed, books.elsewhere) == (36, 1, 35)
            assert (plain.passages, plain.unsealed, plain.elsewhere) == (1, 1, 0)
            assert (songs.passages, songs.unsealed, songs.elsewhere) == (10, 0, 10)
        assert [one.tombstones for one in figures(database).collections] == [0, 0, 0]
        assert room(data).segments["books"] == SegmentStatistics()
        with database.read() as session:
            everything = catalog.list_collections(session)
        assert [compact(database, one) for one in everything if one.name != "plain"] == [False, False]
        assert not maintain(database)
    with database.read() as session:
        books_now = catalog.get_collection(session, "books")
        record = get_record(session, books_now.active.id)
    store(database, books_now, [Item(id="d4", text="whale 4\nanother line")], delete=["late"])
    books = figures(database).collections[0]
    assert (books.passages, books.unsealed, books.elsewhere, books.segments) == (35, 2, 33, 0)
    assert record.seq < books.seq
    bring(database, index)
    for books in (figures(database).collections[0], statistics(data).collections[0]):
        assert (books.passages, books.unsealed, books.elsewhere) == (35, 0, 35)
    database.close()
