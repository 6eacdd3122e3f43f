"""Data directories of older versions, with data in them."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from core.errors import Conflict, StorageCorrupt, StorageFull
from core.records import SparseScoring
from store import Database, Views
from store.backup import restore
from store.catalog import get_collection
from store.migrate import SCHEMA_VERSION
from store.verify import verify
from tests.store.library import Item, put
from tests.store.versions import VERSIONS, unit_vector, version_of, write_version


def test_a_directory_of_the_first_version_is_upgraded_and_answers_as_before(tmp_path: Path) -> None:
    write_version(tmp_path / "data")
    for _ in range(2):  # the second time there is nothing left to do
        database = Database.open(tmp_path / "data")
        with database.read() as session:
            collection = get_collection(session, "books")
        assert collection.settings.sparse is SparseScoring.BM25
        assert collection.settings.fields == {"year": "number"}
        assert (collection.active.sparse_model, collection.active.sparse_fingerprint) == (None, None)
        with Views(database).open("books") as view:
            assert view.matching({"whale": 1.0}, 10).ids.tolist() == [1]
            expected = [unit_vector("whale whale"), unit_vector("ship")]
            np.testing.assert_array_equal(view.vectors(np.array([1, 2])), expected)
            assert [hit.text for hit in view.fetch(np.array([1, 2]))] == ["whale whale", "ship"]
        database.close()


def test_an_upgraded_directory_takes_new_documents(tmp_path: Path) -> None:
    write_version(tmp_path / "data")
    database = Database.open(tmp_path / "data")
    with database.read() as session:
        collection = get_collection(session, "books")
    receipt = put(database, collection, Item(id="d3", text="whale"), Item(id="d1", text="whale whale"))
    assert (receipt.created, receipt.unchanged) == (1, 1)
    with Views(database).open("books") as view:
        pool = view.matching({"whale": 1.0}, 10)
        assert [hit.document_id for hit in view.fetch(pool.ids)] == ["d1", "d3"]
    database.close()


def test_a_failed_upgrade_leaves_the_old_version(tmp_path: Path) -> None:
    write_version(tmp_path / "data")
    file = tmp_path / "data" / "salience.db"
    with sqlite3.connect(file) as old:
        old.execute("ALTER TABLE embedding ADD COLUMN learned BLOB")  # the upgrade's last step will stumble over it
    old.close()
    with pytest.raises(Exception, match="learned"):
        Database.open(tmp_path / "data")
    with sqlite3.connect(file) as old:
        assert old.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
        columns = [row[1] for row in old.execute("PRAGMA table_info(generation)")]
    old.close()
    assert "sparse_model" not in columns


ROOT = Path(__file__).resolve().parents[2]


def rows_of(directory: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, but for how the schema is called."""
    with closing(sqlite3.connect(directory / "salience.db")) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'alembic_version'")
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in names.fetchall()}


@pytest.mark.parametrize("version", VERSIONS)
def test_before_an_upgrade_a_backup_is_made_that_can_be_restored(
    tmp_path: Path, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "data"
    write_version(data, version)
    before = rows_of(data)
    (data / "projections").mkdir()
    (data / "projections" / "a-128.safetensors").write_bytes(b"numbers")
    with caplog.at_level(logging.WARNING):
        Database.open(data).close()
    assert (version_of(data), verify(data).findings) == (SCHEMA_VERSION, ())
    (backup,) = (data / "backups").iterdir()
    assert backup.name.startswith(f"schema-{version}-")
    assert f"its schema goes from {version} to {SCHEMA_VERSION}" in caplog.text
    assert str(backup) in caplog.text
    assert (version_of(backup), rows_of(backup)) == (version, before)
    done = verify(backup)
    assert done.ok
    assert f"schema {version} has no checksums" in done.unchecked[0]
    restore(backup, tmp_path / "restored")
    assert (version_of(tmp_path / "restored"), rows_of(tmp_path / "restored")) == (version, before)
    assert (tmp_path / "restored" / "projections" / "a-128.safetensors").read_bytes() == b"numbers"
    Database.open(tmp_path / "restored").close()
    assert verify(tmp_path / "restored").ok


def test_there_is_no_backup_of_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        Database.open(tmp_path / "data").close()
    assert not (tmp_path / "data" / "backups").exists()


def test_the_backup_goes_where_it_is_wanted_and_never_over_another(tmp_path: Path) -> None:
    data, backup = tmp_path / "data", tmp_path / "elsewhere" / "backup"
    write_version(data, "0002")
    backup.mkdir(parents=True)
    with pytest.raises(Conflict, match="is there already"):
        Database.open(data, migration_backup=backup)
    assert version_of(data) == "0002"
    backup.rmdir()
    Database.open(data, migration_backup=backup).close()
    assert (version_of(data), version_of(backup)) == (SCHEMA_VERSION, "0002")
    assert not (data / "backups").exists()


def test_many_that_open_an_old_directory_at_once_make_one_backup(tmp_path: Path) -> None:
    write_version(tmp_path / "data", "0002")
    script = (
        "import sys; from pathlib import Path; from store import Database; Database.open(Path(sys.argv[1])).close()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "data")]
    children = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    assert [child.wait(timeout=60) for child in children] == [0, 0, 0]
    assert len(list((tmp_path / "data" / "backups").iterdir())) == 1


_NO_ROOM = """
import resource, signal, sys
from pathlib import Path
import alembic.command
from core.errors import StorageFull
from store import Database
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
try:
    Database.open(Path(sys.argv[1]))
except StorageFull as error:
    print(error)
"""


def test_without_room_for_the_backup_nothing_is_done_and_the_way_out_is_named(tmp_path: Path) -> None:
    write_version(tmp_path / "data", "0002")
    assert (tmp_path / "data" / "salience.db").stat().st_size > 50_000
    command = [sys.executable, "-c", _NO_ROOM, str(tmp_path / "data")]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert f"salience migrate --backup /another/disk/NAME --data-dir {tmp_path / 'data'}" in done.stdout, done.stderr
    assert version_of(tmp_path / "data") == "0002"
    assert list((tmp_path / "data" / "backups").iterdir()) == []
    Database.open(tmp_path / "data").close()
    assert verify(tmp_path / "data").ok


class _Usage(NamedTuple):
    free: int


def test_a_backup_that_cannot_fit_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_version(tmp_path / "data", "0002")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage(free=50_000))
    with pytest.raises(StorageFull, match=r"it takes 0\.\d MiB, and 0\.0 MiB are free.*salience migrate --backup"):
        Database.open(tmp_path / "data")
    assert version_of(tmp_path / "data") == "0002"


def test_segments_and_folders_are_part_of_what_has_to_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_version(tmp_path / "data", VERSIONS[-1])
    for file, megabytes in (("segments/one", 10), ("segments/retired", 500), ("projections/space", 5)):
        (tmp_path / "data" / file).parent.mkdir(exist_ok=True)
        with (tmp_path / "data" / file).open("wb") as opened:
            opened.truncate(megabytes * 2**20)
    with closing(sqlite3.connect(tmp_path / "data" / "salience.db")) as connection, connection:
        connection.executemany(
            "INSERT INTO segment (generation_id, state, name, seq, as_of, rows, bytes, sha256) "
            "VALUES (1, ?, ?, 1, 1, 1, 1, x'')",
            [("active", "one"), ("active", "not there"), ("retired", "retired")],
        )
    monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage(free=14 * 2**20))
    with pytest.raises(StorageFull, match=r"it takes 15\.\d MiB, and 14\.0 MiB are free"):
        Database.open(tmp_path / "data")


def test_damage_is_not_upgraded_into_something_that_looks_sound(tmp_path: Path) -> None:
    """The upgrade makes indexes and checksums of what it finds: they would witness for the damage."""
    write_version(tmp_path / "data", "0002")
    file = tmp_path / "data" / "salience.db"
    content = bytearray(file.read_bytes())
    content[content.index(b"d2")] ^= 1  # an id: in the table, and in an index
    file.write_bytes(content)
    with pytest.raises(StorageCorrupt, match="restore it from a backup"):
        Database.open(tmp_path / "data")
    assert version_of(tmp_path / "data") == "0002"
    assert list((tmp_path / "data" / "backups").iterdir()) == []
