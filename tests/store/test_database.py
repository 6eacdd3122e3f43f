"""The file itself: what is created, what is refused, and what its failures are called."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import migrations
from core.errors import SchemaTooNew, StorageBusy, StorageCorrupt, StorageError, StorageFull, StorageReadOnly
from core.records import Collection
from store import Database, Views, catalog, schema
from store.database import CHECKPOINT_BYTES
from store.migrate import SCHEMA_VERSION
from tests.store.library import Item, create, put

ROOT = Path(__file__).resolve().parents[2]


def test_the_migrations_make_the_tables_of_the_schema(database: Database) -> None:
    with database._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
        for table in schema.metadata.tables.values():
            made = connection.exec_driver_sql(
                f"SELECT sql FROM sqlite_master WHERE type = 'table' AND name = '{table.name}'"
            ).scalar_one()
            assert ("AUTOINCREMENT" in made) == table.dialect_options["sqlite"]["autoincrement"], table.name
            for column in table.columns:
                for key in column.foreign_keys:
                    assert f"REFERENCES {key.column.table.name} (id) ON DELETE {key.ondelete}" in made
        made_indexes = set(
            connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
            .scalars()
            .all()
        )
    assert made_indexes == {index.name for table in schema.metadata.tables.values() for index in table.indexes}


def test_the_newest_revision_is_the_one_that_the_store_asks_for() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA_VERSION


def test_every_connection_is_durable_and_checks_foreign_keys(database: Database) -> None:
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "wal_autocheckpoint": 0}
    with database._engine.connect() as one, database._engine.connect() as other:
        for connection in (one, other):
            for pragma, value in expected.items():
                assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value
            assert int(connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()) > 0


def test_what_was_committed_is_there_after_reopening(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "a % b")
    collection = create(database)
    put(database, collection, Item(id="1", text="some words"))
    database.close()
    reopened = Database.open(tmp_path / "a % b")
    with Views(reopened).open("books") as view:
        assert [passage.text for passage in view.fetch(view.matching({"words": 1}, 5).ids)] == ["some words"]
    reopened.close()


def test_many_can_open_an_empty_directory_at_once(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from store import Database; "
        "Database.open(Path(sys.argv[1])).close(); print('opened')"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "data")]
    children = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [child.communicate(timeout=60)[0] for child in children] == ["opened\n"] * 3


def test_a_directory_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"holds other files \(thesis.txt\)"):
        Database.open(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_database_that_another_process_makes_meanwhile_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not there at the first look; at the second one there is a journal beside it, as SQLite writes it."""
    data = tmp_path / "data"

    def make(path: Path) -> None:
        made = Database.open(path)
        create(made)
        made.close()
        (path / "salience.db-journal").touch()

    monkeypatch.setattr("store.directory.make_directories", lambda path: (monkeypatch.undo(), make(path)))
    database = Database.open(data)
    with database.read() as session:
        assert [collection.name for collection in catalog.list_collections(session)] == ["books"]
    database.close()


def test_an_empty_directory_with_hidden_files_will_do(tmp_path: Path) -> None:
    (tmp_path / ".gitkeep").touch()
    (tmp_path / "lost+found").mkdir()
    Database.open(tmp_path).close()


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="is a file"):
        Database.open(tmp_path / "file")
    with pytest.raises(StorageError):
        Database.open(tmp_path / "file" / "below")


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "salience.db") as connection:
        connection.execute("CREATE TABLE recipe (id INTEGER)")
    connection.close()
    with pytest.raises(StorageError, match="was not written by Salience"):
        Database.open(tmp_path)


@pytest.mark.parametrize("content", [b"no database at all " * 100, b"SQLite format 3\0" + b"\xff" * 8192])
def test_a_damaged_file_is_corrupt(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "salience.db").write_bytes(content)
    with pytest.raises(StorageCorrupt, match="restore"):
        Database.open(tmp_path)
    assert (tmp_path / "salience.db").read_bytes() == content


def test_damage_inside_is_found_when_it_is_read(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    collection = create(database)
    put(database, collection, *(Item(id=str(i), text=f"words {i} " * 100) for i in range(200)))
    database.close()
    path = tmp_path / "salience.db"
    content = bytearray(path.read_bytes())
    with sqlite3.connect(path) as connection:
        pages = [row[0] for row in connection.execute("SELECT pageno FROM dbstat WHERE name = 'document'")]
    connection.close()
    for page in pages:
        content[(page - 1) * 8192 : page * 8192] = b"\xff" * 8192
    path.write_bytes(content)
    damaged = Database.open(tmp_path)
    with pytest.raises(StorageCorrupt), damaged.read() as session:
        session.execute(sa.select(schema.document)).all()
    damaged.close()


def test_a_newer_schema_is_refused_and_not_touched(tmp_path: Path) -> None:
    Database.open(tmp_path).close()
    with sqlite3.connect(tmp_path / "salience.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
    connection.close()
    with pytest.raises(SchemaTooNew, match=rf"schema 0999; this one speaks {SCHEMA_VERSION}\); upgrade"):
        Database.open(tmp_path)


def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    def fail() -> None:
        with database.write() as session:
            session.execute(sa.insert(schema.collection), {"name": "a", "settings": "{}", "created_at": ""})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with database.read() as session:
        assert session.execute(sa.select(sa.func.count()).select_from(schema.collection)).scalar() == 0


@pytest.mark.parametrize("error", [BrokenPipeError(), TimeoutError(), FileNotFoundError(2, "gone")])
def test_a_caller_s_own_errors_stay_what_they_are(database: Database, error: OSError) -> None:
    def fail() -> None:
        with database.read():
            raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value is error


def test_a_reader_keeps_its_state_while_others_write(database: Database) -> None:
    with database.read() as reader:
        assert catalog.list_collections(reader) == []
        create(database)
        assert catalog.list_collections(reader) == []
    with database.read() as reader:
        assert [found.name for found in catalog.list_collections(reader)] == ["books"]


def test_writers_of_many_threads_lose_no_update(database: Database) -> None:
    create(database)

    def add() -> None:
        for _ in range(25):
            with database.write() as session:
                value = int(session.execute(sa.select(schema.collection.c.created_at)).scalar_one()[:4])
                session.execute(sa.update(schema.collection).values(created_at=f"{value + 1:04}"))

    with database.write() as session:
        session.execute(sa.update(schema.collection).values(created_at="0000"))
    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with database.read() as reader:
        assert reader.execute(sa.select(schema.collection.c.created_at)).scalar_one() == "0100"


def test_a_second_writer_gives_up_after_its_timeout(tmp_path: Path) -> None:
    first, second = Database.open(tmp_path), Database.open(tmp_path, busy_timeout_ms=50)
    with first.write(), pytest.raises(StorageBusy) as caught, second.write():
        pass
    assert caught.value.retryable
    create(second)
    first.close()
    second.close()


def test_a_full_disk_keeps_nothing_half_written_and_goes_on(database: Database, collection: Collection) -> None:
    put(database, collection, Item(id="kept", text="kept words"))
    with database._engine.connect() as connection:  # the one in the pool, which the next write gets
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 4}")
    with pytest.raises(StorageFull, match="no room to write"):
        put(database, collection, *(Item(id=str(i), text=f"lost {i} " * 50) for i in range(500)))
    with database.read() as session:
        assert catalog.counts(session, collection.id) == catalog.Counts(documents=1, passages=1)
    database._engine.dispose()  # max_page_count is the connection's: there is room again
    put(database, collection, Item(id="later", text="later words"))
    with Views(database).open("books") as view:
        assert view.passage_count == 2


_READ_ONLY = """
import os, sys
from pathlib import Path
import alembic.command, sqlalchemy.dialects.sqlite
from core.errors import StorageReadOnly
from store import Database
if os.getuid() == 0:
    os.setuid(65534)
try:
    Database.open(Path(sys.argv[1]))
except StorageReadOnly as error:
    print(error)
"""


@pytest.mark.parametrize("has_database", [True, False])
def test_a_directory_without_write_permission_is_read_only(tmp_path: Path, has_database: bool) -> None:
    data = tmp_path / "data"
    if has_database:
        Database.open(data).close()
        for file in data.iterdir():
            file.chmod(0o444)
    else:
        data.mkdir()
    data.chmod(0o555)
    parents = [parent for parent in data.parents if parent.owner() == data.owner() and parent != Path("/")]
    modes = [parent.stat().st_mode for parent in parents]
    for parent, mode in zip(parents, modes, strict=True):
        parent.chmod(mode | 0o055)
    try:
        command = [sys.executable, "-c", _READ_ONLY, str(data)]
        done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=60)
    finally:
        for parent, mode in zip(parents, modes, strict=True):
            parent.chmod(mode)
        data.chmod(0o755)
    assert "check the permissions" in done.stdout, done.stderr


def test_a_write_to_a_database_that_became_read_only(database: Database) -> None:
    with database._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
    with pytest.raises(StorageReadOnly):
        create(database)


def test_the_log_is_folded_in_when_it_is_large(database: Database, collection: Collection) -> None:
    log = database.directory / "salience.db-wal"
    largest, folded = 0, False
    for batch in range(12):
        put(database, collection, *(Item(id=f"{batch}-{i}", text=f"words {batch} {i} " * 800) for i in range(200)))
        size = log.stat().st_size
        largest, folded = max(largest, size), folded or size < largest
    assert folded
    assert largest < 2 * CHECKPOINT_BYTES
    with database.read() as session:
        assert catalog.counts(session, collection.id).documents == 2400


_WRITER = """
import sys
from pathlib import Path
from store import Database
from tests.store.library import Item, create, put
database = Database.open(Path(sys.argv[1]))
collection = create(database)
for i in range(100_000):
    receipt = put(database, collection, Item(id=f"d{i}", text=f"some words {i}"), delete=[f"d{i - 10}"])
    print(i, receipt.seq, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WRITER, str(tmp_path / "data")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        acknowledged = [child.stdout.readline().split() for _ in range(60)]
        child.kill()
        acknowledged += [line.split() for line in child.stdout if line.endswith("\n")]
    last, seq = map(int, acknowledged[-1])
    database = Database.open(tmp_path / "data")
    with Views(database).open("books") as view:
        assert view.seq >= seq
        found = {hit.document_id for hit in view.fetch(view.matching({"words": 1}, 100).ids)}
    database.close()
    newest = max(int(name[1:]) for name in found)
    assert newest in (last, last + 1)  # one more may have been committed before its line was written
    assert found == {f"d{i}" for i in range(newest - 9, newest + 1)}


def test_opening_it_twice_keeps_the_log_from_being_deleted_by_another_process(
    database: Database, collection: Collection
) -> None:
    """Whoever closes it last deletes its log, unless somebody holds a lock: a second look must not drop that."""
    put(database, collection, Item(id="before", text="before words"))
    Database.open(database.directory).close()
    other = "import sys; from pathlib import Path; from store import Database; Database.open(Path(sys.argv[1])).close()"
    subprocess.run([sys.executable, "-c", other, str(database.directory)], check=True, cwd=ROOT, timeout=60)
    assert (database.directory / "salience.db-wal").stat().st_size > 0
    put(database, collection, Item(id="after", text="after words"))
    with Views(Database.open(database.directory)).open("books") as view:
        assert view.passage_count == 2
