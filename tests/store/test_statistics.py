"""stats: counts are those of the store, and the sizes of the kinds sum up to the file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from core.errors import CollectionNotFound
from store import Database, catalog
from store.changes import current_seq
from store.maintenance import owning
from store.migrate import SCHEMA_VERSION
from store.processes import register
from store.reindex.dropping import drop_deleted
from store.segments.rows import active_segments
from store.segments.upkeep import compact
from store.statistics import SegmentStatistics, collection_statistics, room, statistics
from tests.store import library
from tests.store.stocked import stock
from tests.store.versions import write_version


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("stocked") / "data"
    stock(directory)
    return directory


def test_counts_are_those_of_the_store(stocked: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(stocked, tmp_path / "data"))
    found = statistics(data)
    assert [one.name for one in found.collections] == ["books", "logs", "songs"]
    database = Database.open(data)
    with database.read() as session:
        for one in found.collections:
            collection = catalog.get_collection(session, one.name)
            assert catalog.counts(session, collection.id) == catalog.Counts(
                documents=one.documents, passages=one.passages
            )
            assert one.seq == current_seq(session, collection.active.id)
            assert one.vector_bytes == one.embeddings * library.DIMENSION * 4
    database.close()
    books, logs, songs = found.collections
    assert (books.learned_bytes, songs.learned_bytes) == (0, songs.embeddings * 2 * 8)
    assert songs.posting_bytes == songs.embeddings * 5 * 8  # "ein Lied vom Meer 0"
    assert found.seq == max(one.seq for one in found.collections) == logs.seq
    assert found.jobs == {"failed": 1, "running": 1, "waiting": 1}


def test_the_kinds_sum_up_to_the_file(stocked: Path) -> None:
    found = statistics(stocked)
    assert found.bytes_by_kind is not None
    assert sum(found.bytes_by_kind.values()) + found.free_bytes == found.file_bytes
    assert found.file_bytes == (stocked / "salience.db").stat().st_size
    assert min(found.bytes_by_kind.values()) > 0


def test_segments_tombstones_and_the_tail(stocked: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(stocked, tmp_path / "data"))
    database = Database.open(data)
    with database.read() as session:
        books = catalog.get_collection(session, "books")
        (row,) = active_segments(session, books.active.id)
    library.put(database, books, library.Item(id="late", text="one\ntwo"), delete=["book-7"])
    found = statistics(data)
    one = found.collections[0]
    assert one.segments == SegmentStatistics(files=1, rows=row.rows, tombstones=9, bytes=row.seal.size)
    assert (one.unsealed, one.passages) == (2, row.rows - 9 + 2), "three deleted documents of three passages"
    assert room(data).segments == {held.name: held.segments for held in found.collections}
    names = {path.name for path in (data / "segments").iterdir()}
    (data / "segments" / "0.segment.unfinished").write_bytes(b"1234")
    files = statistics(data).segment_files
    assert (files.retired, files.strays, files.stray_bytes) == (len(names) - 2, 1, 4)
    assert files.bytes == sum(path.stat().st_size for path in (data / "segments").iterdir())
    assert compact(database, books)
    after = statistics(data).collections[0]
    assert (after.segments.files, after.segments.rows, after.segments.tombstones) == (1, after.passages, 0)
    assert after.unsealed == 0
    database.close()


def test_who_is_at_work_and_what_was_left_behind(stocked: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(stocked, tmp_path / "data"))
    found = statistics(data)
    assert (found.processes, found.leftovers, found.maintained_by) == ((), (), None)
    assert found.waiting_documents == 2, "what the failed job gave up does not wait"
    (data / "backups" / ".x.unfinished-1").mkdir(parents=True)
    (data / "backups" / ".x.unfinished-1" / "salience.db").write_bytes(b"123")
    with register(data, kind="worker", version="1", schema=SCHEMA_VERSION), owning(data):
        found = statistics(data)
    assert [process.kind for process in found.processes] == ["worker"]
    assert [(left.path.name, left.bytes) for left in found.leftovers] == [(".x.unfinished-1", 3)]
    assert str(found.maintained_by).startswith(f"{os.getpid()} on ")
    assert statistics(data).maintained_by is None


def test_large_texts_are_documents_large_vectors_embeddings(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    collection = library.create(database)
    library.put(database, collection, library.Item(id="1", text="words " * 200_000))
    found = statistics(tmp_path)
    assert found.bytes_by_kind is not None
    assert 1_200_000 <= found.bytes_by_kind["documents"] <= 1_300_000
    assert found.wal_bytes == (tmp_path / "salience.db-wal").stat().st_size > 1_200_000
    with database.write() as session:
        catalog.delete_collection(session, "books")
    drop_deleted(database)
    after = statistics(tmp_path)
    assert after.free_bytes > 1_150_000
    assert (after.collections, after.seq) == ((), 0)
    database.close()


@pytest.mark.parametrize("name", ["nothing", "\udcff"])
def test_a_collection_that_is_not_there_has_no_statistics(stocked: Path, name: str) -> None:
    with pytest.raises(CollectionNotFound):
        collection_statistics(stocked, name)


def test_an_older_schema_has_statistics_too(tmp_path: Path) -> None:
    write_version(tmp_path / "data", "0001")
    found = statistics(tmp_path / "data")
    (books,) = found.collections
    assert (found.version, books.documents, books.seq, found.jobs) == ("0001", 2, 2, {})
    assert (books.segments, books.unsealed) == (SegmentStatistics(), 2)
    assert books.vector_bytes == np.dtype(np.float32).itemsize * library.DIMENSION * 2
