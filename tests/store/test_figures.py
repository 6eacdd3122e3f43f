"""What /metrics counts and what `stats` counts are the same, though each asks in its own way."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.naming import base_name
from core.records import Collection
from store import Database, schema
from store.backup import backup, last_backup
from store.catalog import delete_collection, get_collection
from store.directory import LAST_BACKUP
from store.figures import figures
from store.segments.sealing import seal
from store.segments.upkeep import compact
from store.statistics import room, statistics
from tests.store.library import Item, create, put
from tests.store.passageindex.bringing import bring
from tests.store.passageindex.brought import stock_brought
from tests.store.passageindex.plain import PlainIndex
from tests.store.stocked import stock


def same(database: Database) -> dict[str, tuple[int, ...]]:
    """Passages, segments, tombstones, unsealed and elsewhere of each collection, which both must count alike."""
    seen, told = figures(database), statistics(database.directory)
    by_figures = {
        one.name: (one.passages, one.segments, one.tombstones, one.unsealed, one.elsewhere, one.seq)
        for one in seen.collections
    }
    by_statistics = {
        one.name: (one.passages, one.segments.files, one.segments.tombstones, one.unsealed, one.elsewhere, one.seq)
        for one in told.collections
    }
    assert by_figures == by_statistics
    assert (dict(seen.jobs), seen.waiting_documents) == (told.jobs, told.waiting_documents)
    return {name: found[:5] for name, found in by_figures.items()}


@pytest.mark.parametrize("held_elsewhere", [False, True])
def test_both_count_a_collection_that_was_lived_in_alike(tmp_path: Path, held_elsewhere: bool) -> None:
    """Documents that were put, replaced, updated and deleted; sealed, merged, and behind the newest seal."""
    index = PlainIndex(tmp_path / "engine.db")
    if held_elsewhere:
        stock_brought(tmp_path / "data", index)
    else:
        stock(tmp_path / "data")
    database = Database.open(tmp_path / "data")
    empty = create(database, "empty")
    counted = [same(database)["books"]]
    with database.read() as session:
        books = get_collection(session, "books")
    first, *others = documents(database, books)
    put(database, books, Item(id="late", text="one\ntwo"), Item(id=first, text="another"), delete=others[:2])
    counted.append(same(database)["books"])
    put(database, books, delete=["late"])  # it was never sealed
    counted.append(same(database)["books"])
    if held_elsewhere:
        bring(database, index)
    else:
        seal(database, books.active.id)
    counted.append(same(database)["books"])
    compact(database, books)
    counted.append(same(database)["books"])
    assert len(set(counted)) >= 4, "each step shows"
    put(database, empty, Item(id="a", text="x"))
    put(database, empty, delete=["a"])
    assert same(database)["empty"] == (0, 0, 0, 0, 0)
    with database.write() as session:
        delete_collection(session, "books")
    assert "books" not in {base_name(name) for name in same(database)}, "though its rows are still there"
    assert statistics(database.directory).deleted == 1
    assert set(room(database.directory).segments) == set(same(database))
    database.close()


def test_the_last_backup_is_noted_and_no_part_of_it(tmp_path: Path) -> None:
    stock(tmp_path / "data")
    database, mark = Database.open(tmp_path / "data"), tmp_path / "data" / LAST_BACKUP
    assert figures(database).backup_at == 0
    begun = time.time()
    backup(tmp_path / "data", tmp_path / "first")
    assert begun - 1 <= figures(database).backup_at <= time.time() + 1
    os.utime(mark, (1, 1))
    assert figures(database).backup_at == 1
    with mark.open("rb") as opened:
        backup(tmp_path / "data", tmp_path / "second")
        assert os.fstat(opened.fileno()).st_nlink == 1, "nobody saw the directory without it"
    assert figures(database).backup_at >= begun - 1
    database.close()
    assert last_backup(tmp_path / "second") == 0


def test_a_backup_that_cannot_be_noted_is_there_and_that_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stock(tmp_path / "data")
    monkeypatch.setattr("store.backup.LAST_BACKUP", "none/such")
    assert backup(tmp_path / "data", tmp_path / "backup").ok
    assert (tmp_path / "backup").is_dir()
    assert "does not say that a backup was made" in caplog.text


def documents(database: Database, collection: Collection) -> list[str]:
    document = schema.document.c
    ids = sa.select(document.external_id).where(document.collection_id == collection.id).order_by(document.id)
    with database.read() as session:
        return list(session.execute(ids).scalars())
