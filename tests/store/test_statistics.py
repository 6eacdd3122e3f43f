"""stats: counts are those of the store, and the sizes of the kinds sum up to the file."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from store import Database, catalog
from store.commit import current_seq
from store.statistics import statistics
from tests.store import library
from tests.store.stocked import stock
from tests.store.test_migrations import write_version


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("stocked") / "data"
    stock(directory)
    return directory


def test_counts_are_those_of_the_store(stocked: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(stocked, tmp_path / "data"))
    found = statistics(data)
    assert [one.name for one in found.collections] == ["books", "songs"]
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
    books, songs = found.collections
    assert (books.learned_bytes, songs.learned_bytes) == (0, songs.embeddings * 2 * 8)
    assert songs.posting_bytes == songs.embeddings * 5 * 8  # "ein Lied vom Meer 0"
    assert found.seq == max(books.seq, songs.seq)
    assert found.jobs == {"failed": 1, "running": 1, "waiting": 1}


def test_the_kinds_sum_up_to_the_file(stocked: Path) -> None:
    found = statistics(stocked)
    assert found.bytes_by_kind is not None
    assert sum(found.bytes_by_kind.values()) + found.free_bytes == found.file_bytes
    assert found.file_bytes == (stocked / "salience.db").stat().st_size
    assert min(found.bytes_by_kind.values()) > 0


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
    after = statistics(tmp_path)
    assert after.free_bytes > 1_150_000
    assert (after.collections, after.seq) == ((), 0)
    database.close()


def test_an_older_schema_has_statistics_too(tmp_path: Path) -> None:
    write_version(tmp_path / "data", "0001")
    found = statistics(tmp_path / "data")
    (books,) = found.collections
    assert (found.version, books.documents, books.seq, found.jobs) == ("0001", 2, 2, {})
    assert books.vector_bytes == np.dtype(np.float32).itemsize * library.DIMENSION * 2
